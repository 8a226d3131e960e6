"""The lines of the rule files: rules (`p`) and role links (`g`), parsed so that there is one reading.

    p, analyst, default, tool/docs/get_*, call, -, allow
    g, report-bot, analyst, default

Casbin's own reader is lenient: it groups on brackets, ignores lines of unknown kinds, and matches
`*` anywhere. Whatever it could read otherwise than a person does is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from gateway.domain.model import Verdict
from gateway.policy.files import Binding, PolicySource
from gateway.policy.finding import Finding, error

ACTS: Final = ("call", "list", "read", "get", "complete", "subscribe", "publish", "admin")
KINDS: Final = (
    "tool",
    "resource",
    "template",
    "prompt",
    "server",
    "model",
    "peer",
    "topic",
    "admin",
)
EFFECTS: Final = {"allow": Verdict.ALLOW, "deny": Verdict.DENY}
ANY: Final = "*"
NO_CONDITION: Final = "-"
APPROVAL: Final = "approval:"  # before a role: somebody with it has to approve the call
RESERVED: Final = "system:"  # principals of the gateway itself
BINDINGS_FILE: Final = "roles of agents"  # where findings about bindings point
MAX_RULES = 200_000
MAX_FIELD = 512
MAX_TERMS = 8  # joined in one rule

_BRACKETS: Final = frozenset("[]()")
_NAME = re.compile(rf"[^\s,\[\]()#\"]{{1,{MAX_FIELD}}}\Z")
_RULE_COLUMNS: Final = ("p", "subject", "tenant", "object", "act", "condition", "effect")
_LINK_COLUMNS: Final = ("g", "member", "role", "tenant")


@dataclass(frozen=True, slots=True)
class Rule:
    """One `p` line. `index` is its place among all of them, as Casbin counts."""

    index: int
    file: str
    line: int
    subject: str
    tenant: str
    object: str
    act: str
    terms: tuple[str, ...]  # the condition column: names of conditions, and approvals
    effect: Verdict
    conditions: tuple[str, ...] = ()  # the names among them
    approvals: tuple[str, ...] = ()  # the roles, each of which has to approve

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        """The line as its author would write it."""
        joined = "+".join(self.terms) or NO_CONDITION
        cells = ("p", self.subject, self.tenant, self.object, self.act, joined, self.effect)
        return ", ".join(cells)


@dataclass(frozen=True, slots=True)
class Link:
    """One `g` line, or a role that the configuration gives to an agent."""

    file: str
    line: int
    member: str
    role: str
    tenant: str

    @property
    def text(self) -> str:
        """The line as its author would write it."""
        return f"g, {self.member}, {self.role}, {self.tenant}"


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one line that is neither empty nor a comment."""

    file: str
    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Everything the rule files say, and what could not be read in them."""

    rules: tuple[Rule, ...]
    links: tuple[Link, ...]
    findings: tuple[Finding, ...]


def parse(source: PolicySource, bindings: Sequence[Binding] = ()) -> Parsed:
    """Read every rule file in order; a line with a fault becomes a finding and no rule."""
    rules: list[Rule] = []
    links: list[Link] = []
    findings: list[Finding] = []
    for file in source.rule_files():
        rows, unreadable = _rows(file, source.files[file])
        findings += unreadable
        for row in rows:
            if faults := _faults(row):
                findings += faults
            elif row.cells[0] == "p":
                rules.append(_rule(len(rules), row))
            else:
                links.append(Link(row.file, row.line, *row.cells[1:]))
    if len(rules) > MAX_RULES:
        findings.append(_too_many(len(rules)))
    links += [Link(BINDINGS_FILE, 0, *binding) for binding in sorted(set(bindings))]
    return Parsed(tuple(rules), tuple(links), tuple(findings))


def lines(raw: bytes) -> Iterator[tuple[int, str]]:
    """The numbered lines that Casbin would read as rules. Raises: UnicodeDecodeError."""
    for number, text in enumerate(raw.decode("utf-8").split("\n"), 1):
        stripped = text.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A suggestion when something similar is known, else *otherwise*."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean '{close[0]}'?" if close else otherwise


def name_fault(name: str, what: str) -> str | None:
    """Why *name* cannot stand for an agent, role or tenant in a rule file, or None."""
    if _NAME.match(name) and name.isprintable():
        return None
    if not name:
        return f"the {what} is empty"
    if len(name) > MAX_FIELD:
        return f"the {what} is longer than {MAX_FIELD} characters"
    if not name.isprintable():
        return f"the {what} holds an invisible character"
    return f"the {what} '{name}' holds a space, comma, bracket, quote or '#'"


def _rows(file: str, raw: bytes) -> tuple[list[Row], list[Finding]]:
    try:
        numbered = list(lines(raw))
    except UnicodeDecodeError as err:
        return [], [_fault(file, 0, f"is not UTF-8 text: {err.reason} at byte {err.start}")]
    rows = [Row(file, n, tuple([cell.strip() for cell in text.split(",")])) for n, text in numbered]
    return rows, []


def _rule(index: int, row: Row) -> Rule:
    _, subject, tenant, object_, act, condition, effect = row.cells
    terms = () if condition == NO_CONDITION else tuple(condition.split("+"))
    names: tuple[str, ...] = terms
    roles: tuple[str, ...] = ()
    if APPROVAL in condition:
        names = tuple(term for term in terms if not term.startswith(APPROVAL))
        roles = tuple(t.removeprefix(APPROVAL) for t in terms if t.startswith(APPROVAL))
    where = (index, row.file, row.line)
    return Rule(*where, subject, tenant, object_, act, terms, EFFECTS[effect], names, roles)


def _faults(row: Row) -> list[Finding]:
    """Everything wrong with one line by itself."""
    if row.cells[0] not in {"p", "g"}:
        what = f"a line begins with 'p' (rule), 'g' (role) or '#' (comment), not '{row.cells[0]}'"
        return [_fault(row.file, row.line, what)]
    columns = _RULE_COLUMNS if row.cells[0] == "p" else _LINK_COLUMNS
    if len(row.cells) != len(columns):
        what = f"expected {len(columns)} columns ({', '.join(columns)}), got {len(row.cells)}"
        return [_fault(row.file, row.line, what)]
    if row.cells[0] == "p":
        whats = [
            *_subject_faults(row),
            *_object_faults(row.cells[3]),
            *_word_faults(row),
            *_approval_faults(row),
        ]
    else:
        whats = _link_faults(row)
    return [_fault(row.file, row.line, what) for what in whats]


def _subject_faults(row: Row) -> Iterator[str]:
    for name, what in ((row.cells[1], "subject"), (row.cells[2], "tenant")):
        if name != ANY:
            if fault := name_fault(name, what):
                yield fault
            elif ANY in name:
                yield f"'*' stands alone as a {what}; '{name}' would match only that very name"
            elif name.startswith(RESERVED):
                yield f"names that begin with '{RESERVED}' belong to the gateway"


def _link_faults(row: Row) -> list[str]:
    whats = []
    for name, what in zip(row.cells[1:], _LINK_COLUMNS[1:], strict=True):
        if fault := name_fault(name, what):
            whats.append(fault)
        elif ANY in name:
            whats.append(f"'*' cannot be a {what} of a role link: it would hold for nobody")
        elif name.startswith(RESERVED):
            whats.append(f"names that begin with '{RESERVED}' belong to the gateway")
    return whats


def _object_faults(name: str) -> Iterator[str]:
    if not name:
        yield "the object is empty"
    elif len(name) > MAX_FIELD:
        yield f"the object is longer than {MAX_FIELD} characters; use a shorter prefix and '*'"
    elif not name.isprintable():
        yield "the object holds an invisible character"
    elif not _BRACKETS.isdisjoint(name):
        yield "Casbin groups columns by brackets; end the object with '*' before the bracket"
    elif ANY in name[:-1]:
        yield f"'*' may only be the last character of an object, not inside '{name}'"
    elif name != ANY and (name.partition("/")[0] not in KINDS or "/" not in name):
        hint = did_you_mean(name.partition("/")[0], KINDS, f"known are {', '.join(KINDS)}")
        yield f"an object begins with its kind and '/', unlike '{name}'; {hint}"


def _word_faults(row: Row) -> Iterator[str]:
    act, condition, effect = row.cells[4:]
    if act != ANY and act not in ACTS:
        yield f"unknown act '{act}'; {did_you_mean(act, ACTS, 'known are ' + ', '.join(ACTS))}"
    if effect not in EFFECTS:
        yield f"the effect is 'allow' or 'deny', not '{effect}'; a comment needs its own line"
    names = condition.split("+")
    if condition == NO_CONDITION:
        return
    if not all(names):
        yield "the condition is empty; write '-' for none, and names joined by '+'"
    if len(set(names)) < len(names) or len(names) > MAX_TERMS:
        yield f"join at most {MAX_TERMS} different conditions, each once"


def _approval_faults(row: Row) -> Iterator[str]:
    condition, effect = row.cells[5:]
    terms = [term for term in condition.split("+") if term.startswith(APPROVAL)]
    for role in (term.removeprefix(APPROVAL) for term in terms):
        if fault := name_fault(role, "role"):
            yield f"{fault}; write the role that approves, as in '{APPROVAL}boss'"
        elif ANY in role:
            yield f"'{role}' names no role: whoever approves has one very role"
        elif role.startswith(RESERVED):
            yield f"names that begin with '{RESERVED}' belong to the gateway"
    if terms and effect == "deny":
        yield (
            f"'{terms[0]}' stands on a deny, and nobody can approve what is denied; "
            "put it on the allow, or deny without it"
        )


def _fault(file: str, line: int, what: str) -> Finding:
    return error(
        file,
        line,
        what,
        "a line that can be misread may allow what was meant to be denied",
        "correct the line; policies/README.md shows every column",
    )


def _too_many(count: int) -> Finding:
    return error(
        "policy.csv",
        0,
        f"{count} rules; at most {MAX_RULES} are loaded",
        "the bound keeps the time to load and to judge small",
        "give roles to agents, and use prefixes that end in '*'",
    )
