"""Approvals: what somebody asks to do, who said yes or no, and what that covers.

An approval is for one principal (with all it acts for), one object under one definition, and the
very arguments that will be sent. Nothing that differs in any of them fits it.

    waiting -> granted -> used          each of them ends by itself: expiry means no
            -> denied
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from gateway.domain.model import Call, Kind, Principal

ASK_LASTS_US = 600 * 1_000_000  # for somebody to say yes or no
USE_LASTS_US = 600 * 1_000_000  # from the last yes: for the call to be made
RUN_LASTS_US = 3_600 * 1_000_000  # the same, where it is for a run
LONGEST_US = ASK_LASTS_US + RUN_LASTS_US  # then nothing is left of it
MAX_OPEN = 20  # asks of one principal that nobody has decided
MAX_OPEN_IN_ALL = 10_000
MAX_SHOWN_BYTES = 24_000  # of arguments: what nobody can read through, nobody can approve
MAX_CALLS = 1_000  # of one approval for a run
_MESSAGE = "message"  # to an agent
# Beside the arguments: of the protocol and of ours, which are not passed on, and of the trace. All
# else a server may act on.
_OURS = ("io.modelcontextprotocol/", "io.customhouse/")
_OF_EACH_CALL = frozenset({"progressToken", "traceparent"})  # passed on as they have to look
_TRACE_STATE = re.compile(rb'"[ !#-\[\]-~]{0,512}"')  # W3C Trace Context s3.3: short text
_SAID_LATER = ("inputResponses", "requestState")  # only later rounds of a call have these

Alternatives = tuple[tuple[str, ...], ...]  # any of these sets of roles is enough


@dataclass(frozen=True, slots=True)
class Granted:
    """It may be made; the approval is used up by that."""

    id: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody is asked, or is to be asked now."""

    id: str  # "": nobody can be asked, and `detail` says why
    is_new: bool  # nobody was asked yet
    detail: Mapping[str, str | int]  # for the caller


@dataclass(frozen=True, slots=True)
class Denied:
    """Somebody said no."""

    detail: Mapping[str, str | int]  # for the caller


@dataclass(frozen=True, slots=True)
class Approver:
    """Who says yes or no: `uid:1000 ann`, an operator on the socket, or somebody with a credential."""

    author: str  # as entries have it
    principal: Principal | None = None  # None: an operator of this machine


@dataclass(frozen=True, slots=True)
class Yes:
    by: Approver
    at_us: int
    calls: int = 0  # for the run, at most so many; 0: for this one call


@dataclass(frozen=True, slots=True)
class No:
    by: Approver
    at_us: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Petition:
    """One ask. *binding*: what it is for; *run_binding*: the same with any arguments, in its run."""

    id: str
    leaf: int  # of the entry that asks
    asked_us: int
    binding: str
    run_binding: str  # "": it is part of no run
    roles: Alternatives
    tenant: str
    subject: str
    actors: tuple[str, ...]
    object: str
    definition: str
    run: str = ""

    @property
    def expires_us(self) -> int:
        return self.asked_us + ASK_LASTS_US

    @property
    def askers(self) -> tuple[str, ...]:
        """Everybody who would be approving for themselves, as entries have authors."""
        return tuple(f"agent:{name}" for name in (self.subject, *self.actors))


class State(StrEnum):
    WAITING = "waiting"
    GRANTED = "granted"
    DENIED = "denied"
    USED = "used"
    EXPIRED = "expired"


Holds = Callable[[Approver, str], bool]
"""Whether an approver has a role of the petition's tenant, at this moment."""


@dataclass(slots=True)
class Course:
    """What became of one petition so far."""

    petition: Petition
    yeses: tuple[Yes, ...] = ()
    no: No | None = None
    used: int = 0

    def valid(self, holds: Holds) -> tuple[Yes, ...]:
        """The yeses of those who could still say it."""
        roles = {role for roles in self.petition.roles for role in roles}
        return tuple(yes for yes in self.yeses if any(holds(yes.by, role) for role in roles))

    def state(self, holds: Holds, now_us: int) -> State:
        yeses = self.valid(holds)
        if self.no is not None:
            late = now_us >= self.petition.expires_us
            return State.EXPIRED if late else State.DENIED
        if self.is_enough([yes.by for yes in yeses], holds):
            if self.used >= most_uses(yeses):
                return State.USED
            return State.EXPIRED if now_us >= usable_until(yeses) else State.GRANTED
        return State.EXPIRED if now_us >= self.petition.expires_us else State.WAITING

    def is_for_run(self, holds: Holds) -> bool:
        yeses = self.valid(holds)
        return bool(yeses) and all(yes.calls for yes in yeses)

    def until_us(self, holds: Holds, now_us: int) -> int:
        """When its state ends by itself."""
        if self.state(holds, now_us) is State.GRANTED:
            return usable_until(self.valid(holds))
        return self.petition.expires_us

    def is_enough(self, approvers: Sequence[Approver], holds: Holds) -> bool:
        """Whether each role of one of the alternatives is had by an approver of its own."""
        return any(
            filled(roles, approvers, holds) == len(roles) for roles in self.petition.roles if roles
        )

    def is_of_use(self, newcomer: Approver, holds: Holds) -> bool:
        """Whether *newcomer* has a role that is still outstanding."""
        before = [yes.by for yes in self.valid(holds)]
        return any(
            filled(roles, [*before, newcomer], holds) > filled(roles, before, holds)
            for roles in self.petition.roles
        )


def filled(roles: Sequence[str], approvers: Sequence[Approver], holds: Holds) -> int:
    """How many of *roles* different approvers can stand for; roles are few, and so are approvers."""
    if not roles:
        return 0
    first, *others = roles
    best = filled(others, approvers, holds)
    for place, one in enumerate(approvers):
        if holds(one, first):
            rest = [*approvers[:place], *approvers[place + 1 :]]
            best = max(best, 1 + filled(others, rest, holds))
    return best


def most_uses(yeses: Sequence[Yes]) -> int:
    """What all of them allow: one call, unless each said that it is for the run."""
    return max(1, min((yes.calls for yes in yeses), default=0))


def usable_until(yeses: Sequence[Yes]) -> int:
    for_run = bool(yeses) and all(yes.calls for yes in yeses)
    lasts_us = RUN_LASTS_US if for_run else USE_LASTS_US
    return max((yes.at_us for yes in yeses), default=0) + lasts_us


def in_words(alternatives: Alternatives) -> str:
    """`boss`, `boss+auditor or owner`: printable ASCII, for the caller and the log."""
    return " or ".join("+".join(roles) for roles in alternatives)


# -- what an approval is bound to -----------------------------------------------------------------


def binding_of(call: Call) -> str:
    """Digest of all that an approval of *call* is for."""
    return _digest([*_who_and_what(call), arguments_digest(sent(call))])


def whose_of(call: Call) -> str:
    """Digest of who wants what, with whatever arguments: what a call shares with its questions."""
    return _digest([*_who_and_what(call), "whose"])


def run_binding_of(call: Call) -> str:
    """The same for any arguments, in the run of *call*; "" when that is part of none."""
    return _digest([*_who_and_what(call), "run", call.run]) if call.run else ""


def sent(call: Call) -> Mapping[str, bytes]:
    """The raw parameters that the approver is shown: all of them, as they will be sent.

    Later rounds repeat the call with what its caller was asked meanwhile; that is not asked again.
    A message to an agent has another id each time it is sent, and says the same.
    """
    aside = {f"_meta.{name}": raw for name, raw in call.meta.items() if _is_said(name, raw)}
    if call.kind is Kind.PEER and _MESSAGE in call.params:
        members = msgspec.json.decode(call.params[_MESSAGE], type=dict[str, msgspec.Raw])
        members.pop("messageId", None)
        return {**call.params, _MESSAGE: msgspec.json.encode(members), **aside}
    if call.round == 1:
        return {**call.params, **aside}
    said = {name: raw for name, raw in call.params.items() if name not in _SAID_LATER}
    return {**said, **aside}


def _is_said(name: str, raw: bytes) -> bool:
    if name == "tracestate":
        return _TRACE_STATE.fullmatch(raw) is None
    return name not in _OF_EACH_CALL and not name.startswith(_OURS)


def arguments_digest(params: Mapping[str, bytes]) -> str:
    """Canonical, for a client may order members anew; but each fraction counts as it is written.

    What reads alike after rounding (1.0 and 1.00000000000000000001) is not what will be sent.
    """
    written: list[str] = []

    def fraction(text: str) -> float:
        written.append(text)
        return float(text)

    said = {name: json.loads(raw, parse_float=fraction) for name, raw in params.items()}
    return _digest([said, sorted(written)])


def shown_bytes(call: Call) -> int:
    return sum(len(name) + len(raw) for name, raw in sent(call).items())


def _who_and_what(call: Call) -> list[Any]:
    who = call.principal
    definition = call.definition.digest if call.definition else ""
    actors = list(who.actors)
    return [who.tenant, who.subject, actors, str(call.act), call.object, definition]


def _digest(value: Any) -> str:
    said = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"customhouse/approval/1\n" + said.encode()).hexdigest()


# -- arguments for people -------------------------------------------------------------------------


class _Exact(float):
    """A fraction that is shown as it was written."""

    text = ""


def readable(params: Mapping[str, str]) -> str:
    """Parameters as JSON over several lines: sorted, nothing left out, fractions as written."""
    said = {name: json.loads(raw, parse_float=_exact) for name, raw in params.items()}
    return "\n".join(_lines(said, "", ""))


def _exact(text: str) -> _Exact:
    number = _Exact(text)
    number.text = text
    return number


def _lines(value: Any, margin: str, name: str) -> Iterable[str]:
    if isinstance(value, dict) and value:
        yield f"{margin}{name}{{"
        inner = [(json.dumps(key, ensure_ascii=False) + ": ", value[key]) for key in sorted(value)]
        yield from _members(inner, margin)
        yield f"{margin}}}"
    elif isinstance(value, list) and value:
        yield f"{margin}{name}["
        yield from _members([("", one) for one in value], margin)
        yield f"{margin}]"
    elif isinstance(value, _Exact):
        yield f"{margin}{name}{value.text}"
    else:
        yield f"{margin}{name}{json.dumps(value, ensure_ascii=False)}"


def _members(members: Sequence[tuple[str, Any]], margin: str) -> Iterable[str]:
    last = len(members) - 1
    for place, (name, value) in enumerate(members):
        *before, end = _lines(value, margin + "  ", name)
        yield from before
        yield end if place == last else end + ","
