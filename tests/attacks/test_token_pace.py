"""One address that keeps the token endpoint busy is made to wait; whoever has a key there is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.edge.oauth.server.counter import SIGNERS, TOKEN, stranger_of
from tests.journey.delegated import Delegating, delegating

pytestmark = pytest.mark.slow


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Delegating]:
    with delegating(tmp_path, "") as house:
        yield house


def test_forms_that_cannot_be_read_are_counted_as_those_that_prove_nothing(
    house: Delegating,
) -> None:
    def sent(body: bytes) -> int:
        said = {"Content-Type": "application/x-www-form-urlencoded"}
        return house.client.post(house.url + TOKEN, content=body, headers=said).status_code

    statuses = [sent(b"%") for _ in range(40)] + [sent(b"x" * 100_000) for _ in range(40)]
    assert statuses[0] == 400
    assert 413 in statuses
    assert statuses[-1] == sent(b"%") == 429
    assert house.own()


def test_names_that_come_to_mind_are_no_buckets_of_their_own() -> None:
    names = (f"agent-{n}" for n in range(5_000))
    asked = ({"client_assertion": "x", "client_id": name} for name in names)
    assert len({stranger_of("192.0.2.1", form) for form in asked}) <= SIGNERS
