"""Recorded calls decided again: alike, otherwise, or not at all, and then why."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace

import anyio
import pytest

from gateway.app.operations import calls
from gateway.app.operations.args import Args
from gateway.domain.model import Grant, Outcome, Status, Verdict
from gateway.domain.refused import Refused
from tests.cli.fixtures import AMOUNT, copied, silence
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio
RULES = (
    "p, clerk, default, tool/shelf/pay, call, small, allow",
    "p, clerk, default, tool/shelf/look, call, open, allow",
    "p, clerk, default, tool/shelf/mark, call, safe, allow",
    "g, clerk, reader, default",
)
CONDITIONS = """
[small]
arguments = [{ at = "/amount", gt = 0, lte = 50 }]
[open]
hours_utc = "00:00-24:00"
[safe]
tags = { has_none = ["danger"] }
"""


def settings(home: Household, tags: str = "") -> str:
    command = json.dumps(home.shelf)
    return f'[servers.shelf]\ncommand = {command}\napprove = "first-seen"\n{tags}\n'


@pytest.fixture(scope="module")
def decided_once(blank: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = copied(blank, tmp_path_factory.mktemp("decided"))
    home.lists(tool("pay", schema=AMOUNT), tool("look"), tool("mark"), tool("hidden"))
    home.write(settings(home))
    (home.folder / "policies" / "conditions.toml").write_text(CONDITIONS)
    home.policy(*RULES)
    with silence():
        home.do("server", "test", "shelf")
        home.do("agent", "add", "bot", "--role", "clerk")
        for amount in ("7", "70", '"7"', '8, \n "arguments": {}'):
            home.run("tool", "call", "--as", "bot", "shelf/pay", f'{{"amount": {amount}}}')
        for name in ("look", "mark", "hidden", "invented"):
            home.run("tool", "call", "--as", "bot", f"shelf/{name}")
    return home


@pytest.fixture
def decided(decided_once: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    return copied(decided_once, tmp_path_factory.mktemp("replayed"))


def looks(home: Household) -> int:
    result = home.run("audit", "query", "what:audit.payload_read", "--json")
    return len(json.loads(result.stdout))


def test_everything_is_decided_alike_and_opening_arguments_is_an_entry(decided: Household) -> None:
    said = decided.ask("audit", "replay")
    assert said == {"agree": 8, "differ": 0, "not_replayed": {}, "differences": []}
    assert looks(decided) == 1


def test_a_policy_that_came_since_changes_nothing_of_what_was_decided(decided: Household) -> None:
    decided.policy("p, *, *, tool/*, call, -, deny")
    decided.do("policy", "apply")
    assert decided.ask("audit", "replay")["differ"] == 0


def test_calls_that_need_no_arguments_leave_them_sealed(decided: Household) -> None:
    assert decided.ask("audit", "replay", "tool:shelf/look")["agree"] == 1
    assert looks(decided) == 0
    said = decided.ask("audit", "replay", "--sealed")
    assert (said["agree"], said["not_replayed"]) == (
        3,
        {"it depended on arguments: left sealed": 5},
    )
    assert looks(decided) == 0


def test_what_was_erased_is_counted_not_guessed(decided: Household) -> None:
    first = decided.ask("audit", "query", "tool:shelf/pay")[0]["call"]
    decided.do("audit", "erase", f"call:{first}", "--yes")
    said = decided.ask("audit", "replay")
    assert (said["agree"], sum(said["not_replayed"].values())) == (7, 1)
    decided.do("audit", "erase", "subject:bot", "--yes")
    said = decided.ask("audit", "replay")
    assert (said["agree"], said["not_replayed"]) == (0, {"a name in it was erased": 8})


def test_tags_that_changed_since_are_no_difference(decided: Household) -> None:
    decided.write(settings(decided, 'tags = { "mark" = ["danger"] }'))
    said = decided.ask("audit", "replay", "tool:shelf/mark")
    assert said["not_replayed"] == {"it depended on tags of the tool, which are not in the log": 1}


def test_a_stored_policy_that_was_exchanged_is_not_believed(decided: Household) -> None:
    decided.policy("p, *, *, tool/*, call, -, deny")
    decided.do("policy", "apply")
    with closing(sqlite3.connect(decided.database)) as connection, connection:
        connection.execute(
            "UPDATE policy_versions SET bundle ="
            " (SELECT bundle FROM policy_versions ORDER BY at DESC LIMIT 1)"
        )
    said = decided.ask("audit", "replay", "--sealed")
    assert set(said["not_replayed"]) == {"what is stored of its policy version is not that version"}


async def test_what_a_token_was_limited_to_is_never_guessed(decided: Household) -> None:
    narrow = (Grant("j1", ("tool/shelf/mark",)),)
    async with decided.open() as (house, _):
        who = replace(calls._principal(house, "bot", "op"), grants=narrow)
        for name in ("mark", "look", "hidden"):
            args = Args({"server": "shelf", "name": name}, "server", "name", "arguments")
            made = calls._call(house, who, args)
            with suppress(Refused):
                await house.pipeline.govern(made, calls._Silent())
    result = await anyio.to_thread.run_sync(decided.run, "audit", "replay", "--json")
    said = json.loads(result.stdout)
    # The first passed, so its token went that far; the last no policy allows whatever the token.
    assert (said["agree"], said["differ"]) == (10, 0)
    assert said["not_replayed"] == {"how far its token went is not in the log": 1}


async def test_a_call_that_policy_never_allowed_is_a_difference(decided: Household) -> None:
    async with decided.open() as (house, _):
        args = Args({"server": "shelf", "name": "hidden"}, "server", "name", "arguments")
        call = calls._call(house, calls._principal(house, "bot", "op"), args)
        false = replace(house.policies.decide(call), verdict=Verdict.ALLOW, rule=0)
        permit = await house.ledger.hold(call, false)
        await house.ledger.settle(permit, Outcome(Status.OK))
    result = await anyio.to_thread.run_sync(decided.run, "audit", "replay", "--json")
    said = json.loads(result.stdout)
    assert (result.exit_code, said["agree"], said["differ"]) == (1, 8, 1)
    (difference,) = said["differences"]
    assert difference["call"] == call.id
    assert difference["verdict"] == {"then": "allow", "now": "deny"}
    assert difference["rule"] == {"then": 0, "now": -1}
    told = await anyio.to_thread.run_sync(decided.run, "audit", "replay")
    assert "allow in the log, deny now" in told.stdout
