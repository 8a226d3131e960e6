"""Golden decisions of `cases/*.toml`: what the policy must answer, or it is not loaded.

[[case]]
name = "a small refund is allowed"
role = "operator"                      # or: agent = "ops-bot", with the roles it is given
object = "tool/desk/refund"
arguments = { amount = 20 }
expect = "allow"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Decision,
    Definition,
    Kind,
    Principal,
    Verdict,
)
from gateway.policy.conditions import instant_us
from gateway.policy.files import PolicySource
from gateway.policy.finding import Finding, error
from gateway.policy.rules import did_you_mean

if TYPE_CHECKING:  # the linter reads cases before there is a snapshot
    from gateway.policy.snapshot import Snapshot

# A Monday at noon, for cases that do not say when.
NOON: Final = datetime(2026, 1, 5, 12, tzinfo=UTC)
# Key -> what it must be, in words, and as types.
_KEYS: Final[Mapping[str, tuple[str, tuple[type, ...]]]] = {
    "name": ("a sentence", (str,)),
    "agent": ("the id of an agent", (str,)),
    "role": ("the id of a role", (str,)),
    "tenant": ("the id of a tenant", (str,)),
    "team": ("the id of a team", (str,)),
    "scopes": ("a list of names", (list,)),
    "actors": ("a list of names, nearest first", (list,)),
    "object": ("an object such as 'tool/time/convert_time'", (str,)),
    "act": ("an act such as 'call'", (str,)),
    "arguments": ("a table", (dict,)),
    "tags": ("a list of names", (list,)),
    "time": ("a date and time with its zone, 2026-01-31T12:00:00Z", (datetime,)),
    "expect": ("'allow', 'deny' or 'needs' (an approval)", (str,)),
    "rule": ("the text of the deciding rule, 'p, analyst, ...'", (str,)),
    "visible": ("true or false: whether lists hold the object", (bool,)),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One golden decision."""

    file: str
    line: int
    name: str
    call: Call
    is_role: bool  # the subject is a role, judged by the rules alone
    now_us: int
    expect: Verdict
    rule: str = ""
    visible: bool | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case with what the policy answered; `problem` is "" when that is what was expected."""

    case: Case
    decision: Decision
    problem: str

    @property
    def passed(self) -> bool:
        return not self.problem


class _BadCase(ValueError):
    """The case cannot be understood; the sentence says why."""


def parse(source: PolicySource) -> tuple[list[Case], list[Finding]]:
    """Read every case file; one finding for each case that cannot be understood."""
    cases: list[Case] = []
    findings: list[Finding] = []
    for file in source.case_files():
        try:
            text = source.files[file].decode("utf-8")
            rows = tomllib.loads(text)
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as err:
            findings.append(_bad(file, 0, f"not a TOML file: {err}"))
            continue
        found, bad = _cases_of(file, text, rows)
        cases += found
        findings += bad
    return cases, findings


def run(snapshot: Snapshot, source: PolicySource) -> list[CaseResult]:
    """Ask *snapshot* every case of *source* that can be understood, in order."""
    return [_run_one(snapshot, case) for case in parse(source)[0]]


def failures(results: list[CaseResult]) -> list[Finding]:
    """An error for each case that the policy answers otherwise than expected."""
    return [
        error(
            result.case.file,
            result.case.line,
            f"case '{result.case.name}' fails: {result.problem}",
            "the policy does not do what its authors wrote down that it must",
            "correct the rule, or the case if the intention has changed",
        )
        for result in results
        if not result.passed
    ]


def _run_one(snapshot: Snapshot, case: Case) -> CaseResult:
    decide = snapshot.judge if case.is_role else snapshot.decide
    decision = decide(case.call, case.now_us)
    rule = snapshot.rules[decision.rule] if decision.rule >= 0 else None
    by = f"by {rule.place} ({rule.text})" if rule else "by default"
    problem = ""
    if decision.verdict is not case.expect:
        problem = f"expected {case.expect}, got {decision.verdict} {by}"
    elif case.rule and (rule is None or rule.text != case.rule):
        problem = f"{case.expect} as expected, but {by} instead of ({case.rule})"
    elif case.visible is not None:
        problem = _visibility_problem(snapshot, case)
    return CaseResult(case, decision, problem)


def _visibility_problem(snapshot: Snapshot, case: Case) -> str:
    definition = case.call.definition
    if definition is None:
        return "`visible` can only be asked of tools, resources, templates and prompts"
    view = snapshot.visible_to_role if case.is_role else snapshot.visible
    seen = bool(view(case.call.principal, (definition,)))
    return "" if seen is case.visible else f"expected visible = {case.visible}, got {seen}".lower()


def _cases_of(
    file: str, text: str, document: Mapping[str, Any]
) -> tuple[list[Case], list[Finding]]:
    rows = document.get("case", [])
    if set(document) != {"case"} or not isinstance(rows, list):
        return [], [_bad(file, 0, "a case file holds [[case]] entries and nothing else")]
    cases: list[Case] = []
    findings: list[Finding] = []
    headings = [
        n for n, row in enumerate(text.splitlines(), 1) if row.strip().startswith("[[case]]")
    ]
    for place, row in enumerate(rows):
        line = headings[place] if place < len(headings) else 0
        try:
            cases.append(_case(file, line, row))
        except _BadCase as err:
            findings.append(_bad(file, line, f"a case cannot be understood: {err}"))
    return cases, findings


def _case(file: str, line: int, row: object) -> Case:
    if not isinstance(row, Mapping):
        raise _BadCase("expected a table under [[case]]")
    for key, value in row.items():
        _check(key, value)
    for key in ("name", "object", "expect"):
        if not row.get(key):
            raise _BadCase(f"`{key}` is missing")
    if ("agent" in row) is ("role" in row):
        raise _BadCase("say either `agent` or `role`")
    if row["expect"] not in set(Verdict):
        raise _BadCase(f"`expect` is {_KEYS['expect'][0]}, not {row['expect']!r}")
    when = row.get("time", NOON)
    if when.tzinfo is None:
        raise _BadCase(f"`time` is {_KEYS['time'][0]}")
    return Case(
        file,
        line,
        row["name"],
        _call(row),
        "role" in row,
        instant_us(when),
        Verdict(row["expect"]),
        ", ".join(cell.strip() for cell in row.get("rule", "").split(",")),
        row.get("visible"),
    )


def _check(key: str, value: object) -> None:
    if key not in _KEYS:
        raise _BadCase(f"unknown key `{key}`; {did_you_mean(key, _KEYS, 'see policies/README.md')}")
    words, types = _KEYS[key]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise _BadCase(f"`{key}` is {words}")
    if isinstance(value, list) and not all(isinstance(name, str) for name in value):
        raise _BadCase(f"`{key}` is {words}")


def _call(row: Mapping[str, Any]) -> Call:
    kind, server, name = _parts(row["object"])
    try:
        act = Act(row.get("act", "call"))
    except ValueError as err:
        raise _BadCase(f"`act` is one of {', '.join(Act)}") from err
    if act is Act.LIST:
        raise _BadCase("lists are always answered, filtered; ask `visible` of an object instead")
    principal = Principal(
        tenant=row.get("tenant", "default"),
        subject=row.get("agent", row.get("role", "")),
        team=row.get("team", ""),
        scopes=frozenset(row.get("scopes", ())),
        actors=tuple(row.get("actors", ())),
    )
    tags = frozenset(row.get("tags", ()))
    definition = None
    if kind not in (Kind.SERVER, Kind.ADMIN):
        definition = Definition(server, kind, name, name, b"", "", Approval.APPROVED, tags=tags)
    return Call(
        id="",
        principal=principal,
        method="",
        kind=kind,
        server=server,
        name=name,
        act=act,
        weight=CallClass.FULL,
        arguments=row.get("arguments", {}),
        definition=definition,
    )


def _parts(name: str) -> tuple[Kind, str, str]:
    """Split `tool/time/convert_time`, `model/gpt` or `admin/metrics`; a URI keeps its slashes."""
    word, _, rest = name.partition("/")
    try:
        kind = Kind(word)
    except ValueError as err:
        raise _BadCase(f"`object` begins with one of {', '.join(Kind)}") from err
    if kind is Kind.ADMIN:
        return kind, "", rest
    if kind is Kind.MODEL and rest and "/" not in rest:
        return kind, rest, rest
    server, slash, own = rest.partition("/")
    if kind is Kind.MODEL or not server or not slash or not own:
        raise _BadCase(f"`object` is kind/server/name, or model/name, unlike {name!r}")
    return kind, server, own


def _bad(file: str, line: int, what: str) -> Finding:
    return error(
        file,
        line,
        what,
        "a case that is not asked protects nothing",
        "correct it; policies/README.md shows every key of a case",
    )
