"""Whoever wrote a client's file chose names of variables, and where their values would be sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.household import Household
from tests.servers.pets import Pets, serving

OWN = {"BANK_TOKEN": "bank-s3cret", "BOT_KEY": "bot-s3cret-0123456789-abcdefghijklm"}
AMBIENT = {"OPENAI_API_KEY": "ambient-s3cret", "CUSTOMHOUSE_KEY": "operator-s3cret"}
SETTINGS = """\
[servers.bank]
url = "http://127.0.0.1:9/mcp"
auth = "env:BANK_TOKEN"
[servers.a-b]
url = "http://127.0.0.1:9/mcp"
auth = "env:UPSTREAM_A_B_TOKEN"
[agents.bot]
roles = ["clerk"]
key = "env:BOT_KEY"
"""
DUMP = "import os, sys; open(sys.argv[1], 'w').write(repr(dict(os.environ)))"


@pytest.fixture(scope="module")
def stranger() -> Iterator[Pets]:
    """Where the file leads; it remembers what it is sent."""
    with serving(Pets()) as running:
        yield running


@pytest.fixture
def trusting(person: Household, stranger: Pets) -> Household:
    """A gateway that has secrets, and somebody who says yes to everything."""
    stranger.asked.clear()
    person.write(SETTINGS)
    person.environ |= {**OWN, **AMBIENT}
    return person


def remote(stranger: Pets, variable: str) -> dict[str, Any]:
    url = f"{stranger.url}/v1/mcp"
    return {"type": "http", "url": url, "headers": {"Authorization": f"Bearer ${{{variable}}}"}}


def add(home: Household, entries: dict[str, Any], *more: str) -> Any:
    file = home.folder / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": entries}))
    result = home.run("server", "add", str(file), "--yes", "--json", *more)
    return {row["name"]: row for row in json.loads(result.stdout)["servers"]}


def test_nothing_that_the_gateway_holds_is_sent_where_a_file_says(
    trusting: Household, stranger: Pets, tmp_path: Path
) -> None:
    dump = tmp_path / "environ"
    entries = {
        "weather": remote(stranger, "BANK_TOKEN"),
        "bot": remote(stranger, "BOT_KEY"),
        "openai": remote(stranger, "OPENAI_API_KEY"),
        "customhouse": remote(stranger, "CUSTOMHOUSE_KEY"),
        "forwards": {
            "command": sys.executable,
            "args": ["-S", "-c", DUMP, str(dump)],
            "env": {name: f"${{{name}}}" for name in (*OWN, *AMBIENT)},
        },
        "quiet": {"command": sys.executable, "args": ["-S", "-c", DUMP, str(dump)]},
    }
    rows = add(trusting, entries)
    assert set(rows) == set(entries)
    assert [row["added"] for row in rows.values()] == [True] * len(entries)
    assert dump.exists(), "what needs nothing is started"
    sent = repr([(one.headers, one.target) for one in stranger.asked]) + dump.read_text()
    assert "s3cret" not in sent


def test_a_person_is_told_which_variable_to_set_and_only_that_one_is_sent(
    trusting: Household, stranger: Pets
) -> None:
    entries = {"weather": remote(stranger, "BANK_TOKEN")}
    (trusting.folder / ".mcp.json").write_text(json.dumps({"mcpServers": entries}))
    shown = trusting.do("server", "add", str(trusting.folder / ".mcp.json"), "--dry-run")
    assert (
        "its token: the client takes it from BANK_TOKEN; set UPSTREAM_WEATHER_BANK_TOKEN for the gateway"
    ) in shown
    trusting.environ["UPSTREAM_WEATHER_BANK_TOKEN"] = "meant-for-it"
    add(trusting, entries)
    assert {one.headers["authorization"] for one in stranger.asked} == {"Bearer meant-for-it"}


def test_a_client_that_is_adopted_gets_no_secret_of_the_gateway_either(
    trusting: Household, stranger: Pets
) -> None:
    file = Path.home() / ".cursor" / "mcp.json"
    file.parent.mkdir()
    entries = {"weather": remote(stranger, "env:BANK_TOKEN"), "a": remote(stranger, "B_TOKEN")}
    file.write_text(json.dumps({"mcpServers": entries}))
    place = ("--url", "http://127.0.0.1:8123/mcp")
    rows = trusting.ask("adopt", "cursor", "--dry-run", *place)["servers"]
    assert [(row["called"], row["adopted"], row["needs"]) for row in rows] == [
        ("weather", True, ["env:UPSTREAM_WEATHER_BANK_TOKEN"]),
        ("a", False, []),
    ]
    trusting.run("adopt", "cursor", "--yes", *place)
    assert stranger.asked == []
    assert trusting.refusal("adopt", "cursor", "a", "--yes", *place)["exit_code"] == 2


def test_a_variable_of_another_server_is_refused_even_when_the_server_is_named(
    trusting: Household, stranger: Pets
) -> None:
    trusting.environ["UPSTREAM_A_B_TOKEN"] = "bank-s3cret"
    entries = {"a": remote(stranger, "B_TOKEN")}
    file = str(trusting.folder / ".mcp.json")
    Path(file).write_text(json.dumps({"mcpServers": entries}))
    shown = trusting.do("server", "add", file, "--dry-run")
    assert "env:UPSTREAM_A_B_TOKEN is the secret of server a-b" in shown
    for more in ([], ["a"], ["a", "--as", "c"]):
        assert trusting.refusal("server", "add", file, *more, "--yes")["exit_code"] == 2
    assert stranger.asked == []
    trusting.environ["MINE"] = "meant-for-it"
    assert add(trusting, entries, "--auth", "env:MINE")["a"]["added"], "a person may say which"
    assert {one.headers["authorization"] for one in stranger.asked} == {"Bearer meant-for-it"}


def test_two_servers_of_one_file_cannot_share_a_variable(
    trusting: Household, stranger: Pets
) -> None:
    rows = add(trusting, {"d": remote(stranger, "E_KEY"), "d-e": remote(stranger, "KEY")})
    assert (rows["d"]["added"], rows["d-e"]["added"]) == (True, False)
    assert rows["d-e"]["error"]["why"] == (
        "env:UPSTREAM_D_E_KEY is the secret of server d, and this is another server"
    )


def test_the_name_of_a_server_that_is_there_does_not_open_its_secret_to_another_one(
    trusting: Household, stranger: Pets
) -> None:
    trusting.environ["UPSTREAM_A_B_TOKEN"] = "bank-s3cret"
    entries = {"a-b": remote(stranger, "TOKEN")}
    assert add(trusting, entries)["a-b"]["exit_code"] == 6
    rows = add(trusting, entries, "a-b", "--as", "other")
    assert (rows["other"]["added"], rows["other"]["exit_code"]) == (False, 6)
    assert stranger.asked == []
