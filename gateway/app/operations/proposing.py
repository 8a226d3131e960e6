"""Two persons for a policy: one proposes it, another one approves exactly that, within a day.

Who is a person stands in `persons`. The same one can be a user of the socket and one of an issuer,
and who is root on this machine can be everybody on the socket: this finds the hasty and the lonely,
not those who own the machine or the issuer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.app.course import APPROVE, BACK_TO, NotStored, Step, stored
from gateway.app.house import House, policy_effect
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, conflict, enter, unknown
from gateway.app.operations.persons import are_two, is_person, person
from gateway.domain.operator import Exit, OperationRefused
from gateway.domain.window import when
from gateway.policy.compare import changed_lines
from gateway.policy.files import Binding, PolicySource, differing
from gateway.policy.load import Loaded, tested
from gateway.policy.load import compile as compile_policy
from gateway.policy.snapshot import Snapshot
from gateway.store.trail import PROPOSE, opened

LASTS_US = 86_400 * 1_000_000
MAX_WAITING = 16  # each keeps a whole policy in the database
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
    back = bool(proposal.back_to)
    await enter(house, change, lambda: put_in_force(house, loaded, rolled_back=back))
    return {**outcome(house, loaded, prior), "proposed_by": proposal.author}


async def pending(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """What can be approved now, oldest first."""
    del author
    Args(given)
    return [as_row(proposal) for proposal in waiting(house)]


async def shown(house: House, digest: str) -> dict[str, Any]:
    """One that can be approved now, and what it would change. Raises: OperationRefused: none."""
    proposal = next((p for p in reversed(waiting(house)) if p.version == digest), None)
    if proposal is None:
        raise unknown("proposal", digest, _PENDING)
    loaded, before = house.loaded_policy, house.policies.current
    source, after = await asyncio.to_thread(_compiled, house, digest)
    return {
        **as_row(proposal),
        "files": differing(loaded.source.files if loaded else {}, source.files),
        "rules": changed_lines(before, after),
    }


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
    proposal = next((p for p in timely if are_two(p.author, author)), None)
    if proposal is None:
        by, who = person(timely[0].author), person(author)
        raise OperationRefused(
            f"{by} proposed this policy, and {'' if who == by else f'{who} '}cannot approve it",
            "two_person_policy is on: a policy is two persons' work, and these cannot be told apart",
            "have somebody else approve it: another user on the socket, or an approver with a token",
            Exit.NOT_OPERATOR,
        )
    return proposal


def _proposed(house: House, digest: str) -> Loaded:
    return tested(*_source(house, digest))


def _compiled(house: House, digest: str) -> tuple[PolicySource, Snapshot]:
    source, bindings = _source(house, digest)
    return source, compile_policy(source, bindings)


def _source(house: House, digest: str) -> tuple[PolicySource, tuple[Binding, ...]]:
    with opened(house.config.data_dir) as read:
        try:
            source, bindings = stored(read, digest)
        except NotStored as err:
            fix = "propose it again: customhouse policy apply"
            raise OperationRefused(str(err), "it cannot be approved", fix, Exit.INVALID) from err
    if bindings != house.identity.bindings():
        raise _stale()
    return source, bindings


def _is_late(proposal: Step, now_us: int) -> bool:
    return now_us - proposal.at_us >= LASTS_US


def _refuse_no_person(author: str) -> None:
    if not is_person(author):
        raise OperationRefused(
            f"{author} is no person",
            "two_person_policy is on: a policy is two persons' work, and an API key says which agent"
            " it is, not who holds it",
            "on the gateway's machine: customhouse policy apply; or over HTTP with a person's token",
            Exit.NOT_OPERATOR,
        )


def _stale() -> OperationRefused:
    return conflict(
        "the policy has changed since this was proposed",
        "it was proposed in place of another policy than the one in force, or for other roles",
        "look at it anew, and propose it again: customhouse policy apply",
    )
