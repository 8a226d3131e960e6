"""Clients are pointed at the gateway: printed, and written into real files."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.spots import leads_to
from gateway.config.clients import CLIENTS, Syntax, read_document
from gateway.edge.endpoint import endpoint_of
from tests.cli.household import Household

KEY = "chk_connect_0123456789abcdefghijklmnopqrstuv"
URL = "https://tools.example.com/mcp"
HTTP = {
    "claude-code": {
        "type": "http",
        "url": URL,
        "headers": {"Authorization": "Bearer ${CUSTOMHOUSE_KEY}"},
    },
    "vscode": {
        "type": "http",
        "url": URL,
        "headers": {"Authorization": "Bearer ${input:customhouse-key}"},
    },
    "cursor": {"url": URL, "headers": {"Authorization": "Bearer ${env:CUSTOMHOUSE_KEY}"}},
    "codex": {"url": URL, "bearer_token_env_var": "CUSTOMHOUSE_KEY"},
    "gemini": {"httpUrl": URL, "headers": {"Authorization": "Bearer $CUSTOMHOUSE_KEY"}},
}
FILES = {
    "claude-code": ".mcp.json",
    "vscode": ".vscode/mcp.json",
    "cursor": ".cursor/mcp.json",
    "codex": ".codex/config.toml",
    "gemini": ".gemini/settings.json",
}
EXISTING = {
    "claude-code": '{"mcpServers": {"x": {"command": "x", "env": {"K": "s3cret-v4lue-0123456789"}}}}',
    "vscode": '// mine\n{\n\t"servers": {\n\t\t"x": {"command": "x"}, // why\n\t},\n}\n',
    "cursor": '{\r\n  "mcpServers": {},\r\n  "other": 1e3\r\n}',
    "codex": '# mine\nmodel = "x"\n\n[mcp_servers.x]\ncommand = "x"\n',
    "gemini": '{"theme": "dark" /* yes */}',
}


def file_of(client: str) -> Path:
    base = Path.cwd() if client in ("claude-code", "vscode") else Path.home()
    return base / FILES[client]


def servers(client: str, text: str) -> Any:
    return read_document(text, CLIENTS[client].syntax)[CLIENTS[client].table[0]]


@pytest.mark.parametrize("client", HTTP)
def test_what_is_printed_is_what_the_client_reads(person: Household, client: str) -> None:
    result = person.run("connect", client, "--url", URL)
    assert result.exit_code == 0
    assert servers(client, result.stdout) == {"customhouse": HTTP[client]}
    assert str(file_of(client)) in result.stderr
    assert not file_of(client).exists()


@pytest.mark.parametrize("client", HTTP)
def test_one_entry_is_written_and_the_rest_stays(person: Household, client: str) -> None:
    file, old = file_of(client), EXISTING[client]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(old.encode())
    file.chmod(0o640)
    done = person.ask("connect", client, "--write", "--yes", "--url", URL)
    new = file.read_bytes().decode()
    assert servers(client, new)["customhouse"] == HTTP[client]
    assert {**servers(client, new), "customhouse": 0} == {
        **read_document(old, CLIENTS[client].syntax).get(CLIENTS[client].table[0], {}),
        "customhouse": 0,
    }
    for line in old.splitlines():
        for word in line.replace("}", " ").replace("{", " ").split():
            assert word.rstrip(",") in new
    assert Path(done["backup"]).read_bytes().decode() == old
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    again = person.ask("connect", client, "--write", "--yes", "--url", URL)
    assert not again["changed"]
    assert file.read_bytes().decode() == new


@pytest.mark.parametrize("client", HTTP)
def test_a_file_that_is_not_there_is_made(person: Household, client: str) -> None:
    person.do("connect", client, "--write", "--yes", "--url", URL)
    assert servers(client, file_of(client).read_text()) == {"customhouse": HTTP[client]}
    assert stat.S_IMODE(file_of(client).stat().st_mode) == 0o600


@pytest.mark.parametrize("client", [*CLIENTS])
def test_with_a_key_in_a_file_every_client_starts_the_bridge(
    person: Household, client: str
) -> None:
    words = ["--url", URL, "--server", "docs", "--key", "file:~/key"]
    entry = person.ask("connect", client, *words)["entry"]
    assert Path(entry["command"]).is_absolute()
    assert entry["args"][-5:] == [
        "bridge",
        *("--url", f"{URL}/s/docs"),
        *("--key", f"file:{Path.home()}/key"),
    ]
    assert entry.get("type") == ("stdio" if client in ("claude-code", "vscode") else None)


def test_a_client_that_can_refer_to_nothing_gets_no_key_in_clear(person: Household) -> None:
    error = person.refusal("connect", "claude-desktop", "--write", "--yes", "--url", URL)
    assert error["exit_code"] == 2
    assert "--key file:PATH" in error["fix"]
    assert person.refusal("connect", "cursor", "--key", KEY)["exit_code"] == 2
    assert KEY not in person.run("connect", "cursor", "--key", KEY).output


def test_any_other_client_gets_the_common_form(person: Household) -> None:
    said = json.loads(person.do("connect", "generic", "--url", URL))
    assert list(said["mcpServers"]["customhouse"]) == ["url", "headers"]
    assert person.refusal("connect", "generic", "--write")["exit_code"] == 2


def test_scopes_names_and_files_can_be_chosen(person: Household, tmp_path: Path) -> None:
    words = ("--write", "--yes", "--url", URL, "--name", "gw")
    person.do("connect", "claude-code", *words, "--scope", "user")
    assert "gw" in json.loads((Path.home() / ".claude.json").read_text())["mcpServers"]
    person.do("connect", "claude-code", *words, "--scope", "local")
    projects = json.loads((Path.home() / ".claude.json").read_text())["projects"]
    assert "gw" in projects[str(Path.cwd())]["mcpServers"]
    person.do("connect", "cursor", *words, "--file", str(tmp_path / "own.json"))
    assert "gw" in json.loads((tmp_path / "own.json").read_text())["mcpServers"]
    assert person.refusal("connect", "codex", "--scope", "local")["exit_code"] == 2
    assert person.refusal("connect", "codex", "--name", "a.b")["exit_code"] == 2


def test_the_address_is_that_of_the_configuration(person: Household) -> None:
    settings = person.folder / "customhouse.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:0", "127.0.0.1:8123"))
    entry = person.ask("connect", "cursor", "--toolset", "office")["entry"]
    assert entry["url"] == "http://127.0.0.1:8123/token/mcp/t/office"
    for words in (["--server", "../x"], ["--server", "a", "--toolset", "b"], ["--url", "x:y"]):
        assert person.refusal("connect", "cursor", "--check", *words)["exit_code"] in (2, 3)


def test_secrets_of_other_servers_are_not_shown(person: Household) -> None:
    file_of("claude-code").write_text(EXISTING["claude-code"])
    output = person.run("connect", "claude-code", "--write", "--yes", "--url", URL).output
    assert "s3cret-v4lue" not in output
    assert "+     }" in output
    assert '"Authorization": "Bearer ${CUSTOMHOUSE_KEY}"' in output


def test_what_was_there_under_our_name_is_not_shown(person: Household) -> None:
    old = {"url": "http://x/s3cret-v4lue", "headers": {"Authorization": "Bearer s3cret-v4lue"}}
    other = {"command": "x", "args": ["--pin", "1234567"], "env": {"PASSWORD": "hunter2"}}
    file_of("cursor").parent.mkdir()
    file_of("cursor").write_text(
        json.dumps({"mcpServers": {"x": other, "customhouse": old}, "n": 1234567})
    )
    result = person.run("connect", "cursor", "--write", "--yes", "--url", URL)
    assert result.exit_code == 0
    assert '-         "Authorization": "..."' in result.stdout
    for secret in ("s3cret-v4lue", "hunter2", "1234567"):
        assert secret not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cret@tools.example.com/mcp",
        "https://tools.example.com/mcp?api_key=s3cret",
        "https://tools.example.com/${HOME}/mcp",
        "ftp://tools.example.com/mcp",
        "https://tools.example.com/mcp\n",
    ],
)
def test_a_url_that_does_not_belong_into_a_file_is_refused(person: Household, url: str) -> None:
    for command in (["connect", "cursor", "--write"], ["adopt", "cursor"]):
        result = person.run(*command, "--yes", "--url", url)
        assert result.exit_code == 2
        assert "s3cret" not in result.output
    assert not file_of("cursor").exists()


def test_a_key_that_will_go_in_clear_is_told(person: Household) -> None:
    told = "in clear: use https"
    assert told in person.run("connect", "cursor", "--url", "http://tools.example.com").stderr
    assert told not in person.run("connect", "cursor", "--url", "http://127.0.0.1:1").stderr


def test_no_client_fills_in_a_part_of_a_path(person: Household) -> None:
    words = ("connect", "cursor", "--url", URL, "--key", "file:/keys/${HOME}/key")
    assert person.refusal(*words)["exit_code"] == 2


def test_the_program_of_the_bridge_is_this_one(
    person: Household, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "customhouse").write_text("#!/bin/sh\n")
    (tmp_path / "customhouse").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    entry = person.ask("connect", "cursor", "--url", URL, "--key", "file:/key")["entry"]
    assert Path(entry["command"]).parent == Path(sys.executable).parent


def test_a_file_that_asks_for_the_key_in_its_own_way_is_left_alone(person: Household) -> None:
    """Such as by a program of the project's, which would be asked to make the key up."""
    asks = {"type": "command", "id": "customhouse-key", "command": "x"}
    file_of("vscode").parent.mkdir()
    file_of("vscode").write_text(json.dumps({"inputs": [asks], "servers": {}}))
    error = person.refusal("connect", "vscode", "--write", "--yes", "--url", URL)
    assert error["exit_code"] == 3


def test_what_the_entry_needs_beside_it_comes_back(person: Household) -> None:
    words = ("connect", "vscode", "--write", "--yes", "--url", URL)
    person.do(*words)
    whole = json.loads(file_of("vscode").read_text())
    file_of("vscode").write_text(json.dumps({"servers": whole["servers"]}))
    assert person.ask(*words)["changed"]
    assert json.loads(file_of("vscode").read_text()) == whole


@pytest.mark.parametrize(
    ("option", "mark", "name"),
    [
        ("server", "s", "k8s-eu1a2b3c"),
        ("toolset", "t", "q3y2024w7"),
    ],
)
def test_no_name_that_the_gateway_has_is_taken_for_a_secret(
    person: Household, option: str, mark: str, name: str
) -> None:
    one = f"{URL}/{mark}/{name}"
    ways = [("--url", URL, f"--{option}", name), ("--url", one), ("--url", f"{one}/search")]
    for way in ways:
        assert person.refusal("connect", "cursor", *way)["exit_code"] == 2
    settings = person.folder / "customhouse.toml"
    table = {"s": 'command = ["x"]', "t": 'tools = ["docs/get"]'}[mark]
    settings.write_text(f"{settings.read_text()}[{option}s.{name}]\n{table}\n")
    for way in ways:
        assert person.ask("connect", "cursor", *way)["entry"]["url"].startswith(one)
    for url in (f"{one}/a1b2c3d4e5f6", one.replace("/mcp/", "/a1b2c3d4/mcp/")):
        assert person.refusal("connect", "cursor", "--url", url)["exit_code"] == 2


def test_nor_is_the_name_of_a_server_that_was_added_by_a_command(shelf: Household) -> None:
    words = ("connect", "generic", "--url", URL, "--server", "customerrelationshipmanagement")
    assert shelf.refusal(*words)["exit_code"] == 2
    shelf.do("server", "add", words[-1], "--", *shelf.shelf)
    assert shelf.ask(*words)["entry"]["url"].endswith(words[-1])


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ([], "/token/mcp/search"),
        (["--server", "docs"], "/token/mcp/s/docs/search"),
        (["--toolset", "office"], "/token/mcp/t/office/search"),
        (["--url", "http://127.0.0.1:8123/mcp"], "/mcp/search"),
        (["--url", "http://127.0.0.1:8123/mcp/search"], "/mcp/search"),
    ],
    ids=str,
)
def test_a_client_is_pointed_at_the_two_tools_of_search(
    person: Household, words: list[str], path: str
) -> None:
    settings = person.folder / "customhouse.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1:0", "127.0.0.1:8123"))
    url = person.ask("connect", "cursor", "--search", *words)["entry"]["url"]
    assert url == f"http://127.0.0.1:8123{path}"
    assert endpoint_of(path) is not None
    assert leads_to({"url": url}, "http://127.0.0.1:8123/mcp")
    assert "cursor --check --search" in person.run("connect", "cursor", "--search").stderr


def test_nothing_is_searched_behind_a_url_that_is_no_endpoint(person: Household) -> None:
    refused = person.refusal("connect", "cursor", "--search", "--url", "https://a.example/x")
    assert refused["exit_code"] == 2


def test_what_is_said_next_is_about_the_same_file_and_gateway(
    person: Household, tmp_path: Path
) -> None:
    words = ["--url", URL, "--name", "gw", "--file", f"{tmp_path}/own.json", "--server", "docs"]
    said = person.run("connect", "cursor", "--write", "--yes", *words).stderr
    assert f"connect cursor --check --file {tmp_path}/own.json --name gw --url {URL}" in said
    assert "--server docs" in said
    assert "--yes" not in said


@pytest.mark.parametrize(
    "text",
    ['{"mcpServers": []}', '{"mcpServers": {}, "mcpServers": {}}', "{", "[]", "\xff"],
)
def test_a_file_that_cannot_be_changed_safely_is_left_alone(person: Household, text: str) -> None:
    file = file_of("cursor")
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    error = person.refusal("connect", "cursor", "--write", "--yes", "--url", URL)
    assert error["exit_code"] == 3
    assert file.read_bytes() == text.encode("latin-1")
    assert list(file.parent.iterdir()) == [file]


def test_a_project_cannot_lead_the_writing_out_of_it(person: Household) -> None:
    (Path.home() / "precious.json").write_text("{}")
    Path(".mcp.json").symlink_to(Path.home() / "precious.json")
    error = person.refusal("connect", "claude-code", "--write", "--yes", "--url", URL)
    assert error["exit_code"] == 3
    assert (Path.home() / "precious.json").read_text() == "{}"


def test_nothing_is_written_without_a_yes(person: Household) -> None:
    error = person.refusal("connect", "cursor", "--write", "--url", URL)
    assert error["what"] == "nobody is there to ask"
    assert not file_of("cursor").exists()


def test_toml_that_others_wrote_inline_is_printed_instead(person: Household) -> None:
    file = file_of("codex")
    file.parent.mkdir()
    file.write_text('mcp_servers = { x = { command = "x" } }\n')
    error = person.refusal("connect", "codex", "--write", "--yes", "--url", URL)
    assert error["fix"].endswith("customhouse connect codex")
    assert tomllib.loads(person.do("connect", "codex", "--url", URL))


def test_servers_beside_the_gateway_on_its_host_are_not_taken_for_it(person: Household) -> None:
    around = {"a": "https://tools.example.com/a/mcp", "b": "https://tools.example.com"}
    around["c"] = "https://tools.example.com:444/mcp"
    ours = {"d": f"{URL}/s/docs", "e": "https://tools.example.com/token/mcp/t/office"}
    entries = {name: {"url": url} for name, url in {**around, **ours}.items()}
    assert {name for name in entries if leads_to(entries[name], URL)} == {*ours}


def test_every_client_that_can_be_imported_can_be_connected() -> None:
    assert set(CLIENTS) == {*HTTP, "claude-desktop"}
    assert {CLIENTS[name].syntax for name in HTTP} == set(Syntax)
