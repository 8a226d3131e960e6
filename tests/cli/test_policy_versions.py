"""Versions of the policy from the command line: what was in force when, going back, and two persons."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync

from gateway.app.operations import policy
from gateway.domain.operator import Exit
from tests.cli.household import Household

ANN = "uid:1000 ann"
TWO = "two_person_policy = true\n"
SECOND = "p, clerk, default, tool/shelf/fail, call, -, allow"


@pytest.fixture
def changed(busy: Household) -> Household:
    """The clerk could do everything, and now cannot pay."""
    busy.policy(SECOND)
    busy.do("policy", "apply")
    return busy


def first(home: Household) -> str:
    """The version that was in force before the newest one."""
    version: str = home.ask("policy", "history")[1]["version"]
    return version


def rules_in(folder: Path) -> str:
    return (folder / "policy.csv").read_text()


def test_history_says_which_version_was_in_force_when_and_by_whom(changed: Household) -> None:
    rows = changed.ask("policy", "history")
    assert [row["what"] for row in rows] == ["policy.apply", "agent.add", "policy.apply"]
    assert rows[0]["until"] == ""
    assert [row["until"] for row in rows[1:]] == [row["since"] for row in rows[:-1]]
    assert rows[1]["by"].startswith("uid:")
    assert rows[-1]["by"] == "system:house"  # who began with what lay in the folder
    assert all(row["stored"] for row in rows)
    assert rows[1]["subject"] == "agent/bot"
    head, *told = changed.do("policy", "history").splitlines()
    assert head.split("\t") == ["VERSION", "SINCE", "UNTIL", "BY", "HOW"]
    assert told[0].startswith(rows[0]["version"][:12])
    assert "\tin force\t" in told[0]


# -- at ---------------------------------------------------------------------------------------------


def test_questions_about_then_are_asked_of_the_policy_in_force_then(busy: Household) -> None:
    then: str = busy.ask("policy", "history")[0]["since"]
    busy.policy(SECOND)
    busy.do("policy", "apply")
    pay = ("policy", "can-i", "bot", "shelf/pay")
    assert busy.run(*pay).exit_code == 1
    assert busy.run(*pay, "--at", then).exit_code == 0
    assert busy.ask("policy", "explain", "bot", "shelf/pay", "--at", then)["policy"] == first(busy)
    assert busy.run("policy", "who-can", "shelf/pay").exit_code == 1
    assert [one["agent"] for one in busy.ask("policy", "who-can", "shelf/pay", "--at", then)] == [
        "bot"
    ]
    assert len(busy.ask("policy", "can-i", "bot", "--list", "--at", then)) == 2
    assert busy.run("policy", "diff").exit_code == 0
    was = busy.run("policy", "diff", "--at", then, "--json")
    assert (was.exit_code, json.loads(was.stdout)["agents"][0]["object"]) == (1, "tool/shelf/pay")


def test_before_the_log_there_was_no_policy(busy: Household) -> None:
    refused = busy.refusal("policy", "can-i", "bot", "shelf/pay", "--at", "2020-01-01")
    assert (refused["exit_code"], "no policy was in force" in refused["what"]) == (1, True)
    assert busy.run("policy", "can-i", "bot", "shelf/pay", "--at", "2100-01-01").exit_code == 0


def test_a_version_that_is_not_stored_any_more_is_not_made_up(changed: Household) -> None:
    version = first(changed)
    with closing(sqlite3.connect(changed.database)) as connection, connection:
        connection.execute("DELETE FROM policy_versions WHERE version = ?", (version,))
    row = changed.ask("policy", "history")[1]
    assert not row["stored"]
    asked = ("policy", "can-i", "bot", "shelf/pay", "--at", row["since"])
    assert changed.refusal(*asked)["exit_code"] == Exit.INVALID
    assert changed.refusal("policy", "rollback", version)["exit_code"] == Exit.INVALID


# -- back -------------------------------------------------------------------------------------------


def test_a_rollback_is_in_force_and_says_that_the_folder_is_not(changed: Household) -> None:
    back_to = first(changed)
    result = changed.run("policy", "rollback", back_to[:10], "--reason", "too narrow")
    assert result.exit_code == 0
    assert f"policy {back_to[:12]} is in force" in result.stdout
    assert "policy.csv" in result.stderr
    assert "--write" in result.stderr
    assert changed.run("policy", "can-i", "bot", "shelf/pay").exit_code == 0
    changed.do("agent", "add", "late")  # opens the house anew
    assert changed.run("policy", "can-i", "bot", "shelf/pay").exit_code == 0
    assert changed.ask("policy", "history")[0]["back_to"] == back_to
    assert "rolled back by uid:" in changed.do("doctor")
    changed.do("policy", "apply")
    assert changed.run("policy", "can-i", "bot", "shelf/pay").exit_code == 1
    assert "rolled back" not in changed.do("doctor")


def test_its_files_are_written_to_the_folder_and_the_others_kept(changed: Household) -> None:
    folder = changed.folder / "policies"
    (folder / "tenants").mkdir(exist_ok=True)
    (folder / "tenants" / "acme.csv").write_text("p, clerk, acme, tool/shelf/*, call, -, allow\n")
    changed.do("policy", "apply")
    versions = changed.ask("policy", "history")
    back_to = versions[2]["version"]
    done = changed.ask("policy", "rollback", back_to, "--write")
    assert done["differing"] == ["policy.csv", "tenants/acme.csv"]
    backup = Path(done["backup"])
    assert backup.parent == changed.folder
    assert SECOND in rules_in(backup)
    assert (backup / "tenants" / "acme.csv").exists()
    assert not (folder / "tenants" / "acme.csv").exists()
    assert "tool/shelf/*" in rules_in(folder)
    assert (folder / "model.conf").exists()
    changed.policy(SECOND)  # and the folder decides again at a start
    changed.do("agent", "add", "late")
    assert changed.run("policy", "can-i", "bot", "shelf/pay").exit_code == 1


def test_going_back_to_what_is_in_force_changes_nothing(changed: Household) -> None:
    version = changed.ask("policy", "history")[0]["version"]
    assert not changed.ask("policy", "rollback", version)["changed"]
    assert changed.ask("policy", "history")[0]["what"] == "policy.apply"


# -- two persons ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_person_sees_what_another_one_proposed_and_approves_it(busy: Household) -> None:
    small = '[small]\narguments = [{ at = "/amount", lte = 50 }]\n'
    (busy.folder / "policies" / "conditions.toml").write_text(small)
    busy.policy("p, clerk, default, tool/shelf/*, call, small, allow")
    await run_sync(busy.do, "policy", "apply")
    file = busy.folder / "customhouse.toml"
    file.write_text(TWO + file.read_text())
    large = small.replace("50", "5000000")
    (busy.folder / "policies" / "conditions.toml").write_text(large)
    async with busy.served() as house:
        mine = await run_sync(busy.ask, "policy", "apply")
        refused = await run_sync(busy.refusal, "policy", "approve", mine["proposed"], "--yes")
        assert refused["exit_code"] == Exit.NOT_OPERATOR
        digest = (await policy.apply(house, ANN, {}))["proposed"]
        waiting: list[Any] = await run_sync(busy.ask, "policy", "pending")
        assert {row["digest"] for row in waiting} == {digest}
        shown = await run_sync(busy.run, "policy", "pending", digest)
        assert "5000000" in shown.stdout  # the rules are the same: what they mean is not
        assert "files that change: conditions.toml" in shown.stderr
        assert (await run_sync(busy.run, "policy", "approve", digest)).exit_code == Exit.USAGE
        assert house.policies.current.version != digest
        await run_sync(busy.do, "policy", "approve", digest, "--yes")
        assert house.policies.current.version == digest
        assert (await run_sync(busy.run, "policy", "pending")).exit_code == 1
    assert busy.ask("policy", "history")[0]["proposed_by"] == [ANN]
    assert "policy.approved: by uid:" in busy.do("doctor")


def test_doctor_says_that_one_person_alone_had_put_the_policy_in_force(busy: Household) -> None:
    busy.do("policy", "apply")
    file = busy.folder / "customhouse.toml"
    file.write_text(TWO + file.read_text())
    assert "one person put it in force" in busy.do("doctor")
