"""Everything that can be said of a policy without asking it: what is wrong and what is doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from gateway.domain.model import Verdict
from gateway.policy import casbin_model, cases, conditions, roles, rules
from gateway.policy.cases import Case
from gateway.policy.conditions import Condition, line_of
from gateway.policy.files import CASES, CONDITIONS, POLICY, TENANTS, Binding, PolicySource
from gateway.policy.finding import Finding, error, warning
from gateway.policy.idle import idle
from gateway.policy.rules import (
    ANY,
    APPROVAL,
    BINDINGS_FILE,
    RESERVED,
    Link,
    Parsed,
    Rule,
    did_you_mean,
    name_fault,
)

MAX_FINDINGS = 500
# Acts that calls of each kind have; a rule with another one never matches.
_ACTS_OF: Final = {
    "tool": {"call", "list"},
    "resource": {"read", "list", "subscribe", "complete"},
    "template": {"read", "list", "complete"},
    "prompt": {"get", "list", "complete"},
    "server": {"list", "subscribe"},
    "model": {"call", "list"},
    "peer": {"call", "list"},
    "topic": {"publish", "subscribe", "list"},
    "admin": {"read", "admin"},
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A policy as it was read, with everything that was found on the way."""

    parsed: Parsed
    conditions: dict[str, Condition]
    findings: list[Finding]


def check(source: PolicySource, bindings: Sequence[Binding] | None = None) -> list[Finding]:
    """Every finding, errors first. Without *bindings* who holds which role is not judged."""
    reading = read(source, bindings)
    found = [*reading.findings, *idle(reading.parsed, reading.conditions)]
    return sorted(found, key=_place)[:MAX_FINDINGS]


def read(source: PolicySource, bindings: Sequence[Binding] | None) -> Reading:
    """Parse all files of *source* and judge them."""
    parsed = rules.parse(source, bindings or ())
    named, bad_conditions = conditions.parse(source.files.get(CONDITIONS, b""), CONDITIONS)
    golden, bad_cases = cases.parse(source)
    findings = [
        *casbin_model.check(source),
        *_folder(source),
        *parsed.findings,
        *bad_conditions,
        *bad_cases,
        *_rules(parsed.rules),
        *_tenant_files(source, parsed),
        *_conditions(source, parsed.rules, named),
        *_links(parsed),
        *_names(parsed, judge_all=bindings is not None),
        *_approvals(parsed, judge_all=bindings is not None),
        *_cases(source, golden),
    ]
    findings.sort(key=_place)
    return Reading(parsed, named, findings[:MAX_FINDINGS])


def _place(finding: Finding) -> tuple[str, str, int]:
    return finding.level, finding.file, finding.line


def _folder(source: PolicySource) -> Iterator[Finding]:
    if POLICY not in source.files:
        yield error(
            POLICY,
            0,
            "is missing",
            "a folder without rules may be the wrong folder",
            "write it, or point `policies` in the configuration elsewhere",
        )
    for name in source.ignored:
        yield warning(
            name,
            0,
            "is not read",
            f"only {POLICY}, {TENANTS}*.csv, {CONDITIONS}, {CASES}*.toml and model.conf are",
            "rename it if it is meant to count, else move it elsewhere",
        )


def _rules(found: Sequence[Rule]) -> Iterator[Finding]:
    if not found:
        yield error(
            POLICY,
            0,
            "the policy has no rules",
            "an empty policy is never loaded: it is what a failed edit or checkout looks like",
            "write at least one rule; without a policy folder everything is denied anyway",
        )
    seen: dict[tuple[object, ...], Rule] = {}
    for rule in found:
        key = (rule.subject, rule.tenant, rule.object, rule.act, rule.terms)
        first = seen.setdefault(key, rule)
        if first is not rule:
            yield _repeated(first, rule)
        kind = rule.object.partition("/")[0]
        if rule.act != ANY and kind != ANY and rule.act not in _ACTS_OF[kind]:
            yield _idle_act(rule, kind)
        if rule.effect is Verdict.ALLOW and rule.subject == rule.tenant == ANY:
            yield _for_everyone(rule)


def _repeated(first: Rule, rule: Rule) -> Finding:
    if first.effect is rule.effect:
        what, why = f"repeats the rule of {first.place}", "two copies drift apart"
    else:
        what = f"contradicts the rule of {first.place}"
        why = "a deny overrides an allow of the same thing, so the allow never counts"
    return warning(rule.file, rule.line, what, why, "remove one of the two")


def _idle_act(rule: Rule, kind: str) -> Finding:
    acts = ", ".join(sorted(_ACTS_OF[kind]))
    return warning(
        rule.file,
        rule.line,
        f"nothing is ever done with a {kind} by the act '{rule.act}'",
        "the rule never matches",
        f"acts on a {kind} are {acts}",
    )


def _for_everyone(rule: Rule) -> Finding:
    return warning(
        rule.file,
        rule.line,
        "allows this to every agent of every tenant",
        "platform-wide rules are meant for guard rails, which deny",
        "name a role or a tenant",
    )


def _tenant_files(source: PolicySource, parsed: Parsed) -> Iterator[Finding]:
    """A tenant's own file must not speak for others: it may be edited by people of that tenant."""
    owners = {f: PurePosixPath(f).stem for f in source.rule_files() if f.startswith(TENANTS)}
    for file, tenant in owners.items():
        if fault := name_fault(tenant, "tenant") or ("'*' names none" if ANY in tenant else None):
            yield _foreign(file, 0, f"the file is not named after a tenant: {fault}", tenant)
    entries: Iterable[tuple[str, int, str]] = (
        *((rule.file, rule.line, rule.tenant) for rule in parsed.rules),
        *((link.file, link.line, link.tenant) for link in parsed.links),
    )
    for file, line, tenant in entries:
        if file in owners and tenant != owners[file]:
            yield _foreign(file, line, f"speaks of tenant '{tenant}'", owners[file])


def _foreign(file: str, line: int, what: str, owner: str) -> Finding:
    why = f"a tenant's own file may hold rules and roles of '{owner}' only"
    return error(file, line, what, why, f"move the line to {POLICY}, or correct the tenant")


def _conditions(
    source: PolicySource, found: Sequence[Rule], named: dict[str, Condition]
) -> Iterator[Finding]:
    text = source.files.get(CONDITIONS, b"").decode("utf-8", "replace")
    used: set[str] = set()
    for rule in found:
        used.update(rule.conditions)
        for name in rule.conditions:
            if name not in named:
                hint = did_you_mean(name, named, f"define [{name}] in {CONDITIONS}")
                why = "without its meaning the rule can be neither applied nor left out"
                yield error(rule.file, rule.line, f"unknown condition '{name}'", why, hint)
    for name in named:
        if name not in used:
            why = "it guards nothing: a rule may have been meant to name it"
            line = line_of(text, name)
            yield warning(CONDITIONS, line, f"no rule uses '{name}'", why, "use it or remove it")


def _links(parsed: Parsed) -> Iterator[Finding]:
    for link, what in roles.faults(parsed.links):
        why = "role chains are followed for nine links and must end"
        yield error(link.file, link.line, what, why, "remove one of the links")
    held = {(link.role, link.tenant) for link in parsed.links}
    for link in parsed.links:
        if link.file == BINDINGS_FILE:
            yield from _binding(link, is_role=(link.member, link.tenant) in held)


def _binding(link: Link, is_role: bool) -> Iterator[Finding]:
    """A role that the configuration gives: its names come from elsewhere, so they are checked."""
    fault = name_fault(link.member, "agent") or name_fault(link.role, "role")
    if fault or ANY in link.member + link.role + link.tenant:
        what = fault or f"'*' in the role '{link.role}' of agent '{link.member}'"
        yield error(link.file, 0, what, "rules could not name it", "choose another name")
    if link.member.startswith(RESERVED):
        what = f"agent '{link.member}' has a name of the gateway's own"
        yield error(link.file, 0, what, "it would act as the gateway", "choose another name")
    if is_role:
        what = f"agent '{link.member}' has the name of a role"
        why = "it would have every right of that role without being granted it"
        yield error(link.file, 0, what, why, "rename the agent or the role")


def _names(parsed: Parsed, judge_all: bool) -> Iterator[Finding]:
    """Names that nobody bears: most often a typing error, and a deny that never matches."""
    ruled = {rule.subject for rule in parsed.rules} - {ANY}
    held = {link.role for link in parsed.links}
    members = {link.member for link in parsed.links}
    told: set[str] = set()
    for link in parsed.links:
        if link.role not in ruled | members | told:
            told.add(link.role)
            hint = did_you_mean(link.role, ruled - members, "write rules for it, or remove it")
            what = f"role '{link.role}' of '{link.member}' has no rules"
            yield warning(link.file, link.line, what, "it grants nothing", hint)
    for rule in parsed.rules:
        if rule.subject in held | members | told or rule.subject == ANY:
            continue
        told.add(rule.subject)
        hint = did_you_mean(rule.subject, held | members, "")
        if hint or judge_all:
            what = f"'{rule.subject}' is neither a role that anyone holds nor an agent with a role"
            why = "the rule matches nobody, unless an agent without roles has that name"
            yield warning(rule.file, rule.line, what, why, hint or "grant it, or remove the rule")


def _approvals(parsed: Parsed, judge_all: bool) -> Iterator[Finding]:
    """Approvals that nobody can give, or that nobody is ever asked for."""
    held: dict[str, set[str]] = {}
    for link in parsed.links:
        for tenant in (link.tenant, ANY):
            held.setdefault(tenant, set()).add(link.role)
    for rule in parsed.rules:
        known = held.get(rule.tenant, set())
        for role in rule.approvals:
            hint = "" if role in known else did_you_mean(role, known, "")
            if role not in known and (hint or judge_all):
                what = f"nobody could give '{APPROVAL}{role}': no agent has the role '{role}'"
                why = "every call waits for an approval, unless tokens of an issuer prove the role"
                yield warning(rule.file, rule.line, what, why, hint or "give it to an agent")
        if rule.approvals and rule.object.startswith("admin/"):
            what = f"'{APPROVAL}{rule.approvals[0]}' on '{rule.object}' is asked of nobody"
            why = "calls are approved; administration is refused until a rule allows it without"
            yield warning(rule.file, rule.line, what, why, "remove the rule, or the approval")


def _cases(source: PolicySource, golden: Sequence[Case]) -> Iterator[Finding]:
    if not golden:
        yield warning(
            CASES,
            0,
            "THE POLICY HAS NO CASES: nothing says what it must answer",
            "a slip in one rule would open or close a door, and nobody would be told",
            f"write down a few decisions in {CASES}basics.toml; policies/README.md shows how",
        )
    fresh = {case.name for case in golden}
    for case in golden:
        if case.name not in fresh:
            what = f"two cases are called '{case.name}'"
            yield warning(case.file, case.line, what, "failures name the case", "rename one")
        fresh.discard(case.name)
