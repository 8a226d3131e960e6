"""What a request says that it belongs to: a new run, and one that a key begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.model import Principal
from gateway.domain.run import is_run_id
from gateway.edge.head import Head
from gateway.edge.ties import NewRuns, Ties, tell_run, ties_of
from tests.edge.people import ALICE, BOB, NOW_US

DAY_US = 86_400_000_000
SECRET = b"s" * 32


def tied(
    key: str = "",
    run: str = "new",
    *,
    who: Principal = ALICE,
    now_us: int = NOW_US,
    secret: bytes = SECRET,
) -> Ties:
    said = {b"customhouse-run": run.encode(), b"idempotency-key": key.encode()}
    head = Head({name: value for name, value in said.items() if value})
    return ties_of(head, {}, who, NewRuns(secret, lambda: now_us))


def test_a_new_run_is_another_each_time() -> None:
    assert tied().run != tied().run


def test_a_new_run_of_a_key_is_the_same_each_time_and_can_be_named() -> None:
    run = tied(key="order-7").run
    assert tied(key="order-7").run == run
    assert is_run_id(run)
    assert tied(key="order-7", run=run).run == run


@pytest.mark.parametrize(
    "other",
    [
        tied(key="order-8"),
        tied(key="order-7", who=BOB),
        tied(key="order-7", who=replace(ALICE, tenant="other")),
        tied(key="order-7", who=replace(ALICE, actors=("bob",))),
        tied(key="order-7", now_us=NOW_US + DAY_US),
        tied(key="order-7", secret=b"t" * 32),
    ],
    ids=[
        "another key",
        "another agent",
        "another tenant",
        "on behalf",
        "another day",
        "another gateway",
    ],
)
def test_a_new_run_of_something_else_is_another(other: Ties) -> None:
    assert other.run != tied(key="order-7").run


def test_a_run_that_is_named_is_that_one_under_whatever_key() -> None:
    named = tied(key="order-7", run="nightly-1")
    assert (
        named.run
        == named.under("order-8", ALICE, NewRuns(SECRET, lambda: NOW_US)).run
        == "nightly-1"
    )


@pytest.mark.parametrize(("run", "told"), [("run-of-two", [b"run-of-two"]), ("", [])])
def test_a_response_tells_of_one_run_or_of_none(run: str, told: list[bytes]) -> None:
    headers = [(b"customhouse-run", b"run-of-one"), (b"vary", b"x")]
    tell_run(headers, run)
    assert [value for name, value in headers if name == b"customhouse-run"] == told
    assert (b"vary", b"x") in headers
