"""One caller cannot have more read than its allowance, whether it is refused or not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.model import Principal
from gateway.domain.refusal import Refused
from gateway.edge import allowance, http
from gateway.edge.allowance import BURST_BYTES, BYTES_PER_S, Allowances
from tests.edge.fakes import Knocker, Line, Stand, modern
from tests.edge.people import ALICE, BOB

pytestmark = pytest.mark.anyio


def _refused(allowances: Allowances, principal: Principal, now_s: float) -> int:
    try:
        allowances.check(principal, now_s)
    except Refused as refused:
        return int(refused.detail["retry_after_ms"])
    return 0


def test_what_was_used_comes_back_with_time_and_is_nobody_elses() -> None:
    allowances = Allowances()
    allowances.charge(ALICE, BURST_BYTES, 100.0)
    assert _refused(allowances, ALICE, 100.0) == 0
    allowances.charge(ALICE, 2 * BYTES_PER_S, 100.0)
    assert _refused(allowances, ALICE, 100.0) == 2001
    assert _refused(allowances, BOB, 100.0) == 0
    assert _refused(allowances, ALICE, 102.1) == 0


def test_the_number_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "MAX_PRINCIPALS", 3)
    allowances = Allowances()
    allowances.charge(ALICE, 100 * BURST_BYTES, 0.0)
    for number in range(50):
        allowances.charge(Principal("default", f"agent {number}"), 1_000, 0.0)
    assert len(allowances._full_s) <= 3
    assert _refused(allowances, ALICE, 0.0) > 0


class _Counting(Line):
    """A line that knows how much of its body was taken."""

    taken = 0

    async def receive(self) -> Any:
        message = await super().receive()
        self.taken += len(message.get("body", b""))
        return message


async def test_large_bodies_are_refused_unread_once_the_allowance_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "monotonic", lambda: 1_000.0)
    stand = Stand()
    large = {"name": "time_now", "arguments": {"text": "x" * 3_900_000}}
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", large)
        statuses = []
        paid = BURST_BYTES // len(body)
        for _ in range(paid + 3):
            line = _Counting(body, chunks=60)
            await alice.on(line, headers)
            statuses.append(line.response.status)
        assert statuses == [200] * paid + [429] * 3
        assert line.taken == 0
        assert line.response.error["code"] == 42900
        assert line.response.headers["connection"] == "close"
        small = await alice.call("time_now")
        assert small.status == 429
        bob = Knocker(stand.border, "bob-key")
        assert (await bob.call("time_now")).status == 200
    assert stand.pipeline.refusals == ["rate_limited"] * 4


async def test_messages_that_are_none_are_charged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "monotonic", lambda: 1_000.0)
    stand = Stand()
    async with stand.open() as alice:
        most = BURST_BYTES // allowance.REFUSED_BYTES + 1
        for _ in range(most):
            assert (await alice.raw(b"{", alice.headers())).status == 400
        assert (await alice.raw(b"{", alice.headers())).status == 429
