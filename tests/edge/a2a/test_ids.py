"""Names of tasks and contexts open for their owner, at their peer, and for nobody else."""

from dataclasses import replace

import pytest

from gateway.domain.peer_task import Owner
from gateway.edge.a2a.ids import Ids
from tests.fakes import ALICE

KEY = bytes(range(32))
HERS = Owner.of(ALICE)
STRANGERS = [
    ("another subject", Owner.of(replace(ALICE, subject="bob")), "billing"),
    ("another tenant", Owner.of(replace(ALICE, tenant="rivals")), "billing"),
    ("through an agent", Owner.of(replace(ALICE, actors=("planner",))), "billing"),
    ("another peer", HERS, "other"),
]


def test_a_name_is_the_same_each_time_and_leads_back() -> None:
    first, second = Ids(KEY), Ids(KEY)
    name = first.task(HERS, "billing", "t-1")
    assert name == second.task(HERS, "billing", "t-1")
    assert second.upstream_task(HERS, "billing", name) == "t-1"
    assert "t-1" not in name


@pytest.mark.parametrize(
    ("owner", "peer"), [row[1:] for row in STRANGERS], ids=[r[0] for r in STRANGERS]
)
def test_a_name_says_nothing_to_anybody_else(owner: Owner, peer: str) -> None:
    ids = Ids(KEY)
    name = ids.task(HERS, "billing", "t-1")
    assert ids.upstream_task(owner, peer, name) is None
    assert ids.upstream_context(owner, peer, ids.context(HERS, "billing", "c-1")) != "c-1"
    assert ids.task(owner, peer, "t-1") != name


def test_a_name_of_one_kind_is_none_of_another_and_none_of_another_key() -> None:
    ids = Ids(KEY)
    name, context = ids.task(HERS, "billing", "x"), ids.context(HERS, "billing", "x")
    assert ids.upstream_task(HERS, "billing", context) is None
    assert ids.upstream_task(HERS, "billing", context.replace("chc-", "cht-")) is None
    assert Ids(bytes(32)).upstream_task(HERS, "billing", name) is None
    assert ids.push_target("billing", name.replace("cht-", "chp-")) is None


def test_a_context_that_two_callers_choose_is_two_conversations() -> None:
    ids, his = Ids(KEY), Owner.of(replace(ALICE, subject="bob"))
    hers = ids.upstream_context(HERS, "billing", "weekly")
    assert hers != ids.upstream_context(his, "billing", "weekly")
    assert hers == Ids(KEY).upstream_context(HERS, "billing", "weekly")
    assert "weekly" not in hers
