"""A house whose calls wait for somebody's yes: real parts, asked in-process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import entry as entries
from tests.app.administered import KEYS, Administered, administered, anyio_backend
from tests.cli.fixtures import copied, silence
from tests.cli.household import Household, tool
from tests.edge.fakes import Knocker, Response

__all__ = ["anyio_backend", "counsel", "once", "own"]  # fixtures
OPERATOR, OTHER_OPERATOR = "uid:1000 olga", "uid:0 root"
POLICY = """\
p, clerk, *, tool/shelf/look, call, -, allow
p, clerk, *, tool/shelf/pay, call, approval:boss, allow
p, clerk, *, tool/shelf/move, call, approval:boss+approval:auditor, allow
p, clerk, *, tool/shelf/sell, call, approval:boss, allow
p, clerk, *, tool/shelf/sell, call, approval:auditor, allow
p, boss, *, admin/approvals, *, -, allow
p, auditor, *, admin/approvals, *, -, allow
p, looker, *, admin/approvals, *, -, allow
"""
ROLES = {
    "bot": ["clerk"],
    "second": ["clerk"],
    "ann": ["boss"],
    "bob": ["boss"],
    "aud": ["auditor"],
    "both": ["boss", "auditor"],
    "greedy": ["clerk", "boss"],
    "rita": ["looker"],  # may administer approvals, and has no role that any takes
    "hidden": ["boss"],  # in another tenant
}
SECRET = "of-the-island <b>pounds</b>"


def furnished(home: Household) -> Household:
    home.lists(*(tool(name) for name in ("look", "pay", "move", "sell")))
    command = json.dumps([*home.shelf, str(home.folder / "calls")])
    text = f'[servers.shelf]\ncommand = {command}\napprove = "first-seen"\n'
    for name, roles in ROLES.items():
        KEYS[name] = f"chk_{name}_{'0123456789abcdefghijklmnopqrstuvwxyz' * 2}"[:47]
        home.environ[f"KEY_{name.upper()}"] = KEYS[name]
        tenant = 'tenant = "acme"\n' if name == "hidden" else ""
        text += f'[agents.{name}]\nroles = {json.dumps(roles)}\nkey = "env:KEY_{name.upper()}"\n'
        text += tenant
    home.write(text)
    home.policy(POLICY.strip())
    home.do("server", "test", "shelf")
    return home


@dataclass
class Counsel(Administered):
    async def call(
        self, who: str = "bot", name: str = "pay", /, run: str = "", **arguments: Any
    ) -> Response:
        meta = {"io.customhouse/run": run} if run else {}
        return await Knocker(self.app, KEYS[who]).call(f"shelf_{name}", arguments, **meta)

    async def asked(self, who: str = "bot", name: str = "pay", /, **arguments: Any) -> str:
        """The id of what a call waits for."""
        answer = await self.call(who, name, **arguments)
        refusal = refusal_of(answer)
        assert refusal["code"] == "approval_needed", answer.body
        return str(refusal["approval"])

    async def decide(self, who: str, approval: str, how: str, body: Any = None) -> Response:
        one = f"/approvals/{approval}"
        return await self.guarded(who, one, f"{one}/{how}", body)

    async def yes(self, who: str, approval: str, body: Any = None) -> Response:
        answer = await self.decide(who, approval, "approve", body)
        assert answer.status == 200, answer.body
        return answer

    async def operate(self, author: str, name: str, /, **args: Any) -> Any:
        return await self.desk.operate(author, name, args)

    def effects(self) -> list[str]:
        path = self.home.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def intents(self) -> list[entries.Intent]:
        return [e for e in self.entries() if isinstance(e, entries.Intent)]


def refusal_of(answer: Response) -> dict[str, Any]:
    refusal: dict[str, Any] = answer.result["_meta"]["io.customhouse/refusal"]
    return refusal


def passed(answer: Response) -> bool:
    return "result" in answer.message and not answer.result.get("isError", False)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = Household(tmp_path_factory.mktemp("counsel"))
    with silence():
        return furnished(home)


@pytest.fixture
def own(once: Household, tmp_path: Path) -> Household:
    home = copied(once, tmp_path)
    home.environ = once.environ
    settings = home.folder / "customhouse.toml"
    settings.write_text(settings.read_text().replace(str(once.folder), str(home.folder)))
    return home


@asynccontextmanager
async def counselled(home: Household) -> AsyncIterator[Counsel]:
    async with administered(home) as house:
        yield Counsel(house.home, house.house, house.app, house.desk)


@pytest.fixture
async def counsel(own: Household) -> AsyncIterator[Counsel]:
    with silence():
        async with counselled(own) as house:
            yield house
