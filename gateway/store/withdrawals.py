"""What was withdrawn by command, read from the database of a log that is not believed any more.

Only what takes something away is read, and nothing of a row but what it is about: whoever could
write the database can have taken rows out of it, or put some in, but opens nothing by either.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.domain.definition import digest
from gateway.domain.model import Approval, Kind
from gateway.domain.revocation import EVERYBODYS
from gateway.store.engine import reading
from gateway.store.identity import (
    DECLARED,
    STAND_IN,
    Agent,
    Key,
    agent_effect,
    declared_key_id,
    key_effect,
    revoked_tokens,
)
from gateway.store.pins import Pin, pin_effect
from gateway.store.registry import server_effect
from gateway.store.writer import Effect

MAX_NAME_CHARS = 1_000
_DIGEST_BYTES = 32

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One entry of the new log."""

    what: str
    subject: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """All that was found, by table; *unread*: tables that could not be read to their end."""

    found: tuple[tuple[str, Withdrawal], ...]
    unread: tuple[str, ...]

    @property
    def all(self) -> tuple[Withdrawal, ...]:
        return tuple(withdrawal for _, withdrawal in self.found)

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(table for table, _ in self.found))


def withdrawn(database: Path, now_us: int) -> Withdrawn:
    """What *database* says was withdrawn, as of *now_us*: its own times are not believed, either."""
    if _is_empty(database):
        return Withdrawn((), tuple(_TABLES))
    found: list[tuple[str, Withdrawal]] = []
    unread: list[str] = []
    for table, (query, read) in _TABLES.items():
        try:
            with reading(database) as connection:
                # One by one: what was read before a damaged page counts.
                found.extend((table, one) for one in read(connection.execute(query), now_us))
        except sqlite3.Error:
            unread.append(table)
    return Withdrawn(tuple(found), tuple(unread))


def everybodys_tokens(now_us: int) -> Withdrawal:
    """Whose tokens were revoked in what was lost, nobody knows: all of them are, up to now."""
    row = revoked_tokens(EVERYBODYS, now_us)
    return Withdrawal("token.revoke", f"key/{EVERYBODYS}", key_effect(row))


def _agents(rows: Iterator[Row], _now_us: int) -> Iterator[Withdrawal]:
    for name, tenant in rows:
        if _is_name(name) and isinstance(tenant, str):
            agent = Agent(name, tenant, disabled=True, origin=DECLARED)
            yield Withdrawal("agent.disable", f"agent/{name}", agent_effect(agent))


def _keys(rows: Iterator[Row], now_us: int) -> Iterator[Withdrawal]:
    # A row takes the place of another one with its digest, and that would be missed for ever.
    taken = {revoked_tokens(EVERYBODYS, now_us).digest}
    for key_id, agent, secret, origin in rows:
        what, key = "", None
        if origin == STAND_IN and _is_name(key_id) and key_id.startswith(("token:", "tokens:")):
            what, key = "token.revoke", revoked_tokens(key_id, now_us)
        elif origin == DECLARED and _is_declared(key_id, agent, secret):
            key = Key(key_id, agent, secret, revoked_at_us=now_us, origin=DECLARED)
            what = "key.revoke"
        if key is not None and key.digest not in taken:
            taken.add(key.digest)
            yield Withdrawal(what, f"key/{key.id}", key_effect(key))


def _servers(rows: Iterator[Row], _now_us: int) -> Iterator[Withdrawal]:
    for (name,) in rows:
        if _is_name(name):
            effect = server_effect(name, DECLARED, "", suspended=True)
            yield Withdrawal("server.suspend", f"server/{name}", effect)


def _definitions(rows: Iterator[Row], _now_us: int) -> Iterator[Withdrawal]:
    """First sight does not approve what was waiting for a person."""
    for server, kind, name, body, approval, reason, gone in rows:
        if _is_name(server) and (name == "" or _is_name(name)) and kind in set(Kind):
            text = body if _is_object(body) else b"{}"
            pin = Pin(
                place=(server, Kind(kind), name),
                digest=digest(text),
                body=text,
                approval=Approval(approval),
                reason=reason if isinstance(reason, str) else "",
                gone=bool(gone),
            )
            yield Withdrawal("definition.withheld", f"{kind}/{server}/{name}", pin_effect(pin))


_TABLES: dict[str, tuple[str, Callable[[Iterator[Row], int], Iterator[Withdrawal]]]] = {
    "agents": (
        "SELECT name, tenant FROM agents WHERE origin = 'config' AND disabled <> 0",
        _agents,
    ),
    "keys": ("SELECT id, agent, digest, origin FROM keys WHERE revoked_at <> 0", _keys),
    "servers": ("SELECT name FROM servers WHERE origin = 'config' AND suspended <> 0", _servers),
    "definitions": (
        "SELECT server, kind, name, body, approval, reason, gone FROM definitions"
        " WHERE approval IN ('proposed', 'quarantined')",
        _definitions,
    ),
}


def _is_empty(database: Path) -> bool:
    """Whether there is no log: a new database is made where one was lost."""
    try:
        with reading(database) as connection:
            return connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None
    except sqlite3.Error:
        return False  # each table says for itself whether it can be read


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS


def _is_declared(key_id: object, agent: object, secret: object) -> bool:
    """Whether the digest of the secret is the one that the id says: it is what shuts the door."""
    if not isinstance(agent, str) or not isinstance(secret, bytes):
        return False
    return len(secret) == _DIGEST_BYTES and key_id == declared_key_id(agent, secret)


def _is_object(body: object) -> bool:
    """Whether it can have been a definition: what is no JSON keeps the whole registry from loading."""
    if not isinstance(body, bytes):
        return False
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False
