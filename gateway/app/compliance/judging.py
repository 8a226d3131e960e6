"""Answering each question that can be answered: pass, fail, or not evaluable, with what it rests on.

Nothing here reads the clock: "now" is the newest entry, so that whoever asks the same log, policy
and configuration again gets the same answer, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.app.compliance.survey import Survey
from gateway.app.course import standing
from gateway.app.operations.places import object_of
from gateway.app.operations.reading import Reading
from gateway.app.operations.recalling import ARGUED, LEFT_SEALED
from gateway.app.operations.replaying import Replay
from gateway.app.operations.rights import right_of
from gateway.app.operations.versions import snapshot_at
from gateway.audit.findings import Code, Report
from gateway.domain.definition import suspicion
from gateway.domain.model import Act, Approval, Kind, Verdict
from gateway.domain.operator import OperationRefused
from gateway.policy.finding import PolicyInvalid
from gateway.policy.rules import ANY, Rule
from gateway.policy.snapshot import Snapshot
from gateway.store.trail import Trail

DAY_US = 86_400_000_000
RETENTION_DAYS = 183
IDLE_DAYS = 90
LONGEST_KEY_DAYS = 366
LONGEST_DOUBT_US = 600_000_000
LONGEST_SILENCE_US = 65_000_000  # a minute, and what the publisher takes
NEEDS_ARGUMENTS = f"{ARGUED}: {LEFT_SEALED}"
_SHOWN = 5
_OPERATORS = ("uid:", "system:", "signal:")
_OVER_API = "agent:"


class Status(StrEnum):
    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    NOT_EVALUABLE = "not_evaluable"


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the answers rest on, gathered at one checkpoint."""

    trail: Trail
    report: Report
    seen: Survey
    replayed: Replay
    house: Reading
    policy: Snapshot
    export_problem: str  # "" when an export was made, and verified


@dataclass(frozen=True, slots=True)
class Answer:
    status: Status
    says: tuple[str, ...]
    samples: Sequence[int] = ()  # leaves that show it
    figures: Mapping[str, int] = field(default_factory=dict)


def _judged(
    problems: Sequence[str], says: str, samples: Sequence[int] = (), **figures: int
) -> Answer:
    more = (f"and {len(problems) - _SHOWN} more",) if len(problems) > _SHOWN else ()
    status = Status.FAIL if problems else Status.PASS
    said = (*problems[:_SHOWN], *more) if problems else (says,)
    return Answer(status, said, samples, figures)


def _unknown(why: str, **figures: int) -> Answer:
    return Answer(Status.NOT_EVALUABLE, (why,), (), figures)


def log_verifies(of: Evidence) -> Answer:
    problems = [f"{code}: {count}" for code, count in of.report.counts.items()]
    says = f"{of.report.checkpoints_checked} signed checkpoints agree with the entries"
    return _judged(problems, says, (0, of.seen.size - 1), entries=of.seen.size)


def calls_paired(of: Evidence) -> Answer:
    wrong = (Code.OUTCOME_WITHOUT_INTENT, Code.SECOND_OUTCOME, Code.UNPAIRED_INTENT)
    problems = [f"{code}: {of.report.counts[code]}" for code in wrong if code in of.report.counts]
    waited_us = of.seen.last_us - (of.seen.oldest_in_flight_us or of.seen.last_us)
    if waited_us > LONGEST_DOUBT_US:
        problems.append(f"a call has been in flight for {waited_us // 1_000_000} s")
    says = f"{of.seen.by_recovery} calls in doubt were closed by recovery"
    figures = {"longest_doubt_s": of.seen.longest_doubt_us // 1_000_000}
    return _judged(problems, says, of.seen.calls, **figures)


def checkpoints(of: Evidence) -> Answer:
    longest_us = max(_silences(of.seen.opened, of.trail.published()), default=0)
    problems = []
    if longest_us > LONGEST_SILENCE_US:
        problems.append(
            f"none was published for {longest_us // 1_000_000} s while a process was open"
        )
    figures = {
        "longest_silence_s": longest_us // 1_000_000,
        "key_age_days": (of.seen.last_us - of.seen.key_since_us) // DAY_US,
    }
    says = "no silence was longer than a minute; nobody witnesses them"
    return _judged(problems, says, (), **figures)


def _silences(opened: Sequence[Sequence[int]], published: Iterator[int]) -> Iterator[int]:
    """The spans without a checkpoint while a process had the log open."""
    at_us = next(published, None)
    for begun_us, ended_us in opened:
        last_us = begun_us
        while at_us is not None and at_us <= ended_us:
            if at_us >= begun_us:
                yield at_us - last_us
                last_us = at_us
            at_us = next(published, None)
        yield ended_us - last_us


def decisions_replay(of: Evidence) -> Answer:
    replayed = of.replayed
    sealed = replayed.not_replayed[NEEDS_ARGUMENTS]
    left_out = sum(replayed.not_replayed.values()) - sealed
    figures = {"need_arguments": sealed, "not_replayed": left_out}
    needed = f"{sealed} need arguments, which stay sealed here; audit replay opens them"
    if not replayed.agree and not replayed.differ:
        return _unknown(needed if sealed else "no decision could be replayed", **figures)
    problems = [f"call {one['call']} differs" for one in replayed.differences]
    says = f"{replayed.agree} decisions are alike, {left_out} could not be replayed"
    says += f"; {needed}" if sealed else ""
    samples = [one["leaf"] for one in replayed.differences] or of.seen.calls
    return _judged(problems, says, samples, agree=replayed.agree, **figures)


def retention(of: Evidence) -> Answer:
    problems, samples = [], []
    for change in of.seen.erasures:
        if change.erased is None or not change.erased.before:
            continue
        samples.append(change.i)
        youngest = of.trail.entry(change.erased.before - 1)
        days = (change.t - youngest.t) // DAY_US
        if days < RETENTION_DAYS:
            problems.append(f"entry {change.i} erased what was {days} days old")
    return _judged(problems, "entries are never erased, payloads not for their age", samples)


def erasures(of: Evidence) -> Answer:
    if not of.seen.erasures:
        return _unknown("nothing was ever erased")
    still_there = of.report.counts.get(Code.NOT_ERASED, 0)
    problems = [f"{still_there} things that were erased are there"] if still_there else []
    says = "all are gone, and the tree is what was signed; when they were asked for is not recorded"
    figures = {"payloads": of.report.erased_payloads, "names": of.report.erased_names}
    return _judged(problems, says, [change.i for change in of.seen.erasures], **figures)


def no_wildcards(of: Evidence) -> Answer:
    allows = [rule for rule in of.policy.rules if rule.effect is Verdict.ALLOW]
    if not of.policy.rules:
        return _judged([], "there are no rules: everything is denied", rules=0)
    everything = {ANY, *(f"{kind}/*" for kind in Kind)}
    problems = [
        f"{rule.place}: {rule.subject} may {rule.act} {rule.object}"
        for rule in allows
        if rule.subject == ANY or (rule.object in everything and not _reads_the_house(rule))
    ]
    return _judged(problems, "what no rule allows is denied", rules=len(of.policy.rules))


def _reads_the_house(rule: Rule) -> bool:
    """What an auditor's role is for: all that is administered, and none of it to change."""
    return (rule.act, rule.object) == (Act.READ, f"{Kind.ADMIN}/{ANY}")


def rights_in_use(of: Evidence) -> Answer:
    span_days = (of.seen.last_us - of.seen.first_us) // DAY_US
    if span_days < IDLE_DAYS:
        return _unknown(f"the log is {span_days} days old, and {IDLE_DAYS} are asked about")
    since_us = of.seen.last_us - IDLE_DAYS * DAY_US
    last = of.seen.last_call_us
    problems = [
        f"agent {name} has not called"
        for name in sorted(of.house.identity.agents)
        if last.get(name, 0) < since_us
    ]
    held = {link.role for link in of.policy.links} | set(of.house.identity.agents) | {ANY}
    unheld = sorted({rule.subject for rule in of.policy.rules} - held)
    problems += [f"nobody holds the role {role}" for role in unheld]
    return _judged(problems, "every agent has called, and every role has a holder")


def duties_separated(of: Evidence) -> Answer:
    named = {of.trail.name(author): leaf for author, leaf in of.seen.authors.items()}
    over_api = {name: leaf for name, leaf in named.items() if _administered(of, name, leaf)}
    wrong = {
        name: leaf
        for name, leaf in named.items()
        if name not in over_api and not name.startswith(_OPERATORS)
    }
    problems = [f"{name!a:.80} changed something (entry {leaf})" for name, leaf in wrong.items()]
    asked = "is" if standing(of.trail).two_person else "is not"
    says = (
        f"{len(named) - len(over_api)} authors on the machine, {len(over_api)} over the API whom the"
        f" policy lets administer; a second person {asked} asked for a policy"
    )
    samples = [*wrong.values()] or of.seen.change_leaves
    return _judged(problems, says, samples, over_api=len(over_api))


def _administered(of: Evidence, author: str, leaf: int) -> bool:
    """Whether *author* changed something over the API, as one who may administer.

    An agent has to have a right now, or when it changed that. Of an agent that is gone, and of a
    subject of tokens, the policy alone does not tell; the API let no change in without a decision.
    """
    agent = of.house.identity.agents.get(author.removeprefix(_OVER_API))
    if not author.startswith(_OVER_API) or agent is None:
        return author.startswith(_OVER_API)
    if right_of(agent, of.policy):
        return True
    try:
        then = snapshot_at(of.trail, of.trail.entry(leaf).t)
    except (OperationRefused, PolicyInvalid):
        return False
    return bool(right_of(agent, then))


def revocation_holds(of: Evidence) -> Answer:
    if not of.seen.revocations:
        return _unknown("nothing was ever revoked")
    problems = [f"call at entry {leaf} came too late" for leaf in of.seen.after_revocation]
    says = f"{len(of.seen.revocations)} revocations, and no call passed after them"
    return _judged(problems, says, of.seen.after_revocation or of.seen.revocations)


def keys_expire(of: Evidence) -> Answer:
    good = [key for key in of.house.identity.keys.values() if key.is_good(of.seen.last_us)]
    problems = [
        f"key {key.id} of {key.agent} never expires" for key in good if not key.expires_at_us
    ]
    problems += [
        f"key {key.id} of {key.agent} is good for more than a year"
        for key in good
        if key.expires_at_us - key.issued_at_us > LONGEST_KEY_DAYS * DAY_US
    ]
    declared = sum(bool(agent.key) for agent in of.house.config.agents.values())
    says = "each expires; those of the configuration file change with it"
    return _judged(problems, says, keys=len(good), declared=declared)


def definitions_pinned(of: Evidence) -> Answer:
    problems = [f"the call at entry {leaf} names none" for leaf in of.seen.without_definition]
    pins = [pin for pin in of.house.registry.pins.values() if not pin.gone]
    waiting = sum(pin.approval is Approval.QUARANTINED for pin in pins)
    samples = of.seen.without_definition or of.seen.calls
    return _judged(
        problems,
        "every call states the digest that was approved",
        samples,
        definitions=len(pins),
        quarantined_now=waiting,
        changed=of.seen.changes["definition.changed"],
    )


def descriptions_scanned(of: Evidence) -> Answer:
    pins = [pin for pin in of.house.registry.pins.values() if pin.approved_body and not pin.gone]
    found = [(object_of(pin.place), suspicion(pin.approved_body)) for pin in pins]
    problems = [f"{name!a:.120}: {doubt}" for name, doubt in found if doubt]
    return _judged(problems, "no hidden or bidirectional characters", approved=len(pins))


def budgets(of: Evidence) -> Answer:
    over = (Code.OVER_LIMIT, Code.OVERCHARGED, Code.COUNTERS_DIFFER)
    problems = [f"{code}: {of.report.counts[code]}" for code in over if code in of.report.counts]
    config, agents = of.house.config, of.house.identity.agents
    for name, agent in sorted(agents.items()):
        team, tenant = config.teams.get(agent.team), config.tenants.get(agent.tenant)
        above = (agent.limits, team and team.limits, tenant and tenant.limits)
        if not any(limits and limits.budgets for limits in above):
            problems.append(f"agent {name} has no budget over it")
    return _judged(problems, "charged and held never exceeded a limit", of.seen.calls)


def tenants_apart(of: Evidence) -> Answer:
    problems = [f"the call at entry {leaf} did" for leaf in of.seen.other_tenant]
    across = sum(rule.tenant == ANY and rule.effect is Verdict.ALLOW for rule in of.policy.rules)
    says = "each was decided and charged in the tenant of its caller"
    return _judged(problems, says, of.seen.other_tenant, allows_for_all_tenants=across)


def changes_logged(of: Evidence) -> Answer:
    problems = [f"entry {leaf} has none" for leaf in of.seen.without_author]
    count = sum(of.seen.changes.values())
    says = f"{count} changes, {of.seen.reasons} of them with a reason or remark"
    return _judged(problems, says, of.seen.without_author or of.seen.change_leaves, changes=count)


def clock(of: Evidence) -> Answer:
    backward = of.report.counts.get(Code.REORDERED, 0)
    problems = [f"{backward} entries are not in order"] if backward else []
    return _judged(problems, "times never go back; how far the clock is off is not known")


def incident_export(of: Evidence) -> Answer:
    problems = [of.export_problem] if of.export_problem else []
    return _judged(problems, "the newest calls were exported with proofs, and verified")


def refusal_rates(of: Evidence) -> Answer:
    figures = {code: of.seen.refusals[code] for code in sorted(of.seen.refusals)}
    return Answer(
        Status.NOT_EVALUABLE, ("what is usual, and who looked, is not known here",), (), figures
    )


JUDGES: Mapping[str, Callable[[Evidence], Answer]] = {
    judge.__name__: judge
    for judge in (
        *(log_verifies, calls_paired, checkpoints, decisions_replay, retention, erasures),
        *(no_wildcards, rights_in_use, duties_separated, revocation_holds, keys_expire),
        *(definitions_pinned, descriptions_scanned, refusal_rates, budgets, tenants_apart),
        *(changes_logged, clock, incident_export),
    )
}
