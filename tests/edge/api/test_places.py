"""Places: each has a share of them, and nobody who waits keeps one that somebody else could have."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from gateway.domain.model import Principal
from gateway.domain.operator import OperationRefused
from gateway.edge.api import places
from gateway.edge.api.places import AT_ONCE, Places
from gateway.edge.api.routes import ROUTES, Queue

pytestmark = pytest.mark.anyio
THREADS = 5  # that asyncio has on a machine with one core


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WAIT_S", 0.01)


async def taken(free: Places, *wanted: tuple[str, str]) -> list[str]:
    """Who got a place, when each keeps it."""
    got: list[str] = []
    async with AsyncExitStack() as kept:
        for tenant, subject in wanted:
            try:
                await kept.enter_async_context(free.taken(Principal(tenant, subject)))
            except OperationRefused:
                continue
            got.append(f"{tenant}/{subject}")
    return got


async def test_nobody_and_no_tenant_has_all_places() -> None:
    free = Places(Queue.CHANGES)
    wanted = [("acme", who) for who in "aaabbbccc"] + [("other", "d")]
    assert await taken(free, *wanted) == ["acme/a", "acme/a", "acme/b", "other/d"]


async def test_two_of_one_name_in_two_tenants_do_not_share() -> None:
    assert len(await taken(Places(Queue.SEARCHES), ("acme", "a"), ("other", "a"))) == 2


async def test_a_place_that_was_given_back_is_free_and_nothing_of_it_is_kept() -> None:
    free = Places(Queue.PROOFS)
    for _ in range(3):
        assert await taken(free, ("acme", "a"), ("acme", "a"), ("other", "b")) == ["acme/a"]
    assert not free._shares
    assert not free._using


def test_slow_looks_leave_threads_to_the_others() -> None:
    assert AT_ONCE[Queue.SEARCHES] + AT_ONCE[Queue.PROOFS] < THREADS


def test_what_reads_the_log_waits_apart_from_what_an_emergency_takes() -> None:
    slow = {route.operation for route in ROUTES if route.queue in (Queue.SEARCHES, Queue.PROOFS)}
    assert {"entry.list", "call.show", "call.payloads", "call.proof", "policy.explain"} <= slow
    assert not slow & {"server.show", "server.list", "server.suspend", "house.health"}
