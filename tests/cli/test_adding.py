"""customhouse server add SOURCE: seen first, added on a yes, and proposed whatever the source says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.adding import add
from gateway.cli.sources import is_own
from gateway.config.keys import SERVER
from tests.cli.household import Household, tool
from tests.servers.pets import KEY, Pets, document, serving

TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


@pytest.fixture
def work(home: Household) -> Household:
    """A house with a project's file beside it: one server that starts, one that is none."""
    home.lists(tool("find"), tool("drop"))
    entries = {
        "Shelf One": {"command": home.shelf[0], "args": home.shelf[1:], "env": {"API_KEY": TOKEN}},
        "keyed": {"type": "http", "url": "https://x.example/mcp", "headers": {"X-Key": TOKEN}},
        "gw": {"command": "customhouse", "args": ["bridge", "https://tools.example.com/mcp"]},
    }
    write(home, **entries)
    return home


def write(home: Household, **entries: Any) -> None:
    (home.folder / ".mcp.json").write_text(json.dumps({"mcpServers": entries}))


def file(home: Household) -> str:
    return str(home.folder / ".mcp.json")


@pytest.fixture(scope="module")
def pets() -> Iterator[Pets]:
    with serving(Pets()) as running:
        yield running


def states(home: Household, server: str) -> dict[str, str]:
    rows = home.ask("tool", "list", server)
    return {row["name"]: row["approval"] for row in rows}


def names(home: Household) -> list[str]:
    return [row["name"] for row in home.ask("server", "list")]


def test_a_dry_run_shows_everything_and_adds_nothing(work: Household) -> None:
    said = work.do("server", "add", file(work), "--dry-run")
    first, _, shelf, keyed, *_ = said.splitlines()
    assert "Claude Code" in first
    assert shelf.startswith("shelf-one\tShelf One\t")
    assert "env:UPSTREAM_SHELF_ONE_API_KEY" in shelf
    assert "it is sent the header 'X-Key'" in keyed
    assert TOKEN not in said
    assert names(work) == []
    shown = work.ask("server", "add", file(work), "--dry-run")
    assert [row["name"] for row in shown["servers"]] == ["shelf-one", "keyed", "gw"]
    assert shown["servers"][1]["table"] == {}
    assert TOKEN not in json.dumps(shown)


def test_nothing_is_added_before_a_person_has_said_yes(work: Household) -> None:
    error = work.refusal("server", "add", file(work))
    assert (error["exit_code"], error["what"]) == (2, "nobody is there to ask")
    assert names(work) == []


def test_what_is_imported_is_proposed(work: Household) -> None:
    work.environ["UPSTREAM_SHELF_ONE_API_KEY"] = "x"
    done = work.ask("server", "add", file(work), "shelf-one", "--yes", "--reason", "moving")
    (row,) = done["servers"]
    assert (row["name"], row["added"], row["exit_code"]) == ("shelf-one", True, 0)
    assert row["seen"]["states"] == {"proposed": 2}
    assert set(states(work, "shelf-one").values()) == {"proposed"}
    stored = (work.folder / "data" / "customhouse.db").read_bytes()
    assert TOKEN.encode() not in stored


def test_what_is_imported_is_never_approved_unseen(work: Household) -> None:
    error = work.refusal(
        "server", "add", file(work), "shelf-one", "--approve", "first-seen", "--yes"
    )
    assert error["what"] == "what is imported is proposed"


def test_one_server_that_fails_does_not_keep_the_others_out(work: Household) -> None:
    write(
        work, a={"command": "/nonexistent/x"}, b={"command": work.shelf[0], "args": work.shelf[1:]}
    )
    result = work.run("server", "add", file(work), "--yes", "--json")
    rows = {row["name"]: row for row in json.loads(result.stdout)["servers"]}
    assert result.exit_code == rows["a"]["exit_code"] == 5
    assert rows["b"]["seen"]["states"] == {"proposed": 2}
    assert names(work) == ["a", "b"]
    again = work.run("server", "add", file(work), "b", "--yes")
    assert again.exit_code == 6
    assert "server b exists already" in again.stderr


def test_one_server_gets_the_name_and_the_terms_that_are_said(work: Household) -> None:
    work.environ["OTHER"] = "x"
    work.do(
        *("server", "add", file(work), "Shelf One", "--as", "books", "--yes"),
        *("--tool", "find", "--env", "API_KEY=env:OTHER", "--timeout-s", "3"),
    )
    assert list(states(work, "books")) == ["find"]
    assert work.ask("server", "show", "books")["timeout_s"] == 3


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["nobody"], "there is no 'nobody' in it"),
        (["keyed"], "'keyed' cannot be taken in"),
        (["shelf-one", "gw", "--as", "x"], "--as names one server, and there are 2"),
        (["shelf-one", "--as", "Not A Name"], "is not a name for a server"),
        (["shelf-one", "gw", "--auth", "env:X"], "these options are for one server"),
        (["gw", "--yes"], "there is nothing here to add"),
        (["--url", "https://x.example"], "the source says what the server is"),
        (["--python", "x"], "the source says what the server is"),
        (["--writes"], "--writes is for an OpenAPI document"),
    ],
)
def test_what_makes_no_sense_is_refused(work: Household, arguments: list[str], what: str) -> None:
    error = work.refusal("server", "add", file(work), *arguments)
    assert (error["exit_code"], what in error["what"]) == (2, True)


@pytest.mark.parametrize(
    ("table", "own"),
    [
        ({"url": "http://127.0.0.1:8080/mcp"}, True),
        ({"url": "http://localhost:8080/mcp/s/docs"}, True),
        ({"url": "http://127.0.0.1:8080/token/mcp"}, True),
        ({"url": "http://127.0.0.1:8080/other"}, False),
        ({"url": "http://127.0.0.1:9000/mcp"}, False),
        ({"url": "https://docs.example.com:8080/mcp"}, False),
        ({"command": ["/usr/bin/customhouse", "bridge"]}, True),
        ({"command": ["uvx", "customhouse", "bridge", "https://x.example/mcp"]}, True),
        ({"command": ["uvx", "mcp-server-time"]}, False),
        ({}, False),
    ],
)
def test_the_gateway_knows_itself_in_a_clients_file(table: dict[str, Any], own: bool) -> None:
    assert is_own(table, "127.0.0.1", 8080) is own


def test_a_name_alone_says_nothing(home: Household) -> None:
    error = home.refusal("server", "add", "docs")
    assert error["what"] == "docs is a name, and nothing says what it is"
    assert home.refusal("server", "add", "docs", "--as", "x", "--", "y")["exit_code"] == 2


def test_a_command_of_the_command_line_can_be_tried_dry(home: Household) -> None:
    said = home.do("server", "add", "docs", "--dry-run", "--json", "--", "x", "--yes")
    shown = json.loads(said)
    assert shown["servers"][0]["table"] == {"command": ["x", "--yes"]}
    secret = home.refusal("server", "add", "docs", "--dry-run", "--env", "API_KEY=s3cret", "x")
    assert (secret["exit_code"], "s3cret" in json.dumps(secret)) == (3, False)
    assert names(home) == []


def test_a_module_is_named_after_itself(home: Household) -> None:
    done = home.ask("server", "add", "python:tests.servers.functions")
    assert done["name"] == "functions"
    assert set(done["seen"]["states"]) == {"proposed"}


def test_a_url_is_named_after_its_host(home: Household) -> None:
    # Nothing listens at port 9: it is added, and that it could not be looked at is said.
    error = home.refusal("server", "add", "http://localhost:9/mcp")
    assert error["what"].startswith("server localhost was added, but")
    shown = home.ask("server", "add", "https://mcp.docs.example.com/mcp", "--dry-run")
    assert shown["servers"][0]["name"] == "docs"
    assert home.refusal("server", "add", "https://127.0.0.1/mcp")["exit_code"] == 2


# -- OpenAPI ---------------------------------------------------------------------------------------


def test_the_operations_of_a_document_are_proposed(home: Household, pets: Pets) -> None:
    home.environ["PETS_KEY"] = KEY
    url = f"{pets.url}/openapi.json"
    shown = home.ask("server", "add", url, "--dry-run")
    assert [(one["name"], bool(one["left_out"])) for one in shown["operations"]] == [
        *(("listPets", False), ("addPet", True), ("getPet", False)),
        *(("put_pets_petId", True), ("dropPet", True), ("answer", False)),
    ]
    assert shown["servers"][0]["findings"] == ["it asks for a credential: --auth env:NAME"]
    assert shown["servers"][0]["table"] == {"url": f"{pets.url}/v1", "openapi": url}
    home.do("server", "add", url, "--yes", "--auth", "env:PETS_KEY", "--as", "pets")
    assert states(home, "pets") == dict.fromkeys(("answer", "getPet", "listPets"), "proposed")
    target = home.ask("server", "show", "pets")["target"]
    assert target == f"{pets.url}/v1, as {url} has it"
    called = home.refusal("tool", "call", "pets/getPet", "--as", "nobody")
    assert called["exit_code"] != 0


def test_writing_operations_come_only_when_they_are_asked_for(home: Household, pets: Pets) -> None:
    url = f"{pets.url}/openapi.json"
    home.do("server", "add", url, "--yes", "--writes", "--as", "pets", "--tool", "*Pet")
    assert list(states(home, "pets")) == ["addPet", "dropPet", "getPet"]


def test_a_document_on_disk_needs_to_say_where_its_api_is(home: Household, pets: Pets) -> None:
    path = home.folder / "pets.json"
    path.write_text(json.dumps(document()))
    error = home.refusal("server", "add", str(path), "--dry-run")
    assert error["what"] == "the document does not say at which URL its API is"
    home.do("server", "add", str(path), "--url", f"{pets.url}/v1", "--yes")
    assert list(states(home, "pet-store")) == ["answer", "getPet", "listPets"]


def test_a_changed_document_is_quarantined(home: Household, pets: Pets) -> None:
    path = home.folder / "pets.json"
    path.write_text(json.dumps(document()))
    home.do("server", "add", str(path), "--url", f"{pets.url}/v1", "--yes")
    home.do("server", "approve", "pet-store", "--yes")
    changed = document()
    changed["paths"]["/users/{petId}"] = changed["paths"].pop("/pets/{petId}")
    path.write_text(json.dumps(changed))
    home.do("server", "test", "pet-store")
    assert states(home, "pet-store") == {
        "answer": "approved",
        "getPet": "quarantined",
        "listPets": "approved",
    }


def test_more_operations_than_a_model_can_choose_from_are_named_one_by_one(
    home: Household, pets: Pets
) -> None:
    more = {f"/n{n}": {"get": {"operationId": f"get_n{n}"}} for n in range(41)}
    path = home.folder / "many.json"
    path.write_text(json.dumps(document(**more)))
    arguments = ("server", "add", str(path), "--url", pets.url, "--as", "many", "--yes")
    assert home.refusal(*arguments)["what"].startswith("that would be 44 tools")
    home.do(*arguments, "--tool", "get_n1?")
    assert len(states(home, "many")) == 10


@pytest.mark.parametrize(
    ("text", "exit_code", "what"),
    [
        ('{"openapi": "2.0"}', 3, "not OpenAPI 3.0 or 3.1"),
        ('{"openapi": "3.0.0", "servers": [{"url": "http://127.0.0.1:1"}]}', 2, "this machine"),
        ('{"openapi": "3.0.0", "servers": [{"url": "ftp://x.example"}]}', 2, "at which URL"),
        ('{"openapi": "3.0.0", "servers": [{"url": "https://x.example"}]}', 2, "no operation"),
        ('{"neither": 1}', 3, "none of the files"),
        ("{", 3, "not JSON"),
    ],
)
def test_a_document_that_is_none_is_refused(
    home: Household, text: str, exit_code: int, what: str
) -> None:
    path = home.folder / "api.json"
    path.write_text(text)
    error = home.refusal("server", "add", str(path), "--yes")
    assert (error["exit_code"], what in error["what"]) == (exit_code, True), error


def test_a_clients_configuration_is_not_fetched(home: Household, pets: Pets) -> None:
    url = f"{pets.url}/openapi.json"
    error = home.refusal("server", "add", url, "--format", "cursor", "--dry-run")
    assert error["what"] == "a client's configuration is read from a file"


def test_a_file_that_is_not_there_is_said_to_be_missing(home: Household) -> None:
    error = home.refusal("server", "add", str(Path("/nonexistent/mcp.json")))
    assert (error["exit_code"], "cannot be read" in error["what"]) == (3, True)


def test_its_help_says_what_is_set_in_the_file_only(home: Household) -> None:
    said = " ".join(home.do("server", "add", "--help").split())
    [told] = re.findall(r"in the place of this command: ([\w, ]+)\.", said)
    options = {param.name for param in add.params} | {"command", "openapi", "env"}
    assert set(told.split(", ")) == {*SERVER, "limits"} - options
