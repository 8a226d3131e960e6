"""Putting a policy in force, the folder's or one that once was: all of it, or nothing.

Where two persons are needed, both only propose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.app.course import APPLY, BACK_TO, ROLLBACK
from gateway.app.house import House, policy_effect
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, conflict, enter
from gateway.app.operations.proposing import outcome, propose, put_in_force
from gateway.app.operations.versions import files_of, resolved
from gateway.domain.operator import OperationRefused
from gateway.policy.files import PolicySource
from gateway.policy.load import load, tested
from gateway.store.trail import opened

SIGNAL = "signal:hup"


async def apply(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Read, check, test and swap. Calls that were admitted finish as they were decided."""
    only = Args(given, "only").text("only", "")
    if author == SIGNAL and house.is_held:
        raise _nobody_says_so(house)
    loaded = await asyncio.to_thread(load, house.config.policies, house.identity.bindings())
    if only and loaded.snapshot.version != only:
        raise conflict(
            f"the policy folder does not hold {only[:12]}",
            "it was changed meanwhile",
            "look: customhouse policy diff",
        )
    prior, two = house.policies.current.version, house.config.two_person_policy
    ends_rollback = house.rolled_back and not two
    if loaded.snapshot.version == prior and not ends_rollback:
        return outcome(house, loaded, prior)
    if two:
        return await propose(house, author, loaded)
    effects = (policy_effect(loaded, house.identity.bindings()),)
    change = Change(APPLY, author, digest=loaded.snapshot.version, prior=prior, effects=effects)
    await enter(house, change, lambda: put_in_force(house, loaded, rolled_back=False))
    return outcome(house, loaded, prior)


async def rollback(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Put the files of a version that was in force in force again, with the roles agents have now.

    Roles do not come back: what was withdrawn from an agent since stays withdrawn.
    """
    args = Args(given, "version", "reason")
    note = args.text("reason", "")
    back_to, source = await asyncio.to_thread(_found, house, args.text("version"))
    loaded = await asyncio.to_thread(tested, source, house.identity.bindings())
    prior = house.policies.current.version
    if loaded.snapshot.version == prior:
        return {**outcome(house, loaded, prior), "back_to": back_to}
    if house.config.two_person_policy:
        return await propose(house, author, loaded, back_to=back_to, note=note)
    change = Change(
        ROLLBACK,
        author,
        subject=BACK_TO + back_to,
        digest=loaded.snapshot.version,
        prior=prior,
        note=note,
        effects=(policy_effect(loaded, house.identity.bindings()),),
    )
    await enter(house, change, lambda: put_in_force(house, loaded, rolled_back=True))
    return {**outcome(house, loaded, prior), "back_to": back_to}


def _found(house: House, beginning: str) -> tuple[str, PolicySource]:
    with opened(house.config.data_dir) as read:
        version = resolved(read, beginning)
        return version, files_of(read, version)


def _nobody_says_so(house: House) -> OperationRefused:
    why = "it was rolled back, and files that lie in the folder do not undo that"
    if house.config.two_person_policy:
        why = "it takes two persons, and a signal does not say who sent it"
    return conflict(
        "SIGHUP does not put the policy folder in force", why, "say: customhouse policy apply"
    )
