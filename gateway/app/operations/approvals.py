"""Calls that wait for somebody's yes: who may say it, and what the approver is shown.

Whoever asks does not approve, and neither does anybody it acts for, nor whoever cannot be told apart
from one of them. An operator of this machine stands for any role, by name; a role beside it takes
another person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations import payloads
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, conflict, enter, unknown
from gateway.app.operations.persons import are_told_apart
from gateway.app.operations.search import with_rules
from gateway.domain.approval import (
    MAX_CALLS,
    Approver,
    Course,
    No,
    State,
    Yes,
    in_words,
    readable,
)
from gateway.domain.model import Principal
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.domain.window import when
from gateway.edge.api.desk import Withdrawn
from gateway.store.engine import reading
from gateway.store.keyring import payload_keys
from gateway.store.petitions import ABOUT, DENY, GIVE, Asked, read_asked
from gateway.store.trail import opened

DECISIONS = frozenset({"approval.approve", "approval.deny"})
_LIST = "see what waits: customhouse approval list"
MAX_REASON = 300  # the caller is told

Row = dict[str, Any]


async def approve(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Say yes: to one call, or with `calls` to so many of its run, whatever their arguments."""
    args = Args(given, "approval", "calls", "reason", "as")
    approver, course = _approver(author, args), one(house, args.text("approval"))
    calls = args.whole("calls", 0)
    if calls > MAX_CALLS:
        raise usage(f"an approval is for at most {MAX_CALLS} calls", "say fewer")
    if calls and not course.petition.run:
        raise conflict(
            f"{course.petition.id} is part of no run",
            "an approval for many calls holds within the run of the one that asked",
            "approve just this call, without a number of calls",
        )
    others = (*course.petition.askers, *(yes.by.author for yes in course.yeses))
    _refuse(house, course, approver, others)
    if _state(house, course) is State.GRANTED:
        raise conflict(f"{course.petition.id} is approved already", "it waits for its call", _LIST)
    if not course.is_of_use(approver, house.approvals.holds(course)):
        raise _without_role(course, approver)
    yes = Yes(approver, wall_us(), calls)
    await _enter(house, GIVE, author, course, yes, args)
    return as_row(house, course)


async def deny(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Say no; also to what was approved, for as long as it is not used. The caller is told why."""
    args = Args(given, "approval", "reason", "as")
    approver, course = _approver(author, args), one(house, args.text("approval"))
    _refuse(house, course, approver, course.petition.askers)
    if not may_decide(house, course, approver):
        raise _without_role(course, approver)
    no = No(approver, wall_us(), args.text("reason", "", MAX_REASON))
    await _enter(house, DENY, author, course, no, args)
    return as_row(house, course)


async def waiting(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """What waits for a decision, or for its call to be made; the oldest first."""
    del author
    Args(given)
    return rows(house)


async def show(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """One of them, with its arguments; the look is an entry."""
    course = one(house, Args(given, "approval").text("approval"))
    return await opened_up(house, author, course)


def rows(house: House) -> list[Row]:
    return [as_row(house, course) for course in house.approvals.live(wall_us())]


async def opened_up(
    house: House, author: str, course: Course, holds: Callable[[], bool] = lambda: True
) -> Row:
    """A row with arguments, rule and conditions: the look is durable before they are opened.

    Raises: Withdrawn: whoever looks lost the right by then.
    """
    await payloads.read(house, author, {"subject": ABOUT + course.petition.id})
    if not holds():
        raise Withdrawn
    return as_row(house, course) | await asyncio.to_thread(_shown, house, course)


def may_decide(house: House, course: Course, approver: Approver) -> bool:
    """Whether *approver* has any of the roles that it takes."""
    holds = house.approvals.holds(course)
    return any(holds(approver, role) for roles in course.petition.roles for role in roles)


def as_row(house: House, course: Course) -> Row:
    petition, holds, now_us = course.petition, house.approvals.holds(course), wall_us()
    state = course.state(holds, now_us)
    no = course.no
    return {
        "approval": petition.id,
        "state": str(state),
        "tenant": petition.tenant,
        "agent": petition.subject,
        "actors": list(petition.actors),
        "object": petition.object,
        "definition": petition.definition,
        "digest": petition.binding,
        "roles": in_words(petition.roles),
        "run": petition.run,
        "asked_at": when(petition.asked_us),
        "until": when(course.until_us(holds, now_us)),
        "approved_by": [yes.by.author for yes in course.valid(holds)],
        "calls": min((yes.calls for yes in course.yeses), default=0),
        "used": course.used,
        "denied_by": no.by.author if no else "",
        "reason": no.reason if no else "",
    }


def approver_of(principal: Principal) -> Any:
    """What the desk adds to an errand about approvals: who says so, with what its credential proves."""
    return msgspec.to_builtins(principal)


def _approver(author: str, args: Args) -> Approver:
    if author.startswith("uid:"):
        if args.has("as"):
            raise usage("an operator of this machine approves as nobody else", "leave out `as`")
        return Approver(author)
    principal = msgspec.convert(args.table("as"), Principal)
    if author != f"agent:{principal.subject}" or principal.actors:
        raise OperationRefused(
            f"{author} cannot approve anything",
            "it acts on somebody else's behalf, and entries name one author",
            "have somebody decide with a credential of their own",
            Exit.NOT_OPERATOR,
        )
    return Approver(author, principal)


def one(house: House, approval_id: str) -> Course:
    """Raises: OperationRefused: there is none, or none any more."""
    course = house.approvals.find(approval_id)
    if course is None or _state(house, course) in (State.USED, State.EXPIRED):
        raise unknown(
            "approval", approval_id, f"it is used, expired or was never asked for; {_LIST}"
        )
    return course


def _state(house: House, course: Course) -> State:
    return course.state(house.approvals.holds(course), wall_us())


def _refuse(house: House, course: Course, approver: Approver, others: Sequence[str]) -> None:
    """Raises: OperationRefused: *approver* asks for it, was heard already, or comes too late."""
    petition, author = course.petition, approver.author
    if approver.principal is not None and approver.principal.tenant != petition.tenant:
        raise unknown("approval", petition.id, _LIST)
    state = _state(house, course)
    if state is State.DENIED:
        raise conflict(f"{petition.id} was denied", "a no stands until the ask expires", _LIST)
    alike = next((other for other in others if not are_told_apart(author, other)), None)
    if alike is None:
        return
    if alike in petition.askers:
        why = (
            f"nobody approves or denies what they asked for: {alike} asks for it, or it is asked on"
            " its behalf, and the two cannot be told apart"
        )
    else:
        why = f"{alike} has approved it, and each role takes another person"
    raise OperationRefused(
        f"{author} cannot decide on {petition.id}",
        why,
        f"have somebody else decide who has the role {in_words(petition.roles)}",
        Exit.NOT_OPERATOR,
    )


def _without_role(course: Course, approver: Approver) -> OperationRefused:
    petition = course.petition
    return OperationRefused(
        f"{approver.author} cannot decide on {petition.id}",
        f"it takes the role {in_words(petition.roles)} in tenant {petition.tenant}, as far as"
        " nobody has stood for it yet",
        "have somebody decide who has the role, or give it: customhouse agent grant",
        Exit.NOT_OPERATOR,
    )


async def _enter(
    house: House, what: str, author: str, course: Course, said: Yes | No, args: Args
) -> None:
    petition = course.petition
    note = msgspec.to_builtins(said) | {"reason": args.text("reason", "")}
    change = Change(
        what,
        author,
        subject=ABOUT + petition.id,
        digest=petition.binding,
        note=msgspec.json.encode(note).decode(),
    )

    def apply() -> None:
        if isinstance(said, Yes):
            house.approvals.said_yes(petition.id, said)
        else:
            house.approvals.said_no(petition.id, said)

    await enter(house, change, apply)


def _shown(house: House, course: Course) -> Row:
    """In a thread."""
    with reading(house.database) as connection:
        keys = tuple(payload_keys(house.house_keys.folder))
        asked = read_asked(connection, keys, course.petition)
    if asked is None:
        raise OperationRefused(
            f"what {course.petition.id} is about cannot be shown",
            "it was erased, or the key that it was sealed with is gone",
            "deny it; the caller may ask anew",
            Exit.NO,
        )
    return {
        "arguments": readable(asked.params),
        "call": asked.call,
        "conditions": dict(asked.conditions),
        **_rule(house, asked),
    }


def _rule(house: House, asked: Asked) -> Row:
    row = {"policy": asked.policy, "rule": str(asked.rule) if asked.rule >= 0 else ""}
    with opened(house.config.data_dir) as trail:
        [ruled] = with_rules(trail, [row])
    return {"rule_place": ruled.get("rule_place", ""), "rule_text": ruled.get("rule_text", "")}
