"""One proposes a policy and another approves it; and what was rolled back stays so."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.app.course import standing, steps
from gateway.app.house import House
from gateway.app.operations import proposing
from gateway.app.operations.administration import Administration
from gateway.app.operations.versions import history
from gateway.domain.operator import Exit, OperationRefused
from gateway.policy.snapshot import builtin_deny_all
from gateway.store.trail import opened
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
ANN, BOB, CAT = "uid:1000 ann", "uid:1001 bob", "agent:corp/cat"
TWO = "two_person_policy = true\n"
FIRST = "p, clerk, default, tool/shelf/*, call, -, allow"
SECOND = "p, clerk, default, tool/shelf/pay, call, -, allow"


@asynccontextmanager
async def two(home: Household) -> AsyncIterator[tuple[House, Administration]]:
    """*home*, which has a policy in force, from now on with two persons."""
    file = home.folder / "customhouse.toml"
    if TWO not in file.read_text():
        file.write_text(TWO + file.read_text())
    async with home.open() as opened_house:
        yield opened_house


async def no(desk: Administration, author: str, name: str, **given: Any) -> OperationRefused:
    with pytest.raises(OperationRefused) as refused:
        await desk.operate(author, name, given)
    return refused.value


def rules(house: House) -> list[str]:
    return [rule.text for rule in house.policies.current.rules]


async def test_a_policy_is_in_force_when_another_person_approved_it(busy: Household) -> None:
    busy.policy(SECOND)
    async with two(busy) as (house, desk):
        assert rules(house) == [FIRST]
        proposed = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
        assert rules(house) == [FIRST]
        waiting = await desk.operate(CAT, "policy.pending", {})
        assert [(p["digest"], p["proposed_by"]) for p in waiting] == [(proposed, ANN)]
        done = await desk.operate(CAT, "policy.approve", {"digest": proposed})
        assert (done["version"], done["proposed_by"]) == (proposed, ANN)
        assert rules(house) == [SECOND]
        assert await desk.operate(CAT, "policy.pending", {}) == []
    async with two(busy) as (house, _):
        assert house.policies.current.version == proposed
    with opened(busy.config.data_dir) as read:
        newest = next(history(read))
    assert (newest["by"], newest["proposed_by"], newest["what"]) == (CAT, [ANN], "policy.approve")


async def test_a_proposal_outlives_the_process(busy: Household) -> None:
    busy.policy(SECOND)
    async with two(busy) as (_, desk):
        proposed = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
    async with two(busy) as (house, desk):
        assert (await no(desk, ANN, "policy.approve", digest=proposed)).exit_code == 4
        await desk.operate(BOB, "policy.approve", {"digest": proposed})
        assert rules(house) == [SECOND]


async def test_two_who_propose_the_same_may_approve_each_other(busy: Household) -> None:
    busy.policy(SECOND)
    async with two(busy) as (_, desk):
        proposed = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
        await desk.operate(BOB, "policy.apply", {})
        assert (await desk.operate(BOB, "policy.approve", {"digest": proposed}))["changed"]


async def test_nothing_is_approved_where_one_person_decides(busy: Household) -> None:
    async with busy.open() as (_, desk):
        refused = await no(desk, BOB, "policy.approve", digest="0" * 64)
        assert (refused.exit_code, "two_person_policy is off" in refused.why) == (6, True)


async def test_a_house_that_never_had_a_policy_begins_with_none(home: Household) -> None:
    async with two(home) as (house, desk):
        assert house.policies.current.version == builtin_deny_all().version
        proposed = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
        await desk.operate(BOB, "policy.approve", {"digest": proposed})
    async with two(home) as (house, _):
        assert house.policies.current.version == proposed


async def test_turning_it_off_and_on_is_entered(busy: Household) -> None:
    async with two(busy):
        pass
    busy.policy(SECOND)
    file = busy.folder / "customhouse.toml"
    file.write_text(file.read_text().removeprefix(TWO))
    async with busy.open() as (house, _):
        assert rules(house) == [SECOND]  # whoever edits the configuration can do this, openly
    with opened(busy.config.data_dir) as read:
        newest = [step.what for step in steps(read)][:3]
    assert newest == ["policy.apply", "policy.two_person_off", "policy.two_person_on"]


async def test_roles_of_the_configuration_change_without_the_files(busy: Household) -> None:
    async with two(busy):
        pass
    busy.policy(SECOND)
    file = busy.folder / "customhouse.toml"
    file.write_text(file.read_text() + '[agents.third]\nroles = ["clerk"]\n')
    async with two(busy) as (house, _):
        assert rules(house) == [FIRST]
        assert any(link.member == "third" for link in house.policies.current.links)
        held = house.policies.current.version
    with opened(busy.config.data_dir) as read:
        now = standing(read)
    assert (now.version, now.files_of != held) == (held, True)


async def test_only_so_many_policies_wait(busy: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposing, "MAX_WAITING", 1)
    async with two(busy) as (house, desk):
        busy.policy(SECOND)
        await desk.operate(ANN, "policy.apply", {})
        await desk.operate(ANN, "policy.apply", {})  # the same again takes no more room
        assert len(house.proposals) == 1
        busy.policy(FIRST, SECOND)
        assert (await no(desk, ANN, "policy.apply")).exit_code is Exit.CONFLICT


# -- back ------------------------------------------------------------------------------------------


async def changed(home: Household, desk: Administration, house: House) -> str:
    """Another policy is put in force; the version before."""
    before = house.policies.current.version
    home.policy(SECOND)
    await desk.operate(ANN, "policy.apply", {})
    return before


async def test_a_rollback_puts_a_version_in_force_and_keeps_it_over_a_restart(
    busy: Household,
) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
        done = await desk.operate(ANN, "policy.rollback", {"version": first[:8], "reason": "bad"})
        assert (done["version"], done["back_to"]) == (first, first)
        assert rules(house) == [FIRST]
        with opened(busy.config.data_dir) as read:
            newest = next(history(read))
        assert (newest["what"], newest["back_to"]) == ("policy.rollback", first)
    async with busy.open() as (house, desk):
        assert rules(house) == [FIRST]
        with pytest.raises(OperationRefused, match="SIGHUP"):
            await desk.operate("signal:hup", "policy.apply", {})
        await desk.operate(ANN, "policy.apply", {})
        assert rules(house) == [SECOND]
    async with busy.open() as (house, _):
        assert rules(house) == [SECOND]


async def test_applying_equal_files_ends_a_rollback(busy: Household) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
        await desk.operate(ANN, "policy.rollback", {"version": first})
        busy.policy(FIRST)
        with pytest.raises(OperationRefused, match="does not hold"):
            await desk.operate(ANN, "policy.apply", {"only": "0" * 64})
        assert not (await desk.operate(ANN, "policy.apply", {}))["changed"]
        assert not house.is_held
    busy.policy(SECOND)
    async with busy.open() as (house, _):
        assert rules(house) == [SECOND]


async def test_roles_do_not_come_back_with_a_rollback(busy: Household) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
        await desk.operate(ANN, "agent.withdraw", {"name": "bot", "role": "clerk"})
        done = await desk.operate(ANN, "policy.rollback", {"version": first})
        assert done["version"] != first
        assert rules(house) == [FIRST]
        assert not any(link.member == "bot" for link in house.policies.current.links)


async def test_a_rollback_is_a_proposal_where_it_takes_two(busy: Household) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
    async with two(busy) as (house, desk):
        done = await desk.operate(ANN, "policy.rollback", {"version": first})
        assert rules(house) == [SECOND]
        await desk.operate(BOB, "policy.approve", {"digest": done["proposed"]})
        assert rules(house) == [FIRST]
    with opened(busy.config.data_dir) as read:
        assert next(history(read))["back_to"] == first


async def test_a_rollback_that_two_approved_holds_when_it_takes_one_again(
    busy: Household,
) -> None:
    """The folder still has what was gone back from."""
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
    async with two(busy) as (house, desk):
        done = await desk.operate(ANN, "policy.rollback", {"version": first})
        await desk.operate(BOB, "policy.approve", {"digest": done["proposed"]})
        assert house.rolled_back
    file = busy.folder / "customhouse.toml"
    file.write_text(file.read_text().removeprefix(TWO))
    async with busy.open() as (house, desk):
        assert rules(house) == [FIRST]
        with pytest.raises(OperationRefused, match="SIGHUP"):
            await desk.operate("signal:hup", "policy.apply", {})
        await desk.operate(ANN, "policy.apply", {})
        assert rules(house) == [SECOND]
        assert not house.rolled_back


async def test_what_two_approved_after_a_rollback_ends_it(busy: Household) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
        await desk.operate(ANN, "policy.rollback", {"version": first})
    async with two(busy) as (house, desk):
        proposed = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
        await desk.operate(BOB, "policy.approve", {"digest": proposed})
        assert not house.rolled_back
    with opened(busy.config.data_dir) as read:
        assert not standing(read).rolled_back


@pytest.mark.parametrize(
    ("beginning", "code"),
    [("00000000", Exit.NO), ("", Exit.USAGE), ("abc", Exit.USAGE), ("no hex", Exit.USAGE)],
)
async def test_a_version_has_to_be_known(busy: Household, beginning: str, code: Exit) -> None:
    async with busy.open() as (_, desk):
        refused = await no(desk, ANN, "policy.rollback", version=beginning)
        assert refused.exit_code is code


async def test_a_beginning_that_two_versions_have_names_none(
    busy: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy.open() as (house, desk):
        first = await changed(busy, desk, house)
        monkeypatch.setattr("gateway.app.operations.versions.LEAST_PREFIX", 0)
        refused = await no(desk, ANN, "policy.rollback", version="")
        assert refused.exit_code is Exit.USAGE
        assert first[:16] in refused.fix


async def test_a_policy_folder_that_is_gone_changes_nothing_that_is_held(busy: Household) -> None:
    async with two(busy):
        shutil.rmtree(busy.folder / "policies")
    file = busy.folder / "customhouse.toml"
    file.write_text(file.read_text().replace('policies = "./policies"\n', ""))
    async with two(busy) as (house, _):
        assert rules(house) == [FIRST]
