"""Approving what servers say of themselves: exactly what the person saw, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import (
    Change,
    conflict,
    enter_all,
    refuse_frozen,
    unknown,
)
from gateway.app.operations.places import object_of, place_from
from gateway.domain.arguments import compile_schema
from gateway.domain.model import Approval, Kind
from gateway.domain.names import called_as
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.domain.schema import BadSchema
from gateway.store.pins import Pin, Place, pin_effect
from gateway.store.registry import Registry


@dataclass(frozen=True, slots=True)
class _Approval:
    base: Pin  # as the person saw it
    pin: Pin  # as it is to be


async def approve(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Approve one definition, in any state, if it still is the one with the digest that was seen."""
    args = Args(given, "kind", "server", "name", "digest", "reason")
    place = place_from(args.text("kind", "tool"), args.text("server"), args.text("name", ""))
    seen = _approval(house.registry, place, args.text("digest"))
    if seen.base.approval is Approval.APPROVED:
        return {"object": object_of(place), "digest": seen.pin.digest, "changed": False}
    await _take_in(house, author, [seen], args.text("reason", ""))
    return {"object": object_of(place), "digest": seen.pin.digest, "changed": True}


async def approve_server(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Approve what a server proposes, all of it or nothing: `seen` lists [kind, name, digest].

    What is quarantined is not approved in passing: each is looked at by itself.
    """
    args = Args(given, "name", "seen", "reason")
    server = args.text("name")
    if server not in house.registry.terms:
        raise unknown("server", server, "see: customhouse server list")
    approvals: list[_Approval] = []
    for kind, name, digest in map(_seen, args.rows("seen")):
        place = place_from(kind, server, name)
        approval = _approval(house.registry, place, digest)
        if approval.base.approval is not Approval.PROPOSED:
            raise conflict(
                f"{object_of(place)} is {approval.base.approval}, not proposed",
                "it changed since the list was shown, or needs a look of its own",
                f"look at it: customhouse tool diff {object_of(place)}",
            )
        approvals.append(approval)
    await _take_in(house, author, approvals, args.text("reason", ""))
    return {"server": server, "approved": [object_of(a.pin.place) for a in approvals]}


async def _take_in(house: House, author: str, approvals: Sequence[_Approval], reason: str) -> None:
    refuse_frozen(house, "nothing is approved")
    registry = house.registry
    changes = [
        Change(
            "tool.approve",
            author,
            subject=object_of(a.pin.place),
            digest=a.pin.digest,
            prior=a.base.approved_digest,
            note=reason,
            effects=(pin_effect(a.pin),),
        )
        for a in approvals
    ]

    def apply(durable: Sequence[int]) -> None:
        # A look at the server may have found another definition while the entry was written: it
        # is newer than what the person saw, so it stays, unapproved.
        kept = [approvals[i] for i in durable]
        registry.apply(a.pin for a in kept if registry.pins.get(a.base.place) is a.base)

    await enter_all(house, changes, apply)
    for a in approvals:
        now = registry.pins.get(a.pin.place)
        if now is None:
            raise unknown("definition", object_of(a.pin.place), "the server no longer lists it")
        if now is not a.pin:
            raise _changed(a.pin.place, now.digest)


def _approval(registry: Registry, place: Place, digest: str) -> _Approval:
    """Raises: OperationRefused: it is not there, not the one that was seen, or cannot be approved."""
    base = registry.pins.get(place)
    if base is None or place[0] not in registry.terms:
        raise unknown("definition", object_of(place), "see: customhouse tool list")
    if base.gone:
        raise conflict(
            f"{object_of(place)} is gone",
            "the server no longer lists it",
            f"ask it again: customhouse server test {place[0]}",
        )
    pin = registry.approve(place, digest)
    if pin is None:
        raise _changed(place, base.digest)
    _refuse_unusable(pin)
    _refuse_look_alike(registry, place)
    return _Approval(base, pin)


def _refuse_unusable(pin: Pin) -> None:
    """Without a validator no call of the tool would ever be let through."""
    if called_as(pin.place[1]) is not Kind.TOOL:
        return
    try:
        compile_schema(json.loads(pin.body).get("inputSchema", {}))
    except (BadSchema, ValueError, AttributeError) as err:
        raise OperationRefused(
            f"{object_of(pin.place)} cannot be approved",
            f"its input schema cannot be used: {err}",
            "the author of the server has to correct it",
            Exit.NO,
        ) from err


def _refuse_look_alike(registry: Registry, place: Place) -> None:
    """Of two names that read alike at most one is in use; the newcomer waits for the other to go."""
    other = registry.shadowed_by(place)
    if other is not None:
        raise conflict(
            f"{object_of(place)} reads like {object_of(other)}",
            "a model or a person would take one for the other",
            "give one of the two servers another prefix, or leave one of the tools out",
        )


def _seen(row: Any) -> tuple[str, str, str]:
    if not isinstance(row, list) or len(row) != 3 or not all(isinstance(x, str) for x in row):
        raise usage("`seen` is not a list of [kind, name, digest]", "correct it")
    return row[0], row[1], row[2]


def _changed(place: Place, digest: str) -> OperationRefused:
    return conflict(
        f"{object_of(place)} is not the definition you saw",
        f"by now its digest is {digest[:16]}...",
        f"look again: customhouse tool diff {object_of(place)}",
    )
