"""Two persons for a policy: one proposes it, another one approves exactly that, within a day.

`uid:1000 alice` on the operator's socket and `agent:alice` over HTTP are persons. The same one can
be both, and who is root on this machine can be everybody on the socket: this finds the hasty and
the lonely, not those who own the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.app.course import APPROVE, BACK_TO, NotStored, Step, stored
from gateway.app.house import House, policy_effect
from gateway.app.operations.args import Args
from gateway.app.operations.describe import when
from gateway.app.operations.entering import Change, conflict, enter, unknown
from gateway.domain.operator import Exit, OperationRefused
from gateway.policy.load import Loaded, tested
from gateway.store.trail import PROPOSE, opened

LASTS_US = 86_400 * 1_000_000
MAX_WAITING = 16  # each keeps a whole policy in the database
_PERSONS = ("uid:", "agent:")
_PENDING = "see what waits: customhouse policy pending"


async def propose(
    house: House, author: str, loaded: Loaded, *, back_to: str = "", note: str = ""
) -> dict[str, Any]:
    """Enter that *author* would have *loaded* in force. It decides nothing yet.

    Raises: OperationRefused: no person asks, or too much waits already.
    """
    _refuse_no_person(author)
    prior = house.policies.current.version
    same = (loaded.snapshot.version, person(author))
    others = [p for p in waiting(house) if (p.version, person(p.author)) != same]
    if len(others) >= MAX_WAITING:
        raise conflict(
            f"{len(others)} proposals wait already",
            "each is kept whole until somebody decides, or a day has passed",
            "approve one of them, or wait",
        )
    change = Change(
        PROPOSE,
        author,
        subject=BACK_TO + back_to if back_to else "",
        digest=loaded.snapshot.version,
        prior=prior,
        note=note,
        effects=(policy_effect(loaded, house.identity.bindings()),),
    )
    now_us = house.ledger.log.stamp()
    made = Step(now_us, PROPOSE, author, change.digest, prior, change.subject, in_force=False)

    def keep() -> None:
        house.proposals = [*others, made]

    await enter(house, change, keep)
    return {**outcome(house, loaded, prior), "proposed": change.digest, **as_row(made)}


async def approve(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Put in force what somebody else proposed: the whole digest has to be said."""
    args = Args(given, "digest", "reason")
    digest = args.text("digest")
    if not house.config.two_person_policy:
        raise conflict(
            "nothing needs to be approved here",
            "two_person_policy is off: what is applied is in force",
            "say: customhouse policy apply",
        )
    _refuse_no_person(author)
    proposal = _approvable(house, digest, author)
    loaded = await asyncio.to_thread(_proposed, house, digest)
    prior = house.policies.current.version
    if loaded.snapshot.version != digest or prior != proposal.prior:
        raise _stale()
    change = Change(
        APPROVE,
        author,
        subject=proposal.subject,
        digest=digest,
        prior=prior,
        note=args.text("reason", ""),
    )
    await enter(house, change, lambda: put_in_force(house, loaded, rolled_back=False))
    return {**outcome(house, loaded, prior), "proposed_by": proposal.author}


async def pending(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """What can be approved now, oldest first."""
    del author
    Args(given)
    return [as_row(proposal) for proposal in waiting(house)]


def waiting(house: House) -> list[Step]:
    """Proposals that are neither late nor made for another policy than the one in force."""
    version, now_us = house.policies.current.version, house.ledger.log.stamp()
    return [p for p in house.proposals if can_wait(p, version, now_us)]


def can_wait(proposal: Step, version: str, now_us: int) -> bool:
    return proposal.prior == version and not _is_late(proposal, now_us)


def as_row(proposal: Step) -> dict[str, Any]:
    return {
        "digest": proposal.version,
        "proposed_by": proposal.author,
        "at": when(proposal.at_us),
        "until": when(proposal.at_us + LASTS_US),
        "instead_of": proposal.prior,
        "back_to": proposal.back_to,
    }


def person(author: str) -> str:
    """`uid:1000` of `uid:1000 alice`: names of users can be changed, and given twice."""
    return author.partition(" ")[0] if author.startswith("uid:") else author


def put_in_force(house: House, loaded: Loaded, *, rolled_back: bool) -> None:
    """Swap; it is in the log."""
    house.policies.swap(loaded.snapshot)
    house.loaded_policy = loaded
    house.rolled_back = rolled_back


def outcome(house: House, loaded: Loaded, prior: str) -> dict[str, Any]:
    """What to tell of *loaded*, now that what is to be in force is."""
    version = house.policies.current.version
    return {
        "version": version,
        "prior": prior,
        "changed": version != prior,
        "rules": len(loaded.snapshot.rules),
        "cases": len(loaded.cases),
        "warnings": [finding.say() for finding in loaded.findings],
    }


def _approvable(house: House, digest: str, author: str) -> Step:
    """The newest proposal of *digest* by somebody else. Raises: OperationRefused."""
    found = [p for p in reversed(house.proposals) if p.version == digest]
    if not found:
        raise unknown("proposal", digest, _PENDING)
    fresh = [p for p in found if p.prior == house.policies.current.version]
    if not fresh:
        raise _stale()
    now_us = house.ledger.log.stamp()
    timely = [p for p in fresh if not _is_late(p, now_us)]
    if not timely:
        raise conflict(
            f"the proposal of {digest[:12]} is more than a day old",
            "what was right then may not be now",
            "propose it again: customhouse policy apply",
        )
    others = (p for p in timely if _is_another(p.author, author))
    proposal = next(others, None)
    if proposal is None:
        raise OperationRefused(
            f"{person(author)} proposed this policy, and cannot approve it",
            "two_person_policy is on: a policy is two persons' work",
            "have somebody else approve it: another user on the socket, or an approver over HTTP",
            Exit.NOT_OPERATOR,
        )
    return proposal


def _proposed(house: House, digest: str) -> Loaded:
    with opened(house.config.data_dir) as read:
        try:
            source, bindings = stored(read, digest)
        except NotStored as err:
            fix = "propose it again: customhouse policy apply"
            raise OperationRefused(str(err), "it cannot be approved", fix, Exit.INVALID) from err
    if bindings != house.identity.bindings():
        raise _stale()
    return tested(source, bindings)


def _is_late(proposal: Step, now_us: int) -> bool:
    return now_us - proposal.at_us >= LASTS_US


def _is_another(proposer: str, author: str) -> bool:
    """A proposer whose name is not known any more might be anybody."""
    return proposer.startswith(_PERSONS) and person(proposer) != person(author)


def _refuse_no_person(author: str) -> None:
    if not author.startswith(_PERSONS):
        raise OperationRefused(
            f"{author} is no person",
            "two_person_policy is on: a policy is two persons' work",
            "say: customhouse policy apply",
            Exit.NOT_OPERATOR,
        )


def _stale() -> OperationRefused:
    return conflict(
        "the policy has changed since this was proposed",
        "it was proposed in place of another policy than the one in force, or for other roles",
        "look at it anew, and propose it again: customhouse policy apply",
    )
