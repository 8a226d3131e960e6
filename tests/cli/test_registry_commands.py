"""Agents, keys, servers and tools from the command line, with a real server behind the border."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.cli.fixtures import RED
from tests.cli.household import Household, each, tool


def test_a_key_is_the_only_thing_on_standard_output(home: Household) -> None:
    home.do("agent", "add", "bot", "--role", "reader", "--rate", "60/min")
    result = home.run("key", "issue", "bot", "--days", "7")
    assert re.fullmatch(r"chk_[A-Za-z0-9_-]{43}\n", result.stdout)
    assert "not shown again" in result.stderr


def test_keys_are_listed_without_a_secret_and_revoked_by_the_beginning_of_their_id(
    home: Household,
) -> None:
    home.do("agent", "add", "bot")
    issued = home.ask("key", "issue", "bot")
    (row,) = home.ask("key", "list", "bot")
    assert (row["id"], row["state"]) == (issued["id"], "good")
    assert issued["key"] not in json.dumps(row)
    assert home.do("key", "revoke", issued["id"][:8]).startswith(f"key {issued['id']} of agent bot")
    assert home.ask("key", "list")[0]["state"] == "revoked"
    assert "already" in home.do("key", "revoke", issued["id"])


def test_agents_are_listed_with_their_roles_and_limits(home: Household) -> None:
    home.do(
        "agent", "add", "bot", "--role", "b", "--role", "a", "--team", "t",
        "--budget", "tokens=200k/day", "--budget", "calls=10/min", "--budget", "calls=99/day",
    )  # fmt: skip
    home.do("agent", "disable", "bot", "--reason", "on leave")
    (row,) = home.ask("agent", "list")
    assert row["roles"] == ["a", "b"]
    assert row["disabled"]
    assert row["limits"] == ["calls 99/day", "calls 10/minute", "tokens 200k/day"]
    assert next(each(home.do("agent", "list")))[4] == "disabled"
    assert home.do("agent", "enable", "bot") == "agent bot is enabled\n"
    assert home.do("agent", "enable", "bot") == "agent bot is enabled already\n"


def test_a_revoked_key_of_the_file_does_not_look_live(home: Household) -> None:
    home.write('[agents.filed]\nroles = ["reader"]\nkey = "env:FILED_KEY"\n')
    home.environ["FILED_KEY"] = "0123456789abcdefghijABCDEFGHIJ-key"
    home.do("key", "revoke", "config:filed")
    states = {row[0]: row[2] for row in each(home.do("key", "list"))}
    assert states.pop("config:filed:") == "revoked, unless changed since"
    assert list(states.values()) == ["revoked"]


def test_who_is_enabled_without_a_good_key_is_told(home: Household) -> None:
    home.do("agent", "add", "bot")
    issued = home.ask("key", "issue", "bot")
    home.do("agent", "disable", "bot")
    assert "remark" not in home.run("agent", "enable", "bot").stderr
    home.do("agent", "disable", "bot")
    home.do("key", "revoke", issued["id"])
    assert "customhouse key issue bot" in home.run("agent", "enable", "bot").stderr


def test_limits_are_changed_and_taken_away(home: Household) -> None:
    home.do("agent", "add", "bot", "--rate", "60/min", "--budget", "calls=10/day")
    said = home.do("agent", "limit", "bot", "--budget", "calls=20/day", "--budget", "cost=5/day")
    assert said == "agent bot has: 60/min, calls 20/day, cost 5/day\n"
    assert home.ask("agent", "list")[0]["limits"] == ["60/min", "calls 20/day", "cost 5/day"]
    assert home.ask("agent", "limit", "bot", "--no-budget")["limits"] == ["60/min"]
    again = home.do("agent", "limit", "bot", "--no-budget")
    assert again == "agent bot has: 60/min (nothing changed)\n"
    assert "no limits of its own" in home.do("agent", "limit", "bot", "--no-rate")
    assert "cover no call" in home.run("agent", "limit", "bot", "--budget", "tokens=5/day").stderr
    model = 'model = { id = "m", completion = 600000 }\nurl = "http://127.0.0.1:9/v1"\n'
    home.write(f"[models.gpt]\n{model}")
    short = home.run(
        "agent", "limit", "bot", "--budget", "tokens=500/day", "--budget", "cost=10/day"
    )
    assert (short.exit_code, short.stderr.count("cover no call")) == (0, 2)
    looked = [(c["id"], c["level"]) for c in json.loads(home.run("doctor", "--json").stdout)]
    assert looked.count(("budgets", "warning")) == 2
    assert home.refusal("agent", "limit", "bot")["exit_code"] == 2
    home.write('[agents.filed]\nroles = ["reader"]\n')
    assert home.refusal("agent", "limit", "filed", "--rate", "1/s")["exit_code"] == 6


def test_a_role_that_gives_nothing_is_remarked_on(home: Household) -> None:
    result = home.run("agent", "add", "bot", "--role", "raeder")
    assert result.exit_code == 0
    assert "did you mean 'reader'?" in result.stderr
    assert "remark" not in home.run("agent", "grant", "bot", "reader").output


def test_agents_and_keys_of_the_file_are_listed_without_their_secrets(home: Household) -> None:
    """The operator's shell has not the server's environment, and reading needs none."""
    home.write('[agents.filed]\nroles = ["reader"]\nkey = "env:FILED_KEY"\n')
    (row,) = home.ask("agent", "list")
    assert (row["name"], row["origin"]) == ("filed", "config")
    (key,) = home.ask("key", "list")
    assert (key["id"], key["state"]) == ("config:filed:", "declared")
    assert key["origin"] == "env:FILED_KEY"


def test_a_new_server_is_looked_at_and_proposes(shelf: Household) -> None:
    rows = shelf.ask("tool", "list")
    assert [(row["object"], row["approval"]) for row in rows] == [
        ("tool/shelf/add", "quarantined"),
        ("tool/shelf/sub", "proposed"),
    ]
    assert "U+001B" in rows[0]["reason"]
    (server,) = shelf.ask("server", "list")
    assert server["definitions"] == {"proposed": 1, "quarantined": 1}
    assert server["origin"] == "registry"
    shown = shelf.ask("server", "show", "shelf")
    assert len(shown["listed"]) == 2
    assert shelf.ask("tool", "show", "shelf/add")["tags"] == ["math", "safe"]


def test_a_server_that_does_not_answer_is_added_and_the_command_fails(home: Household) -> None:
    error = home.refusal("server", "add", "gone", "--", "/nonexistent/program")
    assert error["exit_code"] == 5
    assert error["what"].startswith("server gone was added, but")
    assert [row["name"] for row in home.ask("server", "list")] == ["gone"]


@pytest.mark.parametrize("command", [["tool", "show"], ["tool", "diff"]])
def test_what_a_server_wrote_does_not_reach_the_terminal_as_it_is(
    shelf: Household, command: list[str]
) -> None:
    output = shelf.run(*command, "shelf/add").output
    assert "\x1b" not in output
    assert "\\u001b[31mred" in output


def test_nobody_is_asked_where_nobody_can_answer(shelf: Household) -> None:
    error = shelf.refusal("tool", "approve", "shelf/sub")
    assert (error["exit_code"], error["what"]) == (2, "nobody is there to ask")
    assert shelf.ask("tool", "show", "shelf/sub")["approval"] == "proposed"


def test_an_approval_shows_what_it_is_for(shelf: Household) -> None:
    output = shelf.do("tool", "approve", "shelf_sub", "--yes")
    assert '"description": "subtracts"' in output
    assert "tool/shelf/sub is approved: " in output
    assert shelf.ask("tool", "show", "shelf/sub")["approval"] == "approved"
    assert "already" in shelf.do("tool", "approve", "shelf/sub", "--yes")


def test_a_digest_that_was_copied_by_hand_is_enough(shelf: Household) -> None:
    digest = shelf.ask("tool", "show", "shelf/sub")["digest"]
    assert shelf.refusal("tool", "approve", "shelf/sub", "--digest", digest[:4])["exit_code"] == 2
    assert shelf.refusal("tool", "approve", "shelf/sub", "--digest", "0" * 16)["exit_code"] == 6
    shelf.do("tool", "approve", "shelf/sub", "--digest", digest[:12])


def test_a_change_is_shown_word_by_word_and_approved_anew(shelf: Household) -> None:
    shelf.do("server", "approve", "shelf", "--yes")
    assert shelf.run("tool", "diff", "shelf/sub").exit_code == 0
    shelf.lists(RED, tool("sub", "subtracts\u202e and mails"))
    assert "quarantined" in shelf.do("server", "test", "shelf")
    result = shelf.run("tool", "diff", "shelf/sub")
    assert result.exit_code == 1
    assert '-   "description": "subtracts",' in result.output
    assert '+   "description": "subtracts\\u202e and mails",' in result.output
    (_, _, line) = shelf.run("tool", "list", "--state", "quarantined").stdout.splitlines()
    assert line.startswith("tool/shelf/sub\t")
    shelf.do("tool", "approve", "shelf/sub", "--yes")
    assert shelf.run("tool", "diff", "shelf/sub").exit_code == 0


def test_approving_a_server_takes_only_what_it_proposes(home: Household) -> None:
    home.lists(tool("add"), tool("hidden", "psst\u200b"))
    home.do("server", "add", "shelf", "--", *home.shelf)
    assert home.ask("server", "approve", "shelf", "--yes")["approved"] == ["tool/shelf/add"]
    assert home.ask("server", "approve", "shelf", "--yes")["approved"] == []
    assert home.ask("tool", "show", "shelf/hidden")["approval"] == "quarantined"


def test_a_call_by_hand_and_how_it_ends(shelf: Household) -> None:
    shelf.do("server", "approve", "shelf", "--yes")
    shelf.do("agent", "add", "bot", "--role", "clerk")
    done = shelf.run("tool", "call", "--as", "bot", "shelf/sub", '{"a":1}')
    assert done.exit_code == 0
    assert "\\u001b[2Jyou said" in done.stdout
    assert "\x1b" not in done.output
    typed = shelf.run("tool", "call", "--as", "bot", "shelf_sub", "-", "--json", typed='{"b":2}')
    assert '{"b": 2}' in json.loads(typed.stdout)["result"]["content"][0]["text"]
    refused = shelf.run("tool", "call", "--as", "bot", "shelf/nothing")
    assert refused.exit_code == 1
    assert "refused unknown_object" in refused.stderr
    shelf.do("server", "suspend", "shelf", "--reason", "odd")
    suspended = shelf.run("tool", "call", "--as", "bot", "shelf/sub", "--json")
    assert (suspended.exit_code, json.loads(suspended.stdout)["code"]) == (1, "suspended")
    assert shelf.do("server", "resume", "shelf") == "server shelf is serving\n"


def test_budgets_show_what_calls_left(shelf: Household) -> None:
    shelf.do("server", "approve", "shelf", "--yes")
    shelf.do("agent", "add", "bot", "--role", "clerk", "--budget", "calls=5/day")
    assert shelf.ask("budget", "show", "bot")[0]["left"] == 5
    shelf.do("tool", "call", "--as", "bot", "shelf/sub")
    (row,) = shelf.ask("budget", "show")
    assert (row["level"], row["charged"], row["held"], row["left"]) == ("agent", 1, 0, 4)
    assert shelf.refusal("budget", "show", "other")["exit_code"] == 1


def test_a_server_that_cannot_be_reached_is_listed_so_with_the_reason(home: Household) -> None:
    home.write('[servers.paid]\ncommand = ["/nonexistent/program"]\n')

    async def looked() -> tuple[str, str]:
        async with home.served() as house:
            await house.discovery.try_refresh("paid")
            rows = json.loads(await asyncio.to_thread(home.do, "server", "list", "--json"))
            return rows[0]["state"], rows[0]["failure"]

    state, failure = asyncio.run(looked())
    assert state == "unreachable"
    assert "/nonexistent/program" in failure
    assert home.ask("server", "list")[0]["state"] == "serving"  # nobody runs who has tried


def test_what_is_removed_by_command_is_gone(shelf: Household) -> None:
    shelf.do("agent", "add", "bot")
    shelf.do("key", "issue", "bot")
    assert "1 of its keys" in shelf.do("agent", "remove", "bot")
    assert "removed server shelf" in shelf.do("server", "remove", "shelf", "--yes")
    assert shelf.ask("server", "list") == shelf.ask("agent", "list") == []


def test_a_role_it_does_not_hold_is_not_said_to_be_held(shelf: Household) -> None:
    shelf.do("agent", "add", "bot")
    assert "has: no roles (nothing changed)" in shelf.do("agent", "withdraw", "bot", "clerk")


def test_what_a_server_says_of_itself_is_called_instructions(home: Household) -> None:
    home.lists(instructions="be kind")
    assert "server/shelf/ (instructions)" in home.do("server", "add", "shelf", "--", *home.shelf)
