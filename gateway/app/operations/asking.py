"""Asking a policy without calling anything: may this agent do that, and why (not)?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

from gateway.app.operations.entering import unknown
from gateway.app.operations.places import wire_place
from gateway.app.operations.reading import Reading
from gateway.config import Upstream
from gateway.domain.model import (
    Act,
    Approval,
    Call,
    CallClass,
    Definition,
    Kind,
    Principal,
    Verdict,
    object_name,
)
from gateway.domain.operator import usage
from gateway.policy.explain import Explanation
from gateway.policy.snapshot import Snapshot
from gateway.store.identity import Identity
from gateway.store.pins import Place
from gateway.store.registry import Registry

DISABLED = "the agent is disabled"
USUAL_ACT: Mapping[Kind, Act] = {
    Kind.TOOL: Act.CALL,
    Kind.RESOURCE: Act.READ,
    Kind.TEMPLATE: Act.READ,
    Kind.PROMPT: Act.GET,
    Kind.SERVER: Act.LIST,
    Kind.ADMIN: Act.READ,
    Kind.MODEL: Act.CALL,
    Kind.PEER: Act.CALL,
}
_ALWAYS_THERE = (Kind.SERVER, Kind.ADMIN)
_LIKE = 0.6


class Standing(Protocol):
    """What stands beside policy: of a house that is open, or as one reads it from outside."""

    @property
    def identity(self) -> Identity: ...

    @property
    def registry(self) -> Registry: ...

    @property
    def servers(self) -> Mapping[str, Upstream]: ...


class Proved(NamedTuple):
    """What a token would prove beside its subject."""

    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


NOTHING_PROVED = Proved()


@dataclass(frozen=True, slots=True)
class Question:
    """Who would do what, with which arguments, and when."""

    agent: str  # or ISSUER/SUBJECT: whoever comes with a token of it
    object: str
    act: str = ""  # "": the usual one for the kind of object
    arguments: str = "{}"
    now_us: int = 0
    proved: Proved = NOTHING_PROVED


@dataclass(frozen=True, slots=True)
class Answer:
    """What policy says, and what would stop the call beside it (rates and budgets are not asked)."""

    explanation: Explanation
    stopped: str = ""  # why, although policy may allow it
    meant: str = ""  # what is there and reads like it; for whoever may know what there is
    absent: bool = False  # there is no such object, so that no rule is to blame

    @property
    def yes(self) -> bool:
        return self.explanation.decision.verdict is Verdict.ALLOW and not self.stopped

    def say(self) -> str:
        """What policy says, in a few lines for a terminal."""
        return self._mendable().say()

    def _mendable(self) -> Explanation:
        fix = "see what there is: customhouse tool list"
        return replace(self.explanation, fix=fix) if self.absent else self.explanation

    def as_json(self) -> dict[str, Any]:
        said = self._mendable()
        return {
            "allowed": self.yes,
            "verdict": str(said.decision.verdict),
            "approvals": [list(roles) for roles in said.decision.approvals],
            "agent": said.subject,
            "tenant": said.tenant,
            "object": said.object,
            "act": said.act,
            "by": said.sentence,
            "fix": said.fix,
            "stopped": with_meant(self.stopped, self.meant),
            "conditions": dict(said.decision.conditions),
            "policy": said.decision.policy_version,
            "matches": [{"place": m.rule.place, "rule": m.rule.text} for m in said.matches],
            "nearest": [near.sentence for near in said.nearest],
        }


def ask(reading: Reading, snapshot: Snapshot, question: Question) -> Answer:
    """Raises: OperationRefused: no such agent, or the question makes no sense."""
    call = named_call(reading, question, _principal(reading, question.agent, question.proved))
    explanation = snapshot.explain(call, question.now_us)
    absent = is_absent(call)
    meant = like_it(reading, call) if absent else ""
    return Answer(explanation, unserved(reading, call), meant, absent)


def in_full(here: Standing, text: str) -> str:
    """*text* with its kind, where it is the name of a model, or PEER/SKILL."""
    word, slash, rest = text.partition("/")
    terms = here.registry.terms.get(word)
    if terms is None or word in set(Kind) or wire_place(here.registry.catalogue, text):
        return text
    if terms.kind is Kind.MODEL and not slash:
        return f"{Kind.MODEL}/{word}"
    return f"{Kind.PEER}/{text}" if terms.kind is Kind.PEER and rest else text


def visible(
    reading: Reading, snapshot: Snapshot, agent: str, proved: Proved = NOTHING_PROVED
) -> tuple[Definition, ...]:
    """Everything that *agent* finds in its lists. Raises: OperationRefused: no such agent."""
    principal = _principal(reading, agent, proved)
    if _is_disabled(reading, principal):
        return ()
    catalogue = reading.registry.catalogue
    kinds = (Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE, Kind.MODEL)
    listed = [definition for kind in kinds for definition in catalogue.listing(kind)]
    return snapshot.visible(principal, listed)


def named_call(reading: Reading, question: Question, principal: Principal) -> Call:
    """The call that *question* asks about, by *principal*. Raises: OperationRefused."""
    catalogue = reading.registry.catalogue
    server, kind, name = wire_place(catalogue, question.object) or _object(question.object)
    known = catalogue.resource if kind is Kind.RESOURCE else None
    definition = known(server, name) if known else catalogue.find(server, kind, name)
    return Call(
        id="",
        principal=principal,
        method="",
        kind=kind,
        server=server,
        name=name,
        act=_act(question.act, kind),
        weight=CallClass.FULL,
        arguments=_arguments(question.arguments),
        definition=definition,
    )


def is_absent(call: Call) -> bool:
    """Whether nobody offers what *call* names."""
    return call.definition is None and call.kind not in _ALWAYS_THERE


def like_it(here: Standing, call: Call) -> str:
    """What there is, and is called much as what *call* names; "": nothing."""
    server = call.server
    if _is_disabled(here, call.principal):
        return ""
    if server not in here.servers:
        server = next(iter(get_close_matches(server, here.servers, n=1, cutoff=_LIKE)), "")
    listed = (d for d in here.registry.catalogue.definitions if d.server == server)
    names = {d.name: object_name(d.kind, d.server, d.name) for d in listed if d.name}
    close = get_close_matches(call.name, names, n=1, cutoff=_LIKE)
    return names[close[0]].removeprefix(f"{Kind.TOOL}/") if close else ""


def with_meant(stopped: str, meant: str) -> str:
    """Why not, and what else was meant, if anything was."""
    return f"{stopped}; did you mean {meant}?" if stopped and meant else stopped


def unserved(here: Standing, call: Call) -> str:
    """Why *call* is not served, whatever policy says; "" when nothing stands beside it."""
    if _is_disabled(here, call.principal):
        return DISABLED
    if call.kind in _ALWAYS_THERE:
        return ""
    if call.server not in here.servers:
        return f"there is no server {call.server!a:.60}"
    if not here.registry.catalogue.serves(call.server):
        if call.server not in here.registry.suspended:
            return f"the card of peer {call.server} is not approved"
        return f"server {call.server} is suspended"
    if call.definition is None:
        return "the server lists nothing of this name"
    if call.definition.approval is not Approval.APPROVED:
        return f"its definition is {call.definition.approval}, not approved"
    return ""


def _is_disabled(here: Standing, principal: Principal) -> bool:
    agent = here.identity.agents.get(principal.subject)
    return agent is not None and agent.disabled


def _principal(reading: Reading, name: str, proved: Proved) -> Principal:
    issuer, slash, subject = name.partition("/")
    if slash and subject:
        return _with_token(reading, issuer, name, proved)
    agent = reading.identity.agents.get(name)
    if agent is None:
        raise unknown("agent", name, "see: customhouse agent list")
    if proved != NOTHING_PROVED:
        raise usage(
            f"{name} is an agent: it has the roles it was given, and no scopes",
            "say ISSUER/SUBJECT, or leave roles and scopes out",
        )
    return Principal(agent.tenant, agent.name, agent.team)


def _with_token(reading: Reading, issuer: str, name: str, proved: Proved) -> Principal:
    """Whoever comes with such a token; its scopes bring the roles that the configuration says."""
    declared = reading.config.issuers.get(issuer)
    if declared is None:
        raise unknown("issuer", issuer, "see [issuers.*] in the configuration file")
    provable = {role for *_, role in declared.roles}
    foreign = sorted({*proved.roles} - provable)
    if foreign:
        raise usage(
            f"no token of {issuer} proves the role {foreign[0]!a:.60}",
            f"its table of roles has: {', '.join(sorted(provable)) or 'none'}",
        )
    brought = {
        role for claim, value, role in declared.roles if claim == "scope" and value in proved.scopes
    }
    return Principal(
        declared.tenant,
        name,
        declared.team,
        roles=frozenset({*proved.roles, *brought}),
        scopes=frozenset(proved.scopes),
    )


def _object(text: str) -> Place:
    word, _, rest = text.partition("/")
    if word == Kind.ADMIN and rest:
        return "", Kind.ADMIN, rest
    if word == Kind.MODEL and rest:
        return rest, Kind.MODEL, rest
    server, slash, name = rest.partition("/")
    if slash and word in set(Kind):
        return server, Kind(word), name
    if word and rest:
        return word, Kind.TOOL, rest
    raise usage(
        f"{text!a:.80} does not name an object",
        "say SERVER/TOOL, PEER/SKILL, a model, a name on /mcp, KIND/SERVER/NAME as"
        " prompt/docs/summary, or admin/metrics",
    )


def _act(text: str, kind: Kind) -> Act:
    if not text:
        return USUAL_ACT[kind]
    try:
        return Act(text)
    except ValueError:
        raise usage(f"there is no act {text!a:.40}", f"known are: {', '.join(Act)}") from None


def _arguments(text: str) -> Mapping[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise usage("the arguments are not a JSON object", """for example '{"amount": 20}'""")
    return arguments
