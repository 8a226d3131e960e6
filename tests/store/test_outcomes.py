"""What came of a call is told to whoever made it, and to nobody who has only a part in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.audit import entry as entries
from gateway.domain import refusal as no
from gateway.domain.model import Decision, Principal, Verdict
from gateway.domain.refusal import Refused
from gateway.store.outcomes import Outcomes
from tests.store.world import ANN, World

pytestmark = pytest.mark.anyio
THROUGH_BOB = replace(ANN, actors=("bob",))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "customhouse.db")


@pytest.mark.parametrize(
    ("who", "state"),
    [
        pytest.param(THROUGH_BOB, "refused", id="who made it"),
        pytest.param(ANN, None, id="for whom it was made"),
        pytest.param(replace(ANN, subject="bob"), None, id="who acted"),
        pytest.param(replace(ANN, actors=("carol",)), None, id="through somebody else"),
        pytest.param(replace(ANN, actors=("bob", "carol")), None, id="through one more"),
        pytest.param(replace(THROUGH_BOB, tenant="other"), None, id="of another tenant"),
    ],
)
async def test_a_refusal_is_told_to_all_who_made_the_call_together(
    world: World, who: Principal, state: str | None
) -> None:
    async with world.open():
        call = world.call(principal=THROUGH_BOB)
        with pytest.raises(Refused):
            await world.ledger.hold(call, Decision(Verdict.DENY, "p1"))
        told = await Outcomes(world.readers, world.ledger.pseudonyms).of(who, call.id)
    assert (told and told.state) == state


async def test_a_refusal_before_there_was_a_call_names_who_acted(world: World) -> None:
    async with world.open():
        await world.ledger.refuse(Refused(no.MALFORMED, "c1"), THROUGH_BOB, "", "tools/call")
        await world.ledger.refuse(Refused(no.MALFORMED, "c2"), ANN, "", "tools/call")
        through, alone = (e for e in world.stored() if isinstance(e, entries.Refused))
        assert [world.ledger.pseudonyms.name(one) for one in through.actors] == ["bob"]
    assert b"actors" not in entries.encode(alone)
