"""Servers: taken in by command, looked at, suspended. What they offer is approved elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import (
    Change,
    conflict,
    enter,
    enter_all,
    nothing,
    refuse_frozen,
    unknown,
)
from gateway.app.operations.places import object_of, pin_row
from gateway.app.operations.presence import kind_of, secrets_lost, unresolved
from gateway.app.wiring import registered_server, server_spec, server_terms
from gateway.config import Model
from gateway.domain import refusal
from gateway.domain.names import is_name, likenesses
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.store.backing import MAX_ROWS
from gateway.store.pins import dropped_pin, pin_effect
from gateway.store.registry import DECLARED, REGISTERED, REMOVED, registered_servers, server_effect
from gateway.store.tables import reader_engine
from gateway.upstream.message import UpstreamFailed


async def add(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Put a server behind the border. Nothing of it can be called before it is looked at."""
    args = Args(given, "name", "table", "reason")
    name = args.text("name")
    if not is_name(name):
        raise usage(
            f"{name!a:.60} is not a name for a server",
            "names are 1 to 32 of a-z, 0-9, _ and -, not beginning with _ or -",
        )
    refuse_frozen(house, "no server is added")
    spec = json.dumps(dict(args.table("table")), sort_keys=True)
    server = registered_server(name, spec, house.config)
    _refuse_confusion(house, name, server.prefix)
    # Before the entry, because a URL that no connection may go to is found out here. Nothing is
    # connected until somebody asks something of the server.
    signer = house.call_signer
    house.upstreams.add(server_spec(name, server, house.environ, signer, declared=False))
    change = Change(
        "server.add",
        author,
        subject=f"server/{name}",
        note=args.text("reason", ""),
        effects=(server_effect(name, REGISTERED, spec, suspended=False),),
    )

    def apply() -> None:
        house.servers[name] = server
        house.registry.add_server(name, server_terms(server))

    try:
        await enter(house, change, apply)
    except BaseException:
        if name not in house.servers:
            await house.upstreams.remove(name)
        raise
    return {"name": name, "prefix": server.prefix, "approve": str(server.approve)}


async def test(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Look at a server now: what it offers, what of it is new, changed or gone.

    What a model is, its operator says; so its provider is asked whether it answers, and takes the
    credential: GET {url}/models, of which any answer is a yes but 401, 403, a redirect, and 500 and
    above.
    """
    name = _known(house, Args(given, "name").text("name"))
    try:
        sightings = await house.discovery.refresh(name)
        answered = await _knocked(house, name)
    except UpstreamFailed as err:
        raise _not_seen(house, name, err) from err
    pins = [pin for pin in house.registry.pins.values() if pin.place[0] == name]
    states = Counter("gone" if pin.gone else str(pin.approval) for pin in pins)
    return {
        "name": name,
        "states": dict(states),
        "changes": [
            {"what": s.what, "object": object_of(s.pin.place), "approval": str(s.pin.approval)}
            for s in sightings
        ],
        "definitions": [
            pin_row(pin, house.registry.wire_name(pin.place))
            for pin in sorted(pins, key=lambda pin: (pin.place[1], pin.place[2]))
        ],
        **answered,
    }


async def restart(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """End a server's child or connections, and have the next call, or look, begin anew."""
    args = Args(given, "name", "reason")
    name = _known(house, args.text("name"))
    await enter(
        house,
        Change("server.restart", author, f"server/{name}", note=args.text("reason", "")),
        nothing,
    )
    declared = name in house.config.servers
    await house.upstreams.remove(name)
    server, signer = house.servers[name], house.call_signer
    house.upstreams.add(server_spec(name, server, house.environ, signer, declared=declared))
    return {"name": name, "restarted": True}


async def remove(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Take a registered server away, and with it every approval of what it offered."""
    args = Args(given, "name", "reason")
    name = _known(house, args.text("name"))
    if name in house.config.servers:
        raise conflict(
            f"server {name} is declared in the configuration file",
            "what a command removed would be back at the next start",
            "take it out of the file, and restart the gateway",
        )
    dropped = [dropped_pin(p) for p in house.registry.pins.values() if p.place[0] == name]
    row = server_effect(name, REMOVED, "", suspended=False)
    note = args.text("reason", "")
    # No more of them in one entry than it can stand behind; the server itself goes last.
    parts = [dropped[first : first + MAX_ROWS] for first in range(0, len(dropped), MAX_ROWS)]
    changes = [
        Change("definition.drop", author, f"server/{name}", effects=tuple(map(pin_effect, part)))
        for part in parts
    ]
    changes.append(Change("server.remove", author, f"server/{name}", note=note, effects=(row,)))

    def apply(durable: Sequence[int]) -> None:
        if len(parts) in durable:
            house.servers.pop(name, None)
            house.discovery.failures.pop(name, None)
            house.registry.remove_server(name)
        house.registry.apply([pin for i in durable if i < len(parts) for pin in parts[i]])

    await enter_all(house, changes, apply)
    await house.upstreams.remove(name)
    return {"name": name, "dropped": len(dropped)}


async def health(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """What does not work, and only this process knows: servers that failed their last look, models
    whose providers were asked by nobody yet or not reached the last time, what is approved and not in
    the lock that it runs frozen to, and secrets that it cannot find."""
    Args(given)
    missing = await asyncio.to_thread(list, unresolved(house.servers, house.environ))
    return {
        **standing(house),
        "not_in_lock": {object_of(place): why for place, why in house.registry.unlocked()},
        "unresolved": missing,
    }


def standing(house: House) -> dict[str, Any]:
    """What the state of each server is made of: `showing.server_state`."""
    only = house.registry.only
    locked = {place[0] for place in only or ()}
    models = {
        name: one.connector
        for name, one in house.upstreams.health().items()
        if isinstance(house.servers.get(name), Model)
    }
    shut = {name: str(one["failure"]) for name, one in models.items() if one["failure"]}
    return {
        "failures": {**house.discovery.failures, **shut},
        "answering": sorted(name for name, one in models.items() if one["answers"]),
        "servers_not_in_lock": [] if only is None else sorted(house.servers.keys() - locked),
    }


async def suspend(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let no call through to a server, from the next one on."""
    return await _set_suspended(house, author, given, suspended=True)


async def resume(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let calls through to a server again."""
    return await _set_suspended(house, author, given, suspended=False)


async def _set_suspended(
    house: House, author: str, given: Mapping[str, Any], *, suspended: bool
) -> Any:
    args = Args(given, "name", "reason")
    name = _known(house, args.text("name"))
    if (name in house.registry.suspended) is suspended:
        return {"name": name, "suspended": suspended, "changed": False}
    spec = await asyncio.to_thread(_stored_spec, house, name)
    origin = DECLARED if spec is None else REGISTERED
    change = Change(
        "server.suspend" if suspended else "server.resume",
        author,
        subject=f"server/{name}",
        note=args.text("reason", ""),
        effects=(server_effect(name, origin, spec or "", suspended=suspended),),
    )
    await enter(house, change, lambda: house.registry.set_suspended(name, suspended))
    return {"name": name, "suspended": suspended, "changed": True}


def _stored_spec(house: House, name: str) -> str | None:
    """The table of a server that was added by command; None for a declared one."""
    tables = reader_engine(house.database)
    try:
        return registered_servers(tables).get(name)
    finally:
        tables.dispose()


def _not_seen(house: House, name: str, err: UpstreamFailed) -> OperationRefused:
    server, what, why = house.servers[name], err.sentence, "the server did not answer as it should"
    then = f"customhouse server test {name}"
    fix = f"put it right, then: {then}"
    if err.code == refusal.CREDENTIAL_MISSING.id:
        lost = list(secrets_lost(server, house.environ))
        what = "; ".join(no.what for no in lost) or what
        why = "the gateway reads secrets when it starts, and asks nothing without them"
        fix = f"{lost[0].fix}, and restart the gateway; then: {then}" if lost else fix
    elif err.code == refusal.UPSTREAM_REFUSED.id and isinstance(server, Model):
        what, why = "the provider wants a credential (auth), and is given none", err.sentence
        fix = f"give it `auth` by reference; then: {then}"
        if server.auth:
            what = f"the provider does not take the credential ({server.auth})"
            fix = f"put the right one there, and restart the gateway; then: {then}"
    elif err.code == refusal.UPSTREAM_REFUSED.id and not (server.auth or server.sign):
        what = "it wants a credential (auth) or signed calls (sign), and is given neither"
        why = err.sentence
        fix = f"give it `auth` by reference, or `sign = true`; then: {then}"
    return OperationRefused(f"{kind_of(server)} {name}: {what}", why, fix, Exit.UNREACHABLE)


async def _knocked(house: House, name: str) -> dict[str, Any]:
    """What the provider of a model was asked, and answered; of others a look is answer enough."""
    server = house.servers[name]
    if not isinstance(server, Model):
        return {}
    status = await house.upstreams.knock(name)
    return {"provider": {"asked": f"GET {server.url.rstrip('/')}/models", "status": status}}


def _known(house: House, name: str) -> str:
    if name not in house.servers:
        raise unknown("server", name, "see: customhouse server list")
    return name


def _refuse_confusion(house: House, name: str, prefix: str) -> None:
    if name in house.servers:
        raise conflict(
            f"server {name} exists already",
            "a name in two places would be two servers in one policy",
            "choose another name, or see: customhouse server list",
        )
    for other, terms in house.registry.terms.items():
        for mine, theirs in ((name, other), (prefix, terms.prefix)):
            if not set(likenesses(mine)).isdisjoint(likenesses(theirs)):
                raise conflict(
                    f"{mine} reads like {theirs} of {terms.kind} {other}",
                    "their tools could not be told apart on /mcp",
                    "choose another name or prefix",
                )
