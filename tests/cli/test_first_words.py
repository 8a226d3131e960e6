"""What somebody is told who tries a command for the first time, and not in the way it was meant."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import anyio
import pytest

from gateway.cli.main import main
from tests.cli.household import Household, tool
from tests.cli.test_remote import JSON, elsewhere
from tests.servers.pets import Pets, serving

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:8123/token/mcp"
NOBODY = "no gateway runs here; writing to "


def cursor(text: str) -> Path:
    file = Path.home() / ".cursor" / "mcp.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


# -- which house ---------------------------------------------------------------------------------


def test_a_command_that_no_gateway_carries_out_says_once_where_it_writes(shelf: Household) -> None:
    done = shelf.run("server", "add", "other", "--", *shelf.shelf)  # added, then looked at
    assert done.stderr.count(NOBODY) == 1
    assert f"{NOBODY}{shelf.folder / 'data'}\n" in done.stderr
    assert NOBODY not in shelf.run("server", "list").stderr, "nothing is written"


async def test_a_command_that_the_gateway_carries_out_does_not_say_so(busy: Household) -> None:
    async with busy.served():
        done = await anyio.to_thread.run_sync(busy.run, "agent", "add", "other")
    assert done.exit_code == 0
    assert NOBODY not in done.stderr


@pytest.mark.parametrize("command", ["show", "check"])
def test_the_configuration_of_a_gateway_elsewhere_is_not_told_from_the_files_here(
    home: Household, command: str
) -> None:
    home.environ["CUSTOMHOUSE_KEY"] = "chk_elsewhere_0123456789abcdefghijklmnopqrstuvw"
    with elsewhere(200, JSON, {}) as there:
        home.environ["CUSTOMHOUSE_URL"] = there.url
        assert home.refusal("config", command)["exit_code"] == 2
        assert home.ask("config", "schema")["type"] == "object", "it is the same everywhere"
    assert not there.heard


# -- servers ---------------------------------------------------------------------------------------


def test_a_module_is_not_taken_for_a_command(home: Household) -> None:
    error = home.refusal("server", "add", "desk", "python:agents.desk")
    assert error["exit_code"] == 2
    right = shlex.split(error["fix"].removeprefix("say customhouse "))
    assert right == ["server", "add", "python:agents.desk", "--as", "desk"]
    main.make_context("customhouse", right, resilient_parsing=True)


def test_a_server_is_removed_after_a_yes(shelf: Household) -> None:
    assert shelf.refusal("server", "remove", "shelf")["exit_code"] == 2
    assert [row["name"] for row in shelf.ask("server", "list")] == ["shelf"]
    shelf.do("server", "remove", "shelf", "--yes")
    assert shelf.ask("server", "list") == []


def test_a_server_that_refuses_whoever_shows_nothing_wants_a_credential(home: Household) -> None:
    with elsewhere(403, JSON, {}) as there:
        error = home.refusal("server", "add", "web", "--url", f"{there.url}/mcp")
    assert "wants a credential (auth) or signed calls (sign)" in error["what"]
    assert "`auth`" in error["fix"]


def test_a_credential_that_was_given_and_refused_is_said_to_be_refused(home: Household) -> None:
    home.environ["WEB_TOKEN"] = "t0ken-of-the-web-server"
    with elsewhere(403, JSON, {}) as there:
        url = f"{there.url}/mcp"
        error = home.refusal("server", "add", "web", "--url", url, "--auth", "env:WEB_TOKEN")
    assert "refused the gateway's credential" in error["what"]


def test_a_document_asks_for_a_credential_only_if_it_says_so_and_none_is_given(
    home: Household,
) -> None:
    def findings(pets: Pets, *more: str) -> list[str]:
        shown = home.ask("server", "add", f"{pets.url}/openapi.json", "--dry-run", *more)
        said: list[str] = shown["servers"][0]["findings"]
        return said

    home.environ["PETS_KEY"] = "a-key-for-the-pets"
    with serving(Pets()) as pets:
        assert "asks for a credential" in str(findings(pets))
        assert not findings(pets, "--auth", "env:PETS_KEY")
        del pets.described["security"]
        for item in pets.described["paths"].values():
            for operation in item.values():
                if isinstance(operation, dict):
                    operation.pop("security", None)
        assert not findings(pets)


# -- adopting --------------------------------------------------------------------------------------


def test_a_variable_that_the_gateway_lacks_is_named_with_what_to_do(person: Household) -> None:
    person.lists(tool("add"))
    program, *args = person.shelf
    env = {"API_TOKEN": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}
    cursor(json.dumps({"mcpServers": {"box": {"command": program, "args": args, "env": env}}}))
    done = person.run("adopt", "cursor", "--url", URL, "--yes", "--json")
    (row,) = json.loads(done.stdout)["servers"]
    assert "env:UPSTREAM_BOX_API_TOKEN is not set" in row["error"]["what"]
    assert "set UPSTREAM_BOX_API_TOKEN" in row["error"]["fix"]
    assert "restart the gateway" in row["error"]["fix"]


def test_a_client_without_a_file_or_without_servers_is_said_to_have_none(person: Household) -> None:
    missing = person.run("adopt", "cursor", "--url", URL, "--dry-run")
    assert "mcp.json is not there" in missing.stderr
    cursor('{"mcpServers": {}}')
    assert "has no servers" in person.run("adopt", "cursor", "--url", URL, "--dry-run").stderr


def test_a_program_that_is_not_there_is_not_promised_to_go_behind_the_gateway(
    person: Household,
) -> None:
    cursor('{"mcpServers": {"gone": {"command": "no-such-program"}}}')
    said = person.do("adopt", "cursor", "--url", URL, "--dry-run")
    assert said.startswith("gone: stays: there is no program 'no-such-program'")
    named = person.do("adopt", "cursor", "gone", "--url", URL, "--dry-run")
    assert "gone: behind the gateway" in named, "the gateway may have another PATH"


def test_a_client_file_with_comments_is_refused_without_options_that_are_not_there(
    person: Household,
) -> None:
    file = cursor('{\n  // mine\n  "mcpServers": {}\n}')
    error = person.refusal("adopt", "cursor", "--url", URL, "--dry-run")
    assert str(file) in error["what"]
    assert error["fix"] == "correct it; JSON has no comments"


def test_what_stays_in_our_own_entry_is_not_shown_as_a_change(person: Household) -> None:
    person.do("connect", "cursor", "--url", URL, "--write", "--yes")
    again = person.do("connect", "cursor", "--url", URL.replace("8123", "8124"), "--write", "--yes")
    changes = [line for line in again.splitlines() if line[:1] in "+-"]
    assert changes == ['-       "url": "..."', f'+       "url": "{URL.replace("8123", "8124")}"']


# -- policy ----------------------------------------------------------------------------------------


def test_who_can_says_of_what_is_not_there_what_can_i_says(busy: Household) -> None:
    assert busy.run("policy", "can-i", "bot", "shelf/nope").exit_code == 1
    nobody = busy.run("policy", "who-can", "shelf/nope")
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert nobody.stderr == "nobody: the server lists nothing of this name\n"


def test_who_can_says_nobody_when_no_rule_lets_anybody(busy: Household) -> None:
    busy.policy("p, keeper, default, tool/shelf/*, call, -, allow")
    nobody = busy.run("policy", "who-can", "shelf/pay", "--draft")
    assert (nobody.exit_code, nobody.stderr[:8]) == (1, "nobody: ")


def test_the_first_policy_of_a_house_was_not_in_force_already(home: Household) -> None:
    assert " is in force: " in home.do("policy", "apply")


def test_a_policy_that_is_applied_again_was_in_force_already(busy: Household) -> None:
    busy.policy("p, keeper, default, tool/shelf/*, call, -, allow")
    assert " is in force: " in busy.do("policy", "apply")
    assert "was in force already" in busy.do("policy", "apply")


def test_a_call_that_policy_allowed_is_not_explained_by_policy(busy: Household) -> None:
    refused = busy.run("tool", "call", "--as", "bot", "shelf/pay", '{"amount":"one"}')
    assert "invalid_arguments" in refused.stderr
    assert len(refused.stdout.splitlines()) == 1
    denied = busy.run("tool", "call", "--as", "guest", "shelf/pay", '{"amount":1}')
    assert "deny" in denied.stdout


# -- what is wrong, and why ------------------------------------------------------------------------


def test_a_mistake_that_was_understood_is_not_said_not_to_be(busy: Household) -> None:
    said = busy.run("policy", "can-i", "bot", "shelf/pay", "--arguments", "[]").stderr
    assert [line[:6] for line in said.splitlines()] == ["error:", "  fix:"]


def test_a_document_that_is_not_there_is_found_by_looking_at_the_configuration(
    home: Household,
) -> None:
    home.write('[servers.pets]\nurl = "http://127.0.0.1:9/v1"\nopenapi = "./no.yaml"\n')
    (said,) = home.ask("config", "check")["warnings"]
    assert said.startswith("servers.pets.openapi: there is no file")
    (home.folder / "no.yaml").write_text("openapi: 3.1.0\n")
    assert home.ask("config", "check")["warnings"] == []


def test_a_budget_that_covers_no_call_is_warned_of_wherever_it_is_given(home: Household) -> None:
    small = '[agents.ci]\nbudget = {{ tokens = "{}/day", calls = "9/day" }}\n'
    home.write(small.format("2k"))
    (said,) = home.ask("config", "check")["warnings"]
    assert said.startswith("agents.ci.budget: 2000 tokens per day cover no call")
    looked = json.loads(home.run("doctor", "--json").stdout)
    levels = {check["id"]: check["level"] for check in looked}
    assert levels["budgets"] == "warning"
    added = home.run("agent", "add", "bot", "--budget", "tokens=24999/day")
    assert "24999 tokens per day cover no call" in added.stderr
    assert "cover no call" not in home.run("agent", "add", "b", "--budget", "tokens=25k/day").stderr
    command = json.dumps([sys.executable])
    home.write(f"{small.format('2k')}[servers.s]\ncommand = {command}\nmax_result_tokens = 2000\n")
    assert not [one for one in home.ask("config", "check")["warnings"] if ".ci." in one]
