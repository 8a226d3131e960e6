"""A client's servers go behind the gateway, and come back if somebody wants them back."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.replacing import Looked, back_up
from tests.cli.household import Household, tool

URL = "http://127.0.0.1:8123/token/mcp"
TOKEN = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


def cursor(*more: str) -> Path:
    file = Path.home() / ".cursor" / "mcp.json"
    return file.with_name(file.name + "".join(more))


def entry(home: Household, *more: str) -> dict[str, Any]:
    return {"command": home.shelf[0], "args": [*home.shelf[1:], *more]}


def write(servers: dict[str, Any]) -> bytes:
    cursor().parent.mkdir(exist_ok=True)
    cursor().write_text(json.dumps({"mcpServers": servers, "theme": "dark"}, indent=2))
    cursor().chmod(0o644)
    return cursor().read_bytes()


def servers() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cursor().read_text())["mcpServers"]
    return found


def adopt(home: Household, *more: str) -> Any:
    return home.ask("adopt", "cursor", "--url", URL, "--yes", *more)


@pytest.fixture
def shelved(person: Household) -> Household:
    """Somebody whose client has one server of two tools, and who runs a gateway."""
    person.lists(tool("add"), tool("sub"))
    write({"My Shelf": entry(person)})
    return person


def test_a_server_goes_behind_the_gateway_and_the_client_goes_through_it(
    shelved: Household,
) -> None:
    before = cursor().read_bytes()
    done = adopt(shelved)
    assert list(servers()) == ["customhouse"]
    assert servers()["customhouse"]["url"] == URL
    assert json.loads(cursor().read_text())["theme"] == "dark"
    assert Path(done["backup"]).read_bytes() == before
    assert Path(done["backup"]).stat().st_mode & 0o777 == 0o600
    (row,) = shelved.ask("server", "list")
    assert (row["name"], row["definitions"]) == ("my-shelf", {"proposed": 2}), "nobody approved it"


def test_undo_puts_the_file_back_to_the_byte(shelved: Household) -> None:
    before = cursor().read_bytes()
    adopt(shelved)
    said = shelved.run("adopt", "cursor", "--undo", "--yes")
    assert said.exit_code == 0
    assert "still behind the gateway: my-shelf" in said.stderr
    assert cursor().read_bytes() == before
    assert list(cursor().parent.iterdir()) == [cursor()], "copies hold secrets: none is left"
    assert shelved.refusal("adopt", "cursor", "--undo", "--yes")["exit_code"] == 1


def test_undo_does_not_lose_what_somebody_wrote_since(shelved: Household) -> None:
    before = cursor().read_bytes()
    adopt(shelved)
    changed = cursor().read_text().replace("dark", "light")
    cursor().write_text(changed)
    error = shelved.refusal("adopt", "cursor", "--undo", "--yes")
    assert error["exit_code"] == 6
    assert "has changed since" in error["why"]
    assert cursor().read_text() == changed
    shelved.do("adopt", "cursor", "--undo", "--discard", "--yes")
    assert cursor().read_bytes() == before
    (kept,) = [path for path in cursor().parent.iterdir() if path != cursor()]
    assert kept.read_text() == changed, "what is discarded is kept, too"


def test_what_is_adopted_in_two_steps_is_undone_in_two(shelved: Household) -> None:
    both = write({"one": entry(shelved), "two": entry(shelved, "--quiet")})
    adopt(shelved, "one")
    between = cursor().read_bytes()
    assert list(servers()) == ["two", "customhouse"]
    adopt(shelved)
    assert list(servers()) == ["customhouse"]
    shelved.do("adopt", "cursor", "--undo", "--yes")
    assert cursor().read_bytes() == between
    shelved.do("adopt", "cursor", "--undo", "--yes")
    assert cursor().read_bytes() == both


def test_a_server_that_does_not_answer_stays_with_the_client(shelved: Household) -> None:
    write({"good": entry(shelved), "gone": {"command": "/bin/false"}})
    result = shelved.run("adopt", "cursor", "--url", URL, "--yes")
    assert result.exit_code == 5
    assert "gone stays with the client" in result.stderr
    assert list(servers()) == ["gone", "customhouse"]
    # Added it is, so that it can be put right; the next try goes on from there.
    write({"gone": {"command": "/bin/false"}})
    assert shelved.run("adopt", "cursor", "--url", URL, "--yes").exit_code == 5
    assert list(servers()) == ["gone"]


def test_a_name_that_is_taken_by_another_server_stays(shelved: Household) -> None:
    shelved.do("server", "add", "my-shelf", "--", *shelved.shelf, "--other")
    before = cursor().read_bytes()
    assert shelved.run("adopt", "cursor", "--url", URL, "--yes").exit_code == 6
    assert cursor().read_bytes() == before
    assert list(cursor().parent.iterdir()) == [cursor()]


def test_secrets_are_neither_taken_over_nor_shown(shelved: Household) -> None:
    write({"github": {**entry(shelved), "env": {"GITHUB_TOKEN": TOKEN}}})
    shown = shelved.run("adopt", "cursor", "--url", URL, "--dry-run").output
    assert "set UPSTREAM_GITHUB_TOKEN for the gateway" in shown
    # The gateway has it not yet, so the server cannot be started.
    done = shelved.run("adopt", "cursor", "--url", URL, "--yes")
    assert done.exit_code == 5
    shelved.environ["UPSTREAM_GITHUB_TOKEN"] = "given"
    again = shelved.run("adopt", "cursor", "--url", URL, "--yes")
    assert again.exit_code == 0
    assert TOKEN not in shown + done.output + again.output
    assert TOKEN not in cursor().read_text()
    assert TOKEN not in cursor(".customhouse-adopted.json").read_text()
    stored = (shelved.folder / "data" / "customhouse.db").read_bytes()
    assert TOKEN.encode() not in stored


def test_no_value_of_the_file_is_shown_but_what_will_be_run(shelved: Household) -> None:
    """A short password looks like any other word."""
    settings = {"DB_PASSWORD": "hunter2", "NODE_OPTIONS": "--require ./x.js", "MODE": "quick"}
    write({"db": {**entry(shelved), "env": settings}, "odd": {"command": "x", "pin": 4711}})
    output = shelved.do("adopt", "cursor", "--url", URL, "--dry-run")
    assert "with MODE=quick" in output, "a person must see what a program is started with"
    assert '-     "db": {' in output
    for secret in ("hunter2", "x.js", "4711"):
        assert secret not in output


def test_signs_of_a_shell_are_words_like_others(shelved: Household, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    words = ["; touch " + str(mark), "$(touch " + str(mark) + ")", "`x`", "a && b | c"]
    write({"$(touch x)": entry(shelved, *words)})
    assert shelved.run("adopt", "cursor", "--url", URL, "--yes").exit_code == 0
    assert not mark.exists()
    (row,) = shelved.ask("server", "list")
    assert row["name"] == "touch-x"


def test_a_dry_run_does_nothing(shelved: Household) -> None:
    before = cursor().read_bytes()
    output = shelved.do("adopt", "cursor", "--dry-run", "--url", URL)
    assert "My Shelf: behind the gateway as my-shelf" in output
    assert "shelf.json" in output
    assert cursor().read_bytes() == before
    assert shelved.ask("server", "list") == []
    (row,) = shelved.ask("adopt", "cursor", "--dry-run", "--url", URL)["servers"]
    assert row["adopted"]


def test_another_server_of_our_name_is_not_lost(shelved: Household) -> None:
    before = write({"customhouse": {"command": "/nonexistent/program"}})
    assert shelved.refusal("adopt", "cursor", "--url", URL, "--yes")["exit_code"] == 2
    assert cursor().read_bytes() == before
    shelved.lists(tool("add"))
    write({"customhouse": entry(shelved)})
    adopt(shelved, "--name", "gw")
    assert list(servers()) == ["gw"]


def test_nothing_is_begun_that_could_not_be_written(shelved: Household) -> None:
    double = cursor().read_text().replace('"theme"', '"mcpServers": {}, "theme"')
    cursor().write_text(double)
    assert shelved.run("adopt", "cursor", "--url", URL, "--yes").exit_code != 0
    write({"customhouse": entry(shelved), "other": entry(shelved, "-q")})
    assert shelved.refusal("adopt", "cursor", "other", "--url", URL, "--yes")["exit_code"] == 2
    assert shelved.refusal("adopt", "cursor", "none", "--url", URL, "--yes")["exit_code"] == 2
    assert shelved.ask("server", "list") == []


def test_a_file_written_while_servers_were_added_is_not_overwritten(
    shelved: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(looked: Looked, now: datetime) -> Path | None:
        copy = back_up(looked, now)
        cursor().write_text('{"mcpServers": {}}')
        return copy

    monkeypatch.setattr("gateway.cli.adopt.back_up", meanwhile)
    assert shelved.refusal("adopt", "cursor", "--url", URL, "--yes")["exit_code"] == 6
    assert cursor().read_text() == '{"mcpServers": {}}'
    assert list(cursor().parent.iterdir()) == [cursor()], "neither a record nor a copy"


FORGED = '[{"backup": "x", "before": "x", "after": "x", "servers": [1]}]'


@pytest.mark.parametrize("record", ["{", "[1]", '[{"backup": 1}]', "null", FORGED, "[" * 100_000])
def test_a_record_that_is_none_undoes_nothing(shelved: Household, record: str) -> None:
    cursor(".customhouse-adopted.json").write_text(record)
    before = cursor().read_bytes()
    assert shelved.refusal("adopt", "cursor", "--undo", "--yes")["exit_code"] == 6
    assert cursor().read_bytes() == before


def test_a_record_cannot_name_another_file_as_the_copy(shelved: Household, tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("{}")
    step = {"backup": "../../evil", "before": "0" * 64, "after": "0" * 64, "servers": []}
    cursor(".customhouse-adopted.json").write_text(json.dumps([step]))
    assert shelved.refusal("adopt", "cursor", "--undo", "--discard", "--yes")["exit_code"] == 6


VSCODE = """\
{
  // what we use
  "servers": {
    "shelf": ENTRY, // the old one
    // nothing else
  },
  "inputs": [], /* none */
}
"""
VSCODE_AFTER = """\
{
  // what we use
  "servers": {
    // the old one
    // nothing else
    "customhouse": {
      "type": "http",
      "url": "URL",
      "headers": {
        "Authorization": "Bearer ${input:customhouse-key}"
      }
    }
  },
"""
CODEX = """\
model = "x" # mine

[mcp_servers.shelf]
command = COMMAND
args = [
  ARGS, # all of them
]

# who I am
[profiles.me]
model = "y"
"""
CODEX_AFTER = """\
model = "x" # mine

# who I am
[profiles.me]
model = "y"

[mcp_servers.customhouse]
url = "URL"
bearer_token_env_var = "CUSTOMHOUSE_KEY"
"""


def test_comments_survive_in_jsonc(shelved: Household) -> None:
    file = Path.cwd() / ".vscode" / "mcp.json"
    file.parent.mkdir()
    file.write_text(VSCODE.replace("ENTRY", json.dumps(entry(shelved))))
    before = file.read_bytes()
    shelved.do("adopt", "vscode", "--url", URL, "--yes")
    assert file.read_text().startswith(VSCODE_AFTER.replace("URL", URL))
    assert file.read_text().endswith("], /* none */\n}\n")
    shelved.do("adopt", "vscode", "--undo", "--yes")
    assert file.read_bytes() == before


def test_comments_survive_in_toml(shelved: Household) -> None:
    file = Path.home() / ".codex" / "config.toml"
    file.parent.mkdir()
    command, *args = map(json.dumps, shelved.shelf)
    file.write_text(CODEX.replace("COMMAND", command).replace("ARGS", ", ".join(args)))
    before = file.read_bytes()
    shelved.do("adopt", "codex", "--url", URL, "--yes")
    assert file.read_text() == CODEX_AFTER.replace("URL", URL)
    shelved.do("adopt", "codex", "--undo", "--yes")
    assert file.read_bytes() == before


def test_a_person_is_told_what_the_client_needs_and_what_is_next(shelved: Household) -> None:
    said = shelved.run("adopt", "cursor", "--url", URL, "--yes").stderr
    assert "the client needs CUSTOMHOUSE_KEY in its environment" in said
    assert "customhouse server approve my-shelf" in said
    assert f"customhouse connect cursor --check --url {URL}" in said
    assert f"customhouse adopt cursor --undo --url {URL}" in said


def test_a_server_that_is_this_gateway_is_not_adopted(shelved: Household) -> None:
    other = {"command": "/elsewhere/customhouse", "args": ["bridge", "--url", URL]}
    write({"My Shelf": entry(shelved), "old": other})
    shelved.do("connect", "cursor", "--write", "--yes", "--url", URL, "--name", "gw")
    rows = shelved.ask("adopt", "cursor", "--dry-run", "--url", URL)["servers"]
    assert [(row["called"], row["adopted"]) for row in rows] == [("My Shelf", True), ("old", False)]
