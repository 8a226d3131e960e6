"""What every limit has left, as the log says it: the same sums that decide the next call."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.operations.reading import Reading
from gateway.domain.budget import METERS, Limits, Purses
from gateway.domain.model import Amounts
from gateway.domain.window import WINDOWS
from gateway.store.counters import rebuild_purses
from gateway.store.engine import reading as opened
from gateway.store.pseudonyms import OBJECT, SUBJECT, TEAM, TENANT
from gateway.store.trail import Trail


@dataclass(frozen=True, slots=True)
class Account:
    """What has limits, and the tenant that it counts for."""

    level: str
    name: str
    limits: Limits
    pseudonym: str  # "": it never took part in a call
    tenant: str

    def is_of(self, name: str) -> bool:
        """Whether *name* is how people call it; a tool's account is called by the tool's name, too."""
        tool = self.name.partition(" ")[0]
        return name in (self.name, tool, tool.removeprefix("tool/"))


def budgets(house: Reading, now_us: int) -> list[dict[str, Any]]:
    """One row for each limit, level by level."""
    if house.database is None:
        every = accounts(house, {}, {})
        return [row for account in every for row in account_rows(account, Purses(), now_us)]
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
        row
        for account in accounts(house, ids, tools)
        for row in account_rows(account, purses, now_us)
    ]


def accounts(
    house: Reading, ids: Mapping[tuple[str, str], str], tools: Mapping[str, str]
) -> Iterator[Account]:
    tenants, teams, agents = house.config.tenants, house.config.teams, house.identity.agents
    every = (
        *(("tenant", n, one.limits, (TENANT, n), n) for n, one in tenants.items()),
        *(("team", n, t.limits, (TEAM, f"{t.tenant}/{n}"), t.tenant) for n, t in teams.items()),
        *(("agent", n, one.limits, (SUBJECT, n), one.tenant) for n, one in agents.items()),
    )
    for level, name, limits, known_as, tenant in every:
        if limits:
            yield Account(level, name, limits, ids.get(known_as, ""), tenant)
    yield from _tools(house, tools)


def _tools(house: Reading, tools: Mapping[str, str]) -> Iterator[Account]:
    """A tool's account is named `TENANT KIND/SERVER/NAME`, one for each tenant that called it; that
    of a model `TENANT model/NAME`."""
    limited = {name: server.limits for name, server in house.servers.items() if server.limits}
    for account, pseudonym in sorted(tools.items()):
        tenant, _, tool = account.partition(" ")
        kind, *names = tool.split("/")
        limits = limited.get(names[0]) if len(names) > 1 or (names and kind == "model") else None
        if limits and tenant:
            yield Account("tool", f"{tool} ({tenant})", limits, pseudonym, tenant)


def account_rows(account: Account, purses: Purses, now_us: int) -> Iterator[dict[str, Any]]:
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
