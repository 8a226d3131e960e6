"""A house whose API is asked in-process: real parts, from the bytes of a request to the log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from gateway.app.house import House
from gateway.app.operations.administration import Administration
from gateway.app.serve import border
from gateway.audit import entry as entries
from gateway.edge.http import Border
from gateway.store import engine
from tests.cli.fixtures import copied, silence
from tests.cli.household import Household, tool
from tests.edge.fakes import Knocker, Response

# The four roles, as policies/policy.csv has them, and what they are in one tenant only.
POLICY = """\
p, gateway-operator, *, admin/health, read, -, allow
p, gateway-operator, *, admin/servers, *, -, allow
p, gateway-operator, *, admin/tools, read, -, allow
p, gateway-operator, *, admin/agents, read, -, allow
p, gateway-operator, *, admin/keys, *, -, allow
p, gateway-operator, *, admin/budgets, read, -, allow
p, policy-author, *, admin/policy, *, -, allow
p, approver, *, admin/tools, read, -, allow
p, approver, *, admin/policy, read, -, allow
p, approver, *, admin/approvals, admin, -, allow
p, auditor, *, admin/*, read, -, allow
p, clerk, default, tool/shelf/*, call, -, allow
"""
TENANT = """\
p, overseer, acme, admin/*, read, -, allow
p, overseer, acme, admin/keys, admin, -, allow
p, overseer, acme, admin/servers, admin, -, allow
g, climber, auditor, acme
"""
AGENTS = """
[agents.op]
roles = ["gateway-operator"]
key = "env:KEY_OP"
[agents.author]
roles = ["policy-author"]
key = "env:KEY_AUTHOR"
[agents.approver-ann]
roles = ["approver"]
key = "env:KEY_ANN"
[agents.eye]
roles = ["auditor"]
key = "env:KEY_EYE"
[agents.bystander]
key = "env:KEY_BYSTANDER"
[agents.overseer-acme]
tenant = "acme"
roles = ["overseer"]
key = "env:KEY_OVERSEER"
[agents.climber]
tenant = "acme"
key = "env:KEY_CLIMBER"
[agents.acme-bot]
tenant = "acme"
budget = {{ calls = "7/day" }}
[tenants.acme]
budget = {{ calls = "100/day" }}
[tenants.other]
budget = {{ calls = "5/day" }}
[servers.shelf]
command = {command}
approve = "ask"
"""
WHO = ("op", "author", "ann", "eye", "bystander", "overseer", "climber")
KEYS = {who: f"chk_{who}_{'0123456789abcdefghijklmnopqrstuvwxyz' * 2}"[:47] for who in WHO}


def furnished(home: Household) -> Household:
    """*home* with the configuration and the policy of a house that is administered; its one server
    was looked at, and proposes two tools."""
    home.lists(tool("add", "adds"), tool("sub", "subtracts"))
    home.write(AGENTS.format(command=json.dumps(home.shelf)))
    home.policy(POLICY.strip())
    (home.folder / "policies" / "tenants").mkdir()
    (home.folder / "policies" / "tenants" / "acme.csv").write_text(TENANT)
    home.environ |= {f"KEY_{who.upper()}": key for who, key in KEYS.items()}
    home.do("server", "test", "shelf")
    return home


@dataclass
class Administered:
    """An open house, and who asks it."""

    home: Household
    house: House
    app: Border
    desk: Administration

    async def get(self, who: str, path: str, /, **query: Any) -> Response:
        return await self.ask(who, "GET", path, query=query)

    async def post(self, who: str, path: str, body: Any = None, /, **headers: str) -> Response:
        return await self.ask(who, "POST", path, body=body, headers=headers)

    async def ask(
        self,
        who: str,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        said = {"accept": None, **(headers or {})}
        if not raw:
            said["content_type"] = None
        else:
            said.setdefault("content_length", str(len(raw)))
        knocker = Knocker(self.app, KEYS.get(who, who), f"/api/v1{path}")
        words = urlencode(query or {}, doseq=True, quote_via=quote).encode()
        return await knocker.raw(raw, knocker.headers(**said), method=verb, query_string=words)

    async def guarded(self, who: str, of: str, path: str, body: Any = None) -> Response:
        """A change for the state that *of* has now."""
        seen = await self.get(who, of)
        return await self.post(who, path, body, if_match=seen.headers["etag"])

    def entries(self) -> list[entries.Entry]:
        with engine.reading(self.house.database) as connection:
            rows = connection.execute("SELECT body FROM entries ORDER BY idx")
            return [entries.decode(body) for (body,) in rows]

    def changes(self) -> list[tuple[str, str, str]]:
        """(what, author, subject) of every change."""
        name = self.house.ledger.pseudonyms.name
        return [
            (e.what, name(e.author), name(e.subject))
            for e in self.entries()
            if isinstance(e, entries.Change)
        ]


@asynccontextmanager
async def administered(home: Household) -> AsyncIterator[Administered]:
    async with home.open() as (house, desk):
        app = border(house, None, desk)
        async with app.run():
            yield Administered(home, house, app, desk)


# -- fixtures -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Household:
    """The folder that is copied: no house was opened there that was asked anything."""
    home = Household(tmp_path_factory.mktemp("administered"))
    home.write()
    home.database.parent.mkdir(mode=0o700)
    engine.prepare(home.database)
    with silence():
        return furnished(home)


@pytest.fixture(scope="module")
async def api(
    once: Household, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Administered]:
    """One house for all tests of a module that change nothing another one relies on."""
    with silence():
        home = copied(once, tmp_path_factory.mktemp("shared"))
        home.environ = once.environ
        async with administered(home) as house:
            yield house


@pytest.fixture
def own(once: Household, tmp_path: Path) -> Household:
    """A folder that a test has for itself."""
    home = copied(once, tmp_path)
    home.environ = once.environ
    return home


@pytest.fixture
async def fresh(own: Household) -> AsyncIterator[Administered]:
    """A house that a test has for itself."""
    async with administered(own) as house:
        yield house
