"""Attacks by those who may look: to keep others from the gateway, to see on, to learn what is hidden."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gateway.app.operations import budgets, glances, looks, payloads, search
from gateway.app.operations.query import parse
from gateway.domain.model import Principal
from gateway.domain.refusal import DRAINING
from gateway.edge.api import places
from gateway.edge.api.cursor import Cursors
from gateway.edge.api.desk import EVERY_TENANT, Errand, Found
from gateway.edge.api.routes import PAGING, Queue
from gateway.policy.snapshot import Snapshot
from gateway.store.trail import opened
from tests.app.administered import Administered, administered, anyio_backend, api, fresh, once, own
from tests.attacks.test_api import alike, called
from tests.cli.household import Household
from tests.edge.fakes import Response

__all__ = ["anyio_backend", "api", "fresh", "once", "own"]  # fixtures
pytestmark = pytest.mark.anyio
SERVER = "/servers/shelf"
FAR = 1 << 62
OF_ONE = places.Places(Queue.SEARCHES).of_one


class Stuck:
    """Searches of one tenant or subject that take as long as this wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tenant: str | None) -> None:
        self.begun = 0
        self._end = threading.Event()
        real = search.page

        def page(*given: Any) -> search.Page:
            if given[-1] == tenant:
                self.begun += 1
                assert self._end.wait(20)
            return real(*given)

        monkeypatch.setattr(glances, "page", page)

    @asynccontextmanager
    async def asked(
        self, api: Administered, who: str, times: int, places_taken: int
    ) -> AsyncIterator[list[Response]]:
        """While *who* asks so often, and has so many places; afterwards, with all answers."""
        answers: list[Response] = []

        async def ask() -> None:
            answers.append(await api.get(who, "/entries"))

        with anyio.fail_after(15):
            async with anyio.create_task_group() as group:
                for _ in range(times):
                    group.start_soon(ask)
                try:
                    while self.begun < places_taken:
                        await anyio.lowlevel.checkpoint()
                    yield answers
                finally:
                    self._end.set()


async def test_slow_looks_of_one_tenant_keep_nobody_else_from_looking_or_from_an_emergency(
    fresh: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_S", 5.0)
    stuck = Stuck(monkeypatch, "acme")
    async with stuck.asked(fresh, "overseer", 8, OF_ONE) as answers:
        assert (await fresh.guarded("op", SERVER, f"{SERVER}/suspend")).status == 200
        assert (await fresh.get("eye", "/entries")).status == 200
        assert fresh.house.registry.suspended == {"shelf"}
        assert not answers
        assert stuck.begun == OF_ONE
    assert [answer.status for answer in answers] == [200] * 8


async def test_a_term_has_few_values(api: Administered) -> None:
    words = [f"s{number}" for number in range(glances.MAX_VALUES + 1)]
    for field in ("status", "code", "agent", "-object"):
        many = await api.get("overseer", "/entries", q=f"{field}:{','.join(words)}")
        assert (many.status, many.json["code"]) == (400, "bad_params"), field
        some = await api.get("overseer", "/entries", q=f"{field}:{','.join(words[1:] * 3)}")
        assert some.status == 200, field


async def test_a_look_does_not_outlive_a_gateway_that_is_told_to_stop(fresh: Administered) -> None:
    goes_on = glances._until(fresh.house, 1_000.0)
    assert goes_on()
    fresh.house.ledger.closed_by["drain"] = DRAINING
    assert not goes_on()
    del fresh.house.ledger.closed_by["drain"]


async def test_a_search_that_comes_nowhere_says_so(
    api: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glances, "PAGE_S", -1.0)
    monkeypatch.setattr("gateway.store.trail.STEPS", 1)
    answer = await api.get("eye", "/entries")
    assert (answer.status, answer.json["code"]) == (503, "not_now")
    assert "since:" in answer.json["fix"]


# -- to see on ------------------------------------------------------------------------------------


async def test_a_look_that_waits_ends_with_the_right_to_it(
    fresh: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = await called(fresh, "bystander")
    seen: list[Response] = []

    async def open_it() -> None:
        seen.append(await fresh.get("eye", f"/calls/{call_id}/payloads"))

    async with anyio.create_task_group() as group:
        stuck = Stuck(monkeypatch, None)
        async with stuck.asked(fresh, "eye", OF_ONE, OF_ONE) as answers:
            group.start_soon(open_it)
            before = len(fresh.entries())
            while len(fresh.entries()) == before:  # it is let in, and waits its turn
                await anyio.lowlevel.checkpoint()
            fresh.house.identity.remove_agent("eye")
    assert [answer.status for answer in (*answers, *seen)] == [403] * (OF_ONE + 1)
    assert "audit.payload_read" not in [what for what, *_ in fresh.changes()]


async def test_nothing_is_opened_for_who_loses_the_right_while_the_look_is_entered(
    fresh: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id = await called(fresh, "bystander")
    enter, opens = payloads.read, list[Any]()

    async def read(*given: Any) -> Any:
        await enter(*given)
        fresh.house.identity.remove_agent("eye")

    monkeypatch.setattr(payloads, "read", read)
    monkeypatch.setattr(glances, "_opened", lambda *given: opens.append(given))
    answer = await fresh.get("eye", f"/calls/{call_id}/payloads")
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert not opens


# -- to learn what is hidden ----------------------------------------------------------------------


async def test_explaining_in_one_tenant_tells_nothing_of_what_the_house_has(
    own: Household,
) -> None:
    rules = own.folder / "policies" / "tenants" / "acme.csv"
    rules.write_text(rules.read_text() + "p, acme-bot, acme, tool/*, call, -, allow\n")
    async with administered(own) as house:

        async def told(object_: str) -> tuple[int, dict[str, Any]]:
            asked = {"agent": "acme-bot", "object": object_}
            answer = await house.get("overseer", "/policy/explain", **asked)
            return answer.status, alike(answer, object_)

        there = await told("tool/shelf/add")
        assert there[0] == 200
        assert there[1]["allowed"] is True
        for name in ("tool/shelf/nix", "tool/nix/add"):
            assert await told(name) == there
        assert await told("shelf_add") == await told("shelf_nix")
        assert (await told("shelf_add"))[0] == 400
        # Who looks after all tenants is told.
        asked = {"agent": "acme-bot", "object": "tool/shelf/add"}
        whole = (await house.get("eye", "/policy/explain", **asked)).json
        assert (whole["allowed"], whole["stopped"]) == (
            False,
            "its definition is proposed, not approved",
        )


@pytest.mark.parametrize(
    ("theirs", "nobodys"),
    [
        ("agent:bystander", "agent:bystandex"),
        ("actor:bystander", "actor:bystandex"),
        ("run:run-of-theirs", "run:run-of-nobody"),
        ("tenant:default", "tenant:defaulx"),
        ("object:tool/shelf/add", "object:tool/shelf/adx"),
        ("server:shelf", "server:shelx"),
        ("author:op", "author:oq"),
    ],
)
async def test_a_name_of_another_tenant_is_not_looked_for(
    api: Administered, theirs: str, nobodys: str
) -> None:
    await called(api, "bystander")

    def work(word: str) -> list[str]:
        said: list[str] = []
        with opened(api.house.config.data_dir) as trail:
            trail._connection.set_trace_callback(said.append)
            search.page(trail, parse([word], 0), FAR, 10, lambda: True, "acme")
        return said

    assert work(theirs) == work(nobodys)


# -- to keep others from seeing -------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600"])
def test_no_name_that_a_server_chooses_ends_a_list(letter: str) -> None:
    names = ["resource/shelf/a", "resource/shelf/z"]
    names += [f"resource/shelf/{letter * 2_047}{end}" for end in "xyz"]
    rows = [{"object": name} for name in names]
    longest = PAGING["cursor"].shape["maxLength"]
    cursors, who = Cursors(b"key"), Principal("default", "eye")
    errand, seen = Errand(who, EVERY_TENANT, "definition.list", most=1), []
    while True:
        found: Found = looks._page(rows, errand, "object")
        seen += [row["object"] for row in found.value]
        if not found.after:
            break
        cursor = cursors.make(errand, found.after)
        assert len(cursor) <= longest
        after = cursors.read(errand, cursor)
        errand = Errand(who, EVERY_TENANT, "definition.list", after=after, most=1)
    assert sorted(seen) == sorted(names)


def test_no_name_takes_the_place_of_another() -> None:
    long = "resource/shelf/" + "a" * 2_000
    assert looks._place(looks._place(long)) != looks._place(long)


async def test_the_policy_is_compiled_once_to_be_explained(
    fresh: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def compiled(version: str, *parts: Any) -> Snapshot:
        made.append(version)
        return Snapshot(version, *parts)

    monkeypatch.setattr(looks, "Snapshot", compiled)
    asked = {"agent": "acme-bot", "object": "tool/shelf/add"}

    async def explain() -> None:
        assert (await fresh.get("overseer", "/policy/explain", **asked)).status == 200

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(explain)
    assert made == [fresh.house.policies.current.version]


async def test_the_names_of_all_tools_are_not_gone_through_between_calls(
    api: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    real: Callable[..., Any] = budgets.accounts

    def accounts(*given: Any) -> Any:
        threads.add(threading.get_ident())
        return real(*given)

    monkeypatch.setattr(looks, "accounts", accounts)
    assert (await api.get("op", "/budgets")).json["items"]
    assert threads
    assert threading.get_ident() not in threads
