"""The registry as rows for people and programs; nothing in them is a secret."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gateway.app.operations.entering import unknown
from gateway.app.operations.places import object_of, pin_row, place_of, wire_place
from gateway.app.operations.reading import Reading
from gateway.config import Approve, Model, Peer, Upstream
from gateway.domain.budget import Budget, Limits
from gateway.domain.flags import flags, tools_by_name
from gateway.domain.model import Kind
from gateway.domain.names import called_as
from gateway.store.identity import DECLARED, REGISTERED, STAND_IN, Key
from gateway.store.pins import Pin

if TYPE_CHECKING:
    from gateway.app.house import House

Row = dict[str, Any]


def agent_rows(house: Reading | House) -> list[Row]:
    return [
        {
            "name": agent.name,
            "tenant": agent.tenant,
            "team": agent.team,
            "roles": sorted(agent.roles),
            "disabled": agent.disabled,
            "origin": agent.origin,
            "limits": limits_said(agent.limits),
        }
        for _, agent in sorted(house.identity.agents.items())
    ]


def key_rows(house: Reading, now_us: int) -> list[Row]:
    """The keys of the registry, and a line for each key that the file refers to.

    The secret of the latter is not looked up, so its id is the beginning that `key revoke` takes.
    """
    keys = (key for key in house.identity.keys.values() if key.origin != STAND_IN)
    stored = sorted(keys, key=lambda key: (key.agent, key.issued_at_us))
    rows = [_key_row(key, now_us) for key in stored]
    for name, agent in sorted(house.config.agents.items()):
        if agent.key:
            begins = f"{DECLARED}:{name}:"
            row: Row = {"id": begins, "agent": name, "state": "declared", "origin": agent.key}
            row |= {"issued_at_us": 0, "expires_at_us": 0}
            # One of its secrets was; another one under the same reference would be another key.
            revoked = (key.revoked_at_us for key in stored if key.id.startswith(begins))
            rows.append({**row, "revoked_at_us": max(revoked, default=0)})
    return rows


def _key_row(key: Key, now_us: int) -> Row:
    state = "good" if key.is_good(now_us) else "expired"
    return {
        "id": key.id,
        "agent": key.agent,
        "state": "revoked" if key.revoked_at_us else state,
        "issued_at_us": key.issued_at_us,
        "expires_at_us": key.expires_at_us,
        "revoked_at_us": key.revoked_at_us,
        "origin": key.origin,
    }


def server_state(row: Row, standing: Mapping[str, Any]) -> Row:
    """What a gateway that runs makes of the server of *row*; *standing* is what it says of itself.

    A provider that was not asked since it runs may be anything: its model is not said to serve.
    """
    name = row["name"]
    failure = str(standing.get("failures", {}).get(name, ""))
    states = {
        "suspended": row["suspended"],
        "not in the lock": name in standing.get("servers_not_in_lock", ()),
        "unreachable": failure,
        "not asked": row["kind"] == Kind.MODEL and name not in standing.get("answering", ()),
    }
    state = next((state for state, is_so in states.items() if is_so), "serving")
    return {"state": state, "failure": failure}


def server_rows(house: Reading) -> list[Row]:
    return [server_row(house, name) for name in sorted(house.servers)]


def server_row(house: Reading, name: str) -> Row:
    """One server. Raises: OperationRefused: there is none of this name."""
    server = house.servers.get(name)
    if server is None:
        raise unknown("server", name, "see: customhouse server list")
    pins = [pin for pin in house.registry.pins.values() if pin.place[0] == name]
    terms = house.registry.terms[name]
    return {
        "name": name,
        "kind": str(terms.kind),
        "prefix": terms.prefix,
        "target": _target(server),
        "origin": DECLARED if name in house.config.upstreams else REGISTERED,
        "suspended": name in house.registry.suspended,
        "approve": str(Approve.FIRST_SEEN if terms.first_seen else Approve.ASK),
        "tools": list(terms.tools),
        "auth": server.auth,
        "timeout_s": server.timeout_s,
        "limits": limits_said(server.limits),
        "definitions": dict(Counter("gone" if p.gone else str(p.approval) for p in pins)),
    }


def definition_rows(house: Reading, server: str | None = None) -> list[Row]:
    """Every definition of every known server, or of one."""
    if server is not None and server not in house.servers:
        raise unknown("server", server, "see: customhouse server list")
    known = sorted(house.registry.pins.values(), key=lambda pin: pin.place)
    return [
        _definition_row(house, pin)
        for pin in known
        if pin.place[0] in house.servers and server in (None, pin.place[0])
    ]


def find_pin(house: Reading, text: str) -> Pin:
    """The definition that *text* names: SERVER/TOOL, KIND/SERVER/NAME, or a name on /mcp.

    Raises: OperationRefused: there is none.
    """
    pins = house.registry.pins
    pin = pins.get(wire_place(house.registry.catalogue, text) or place_of(text))
    if pin is None or pin.place[0] not in house.servers:
        raise unknown("definition", text, "see: customhouse tool list")
    return pin


def definition_shown(house: Reading, pin: Pin) -> Row:
    """One definition with its bodies, decoded, and what of it is flagged."""
    (row,) = definitions_shown(house, [pin])
    return row


def definitions_shown(house: Reading, pins: Iterable[Pin]) -> list[Row]:
    """The same for many."""
    tools = tools_by_name(_tool_names(house))
    return [_shown(house, pin, tools) for pin in pins]


def _tool_names(house: Reading) -> Iterator[tuple[str, str]]:
    for pin in house.registry.pins.values():
        server, kind, name = pin.place
        if called_as(kind) is Kind.TOOL and server in house.servers and not pin.gone:
            yield name, object_of(pin.place)
            yield house.registry.wire_name(pin.place), object_of(pin.place)


def _shown(house: Reading, pin: Pin, tools: Mapping[str, Sequence[str]]) -> Row:
    row = _definition_row(house, pin) | {"body": json.loads(pin.body)}
    found = flags(pin.body, pin.approved_body, object_of(pin.place), tools)
    row["flags"] = [flag.as_json() for flag in found]
    if pin.approved_body:
        row["approved_body"] = json.loads(pin.approved_body)
    definition = house.registry.catalogue.find(*pin.place)
    if definition is not None:
        row["tags"] = sorted(definition.tags)
        row["price_micros"] = definition.price_micros
        row["max_result_tokens"] = definition.max_result_tokens
    return row


def limits_said(limits: Limits | None) -> list[str]:
    """["60/min", "tokens 200k/day"]"""
    if limits is None:
        return []
    said = [str(limits.rate)] if limits.rate else []
    budgets = sorted(limits.budgets.items())
    return said + [f"{meter} {Budget(amount, window)}" for (meter, window), amount in budgets]


def _definition_row(house: Reading, pin: Pin) -> Row:
    return pin_row(pin, house.registry.wire_name(pin.place)) | {"object": object_of(pin.place)}


def _target(server: Upstream) -> str:
    if isinstance(server, Model):
        return f"{server.terms.id} at {server.url.partition('?')[0]}"
    if isinstance(server, Peer):
        return server.url.partition("?")[0]
    if server.openapi is not None:
        return f"{server.url}, as {server.openapi.document.partition('?')[0]} has it"
    if server.url:
        return server.url.partition("?")[0]  # some put a secret behind it
    return f"python:{server.python}" if server.python else " ".join(server.command)
