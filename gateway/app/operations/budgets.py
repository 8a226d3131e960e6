"""What every limit has left, as the log says it: the same sums that decide the next call."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.operations.reading import Reading
from gateway.domain.budget import METERS, WINDOWS, Limits, Purses
from gateway.domain.model import Amounts
from gateway.store.counters import rebuild_purses
from gateway.store.engine import reading as opened
from gateway.store.pseudonyms import OBJECT, SUBJECT, TEAM, TENANT
from gateway.store.trail import Trail


@dataclass(frozen=True, slots=True)
class _Account:
    level: str
    name: str
    limits: Limits
    pseudonym: str  # "": it never took part in a call


def budgets(house: Reading, now_us: int) -> list[dict[str, Any]]:
    """One row for each limit, level by level."""
    if house.database is None:
        accounts = list(_accounts(house, {}, {}))
        return [row for account in accounts for row in _rows(account, Purses(), now_us)]
    with opened(house.database) as connection:
        connection.execute("BEGIN")  # names and sums of one moment
        return _read(house, connection, now_us)


def _read(house: Reading, connection: sqlite3.Connection, now_us: int) -> list[dict[str, Any]]:
    trail = Trail(connection)
    ids = {
        (kind, name): pseudonym
        for kind in (TENANT, TEAM, SUBJECT)
        for pseudonym, name in trail.pseudonyms(kind)
    }
    tools = {name: pseudonym for pseudonym, name in trail.pseudonyms(OBJECT)}
    purses, _ = rebuild_purses(connection)
    return [
        row for account in _accounts(house, ids, tools) for row in _rows(account, purses, now_us)
    ]


def _accounts(
    house: Reading, ids: Mapping[tuple[str, str], str], tools: Mapping[str, str]
) -> Iterator[_Account]:
    tenants, teams, agents = house.config.tenants, house.config.teams, house.identity.agents
    every = (
        *(("tenant", name, one.limits, (TENANT, name)) for name, one in tenants.items()),
        *(("team", name, t.limits, (TEAM, f"{t.tenant}/{name}")) for name, t in teams.items()),
        *(("agent", name, one.limits, (SUBJECT, name)) for name, one in agents.items()),
    )
    for level, name, limits, known_as in every:
        if limits:
            yield _Account(level, name, limits, ids.get(known_as, ""))
    yield from _tools(house, tools)


def _tools(house: Reading, tools: Mapping[str, str]) -> Iterator[_Account]:
    """A tool's account is named `TENANT KIND/SERVER/NAME`, one for each tenant that called it."""
    limited = {name: server.limits for name, server in house.servers.items() if server.limits}
    for account, pseudonym in sorted(tools.items()):
        tenant, _, tool = account.partition(" ")
        limits = limited.get(tool.split("/")[1]) if tool.count("/") >= 2 else None
        if limits and tenant:
            yield _Account("tool", f"{tool} ({tenant})", limits, pseudonym)


def _rows(account: _Account, purses: Purses, now_us: int) -> Iterator[dict[str, Any]]:
    if account.limits.rate is not None:
        yield {"level": account.level, "name": account.name, "rate": str(account.limits.rate)}
    for window, meter, limit in account.limits.rows:
        purse = purses.purse(account.pseudonym, WINDOWS[window], now_us)
        held, charged = _of(purse.held, meter), _of(purse.charged, meter)
        yield {
            "level": account.level,
            "name": account.name,
            "meter": METERS[meter],
            "window": WINDOWS[window],
            "limit": limit,
            "held": held,
            "charged": charged,
            "left": max(0, limit - held - charged),
        }


def _of(amounts: Amounts, meter: int) -> int:
    return (amounts.tokens, amounts.calls, amounts.cost)[meter]
