"""Files of clients: what each writes becomes a server of ours, and what cannot says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config import ConfigError
from gateway.config.clients import (
    CLIENTS,
    Scope,
    Syntax,
    located,
    places_of,
    read_document,
    read_file,
    recognised,
    table_keys,
)
from gateway.config.sources import Format, format_of, read_source
from tests.config.importing import HOME, TOKEN, WORK, imported, only


def test_claude_desktop_starts_programs() -> None:
    text = """{"mcpServers": {"File System": {"command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv/docs"],
      "env": {"LOG_LEVEL": "debug"}}}, "globalShortcut": "x"}"""
    found = imported(text, "/home/me/.config/Claude/claude_desktop_config.json")["File System"]
    assert (found.name, found.left_out, found.references) == ("file-system", "", ())
    assert found.table == {
        "command": ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/docs"],
        "env": {"LOG_LEVEL": "debug"},
    }


def test_claude_code_names_its_transport_and_refers_to_variables() -> None:
    text = """{"mcpServers": {
      "docs": {"type": "http", "url": "https://docs.example.com/mcp",
               "headers": {"Authorization": "Bearer ${DOCS_TOKEN}"}},
      "old": {"type": "sse", "url": "https://old.example.com/sse"},
      "tool": {"type": "stdio", "command": "./run.sh", "args": ["--mode", "${MODE:-fast}"],
               "env": {"API_KEY": "${API_KEY:-}", "LEVEL": "${LEVEL:-info}"}},
      "helped": {"type": "http", "url": "https://h.example.com/mcp", "headersHelper": "/bin/sh x"}}}"""
    found = imported(text, str(WORK / ".mcp.json"))
    assert found["docs"].table == {
        "url": "https://docs.example.com/mcp",
        "auth": "env:UPSTREAM_DOCS_TOKEN",
    }
    assert found["old"].findings == ("it speaks HTTP+SSE, the transport of 2024",)
    assert found["tool"].table == {
        "command": ["./run.sh", "--mode", "fast"],
        "cwd": str(WORK),
        "env": {"API_KEY": "env:UPSTREAM_TOOL_API_KEY", "LEVEL": "info"},
    }
    assert "it is never run" in found["helped"].left_out


def test_vs_code_asks_for_inputs_and_writes_comments() -> None:
    text = """{
      // our servers
      "inputs": [{"type": "promptString", "id": "gh-token", "password": true}],
      "servers": {
        "gh": {"type": "http", "url": "https://api.example.com/mcp/",
               "headers": {"Authorization": "Bearer ${input:gh-token}"}},
        "local": {"type": "stdio", "command": "python", /* ours */
                  "args": ["${workspaceFolder}/server.py", "${userHome}${/}x"],
                  "env": {"TOKEN": "${input:gh-token}", "REGION": "${env:REGION}"},
                  "envFile": "${workspaceFolder}/.env"},
        "asks": {"command": "x", "args": ["${command:pick}"]},
      },
    }"""
    found = imported(text, str(WORK / ".vscode/mcp.json"))
    assert found["gh"].table["auth"] == "env:UPSTREAM_GH_TOKEN"
    told = "its token: the client asks for it; set UPSTREAM_GH_TOKEN for the gateway"
    assert found["gh"].findings == (told,)
    assert found["local"].table == {
        "command": ["python", f"{WORK}/server.py", f"{HOME}/x"],
        "env": {
            "TOKEN": "env:UPSTREAM_LOCAL_GH_TOKEN",
            "REGION": "env:UPSTREAM_LOCAL_REGION",
        },
    }
    assert "its envFile is not read; give what it holds with --env" in found["local"].findings
    assert found["asks"].left_out.startswith("word 2 of its command needs command:pick")


def test_cursor_writes_a_url_alone() -> None:
    text = """{"mcpServers": {
      "a": {"url": "https://a.example.com/mcp", "headers": {"Authorization": "Bearer ${env:A}"}},
      "b": {"url": "https://b.example.com/mcp", "disabled": true}}}"""
    found = imported(text, "/home/me/.cursor/mcp.json")
    assert found["a"].table == {"url": "https://a.example.com/mcp", "auth": "env:UPSTREAM_A_A"}
    assert found["b"].left_out == "its client has it switched off"
    assert found["b"].table  # so that it can be asked for


def test_codex_writes_toml_and_names_variables() -> None:
    text = """
model = "x"
[mcp_servers.time]
command = "uvx"
args = ["mcp-server-time"]
env_vars = ["TZ_KEY"]
cwd = "/srv"
enabled_tools = ["get_time"]
disabled_tools = ["set_time"]
startup_timeout_sec = 5
tool_timeout_sec = 30
[mcp_servers.remote]
url = "https://r.example.com/mcp"
bearer_token_env_var = "R_TOKEN"
[mcp_servers.regional]
url = "https://r.example.com/mcp"
http_headers = { "X-Region" = "eu" }
[mcp_servers.whole]
url = "https://r.example.com/mcp"
env_http_headers = { "Authorization" = "WHOLE_HEADER" }
[mcp_servers.off]
command = "x"
enabled = false
"""
    found = imported(text, "/home/me/.codex/config.toml")
    assert found["time"].table == {
        "command": ["uvx", "mcp-server-time"],
        "cwd": "/srv",
        "env": {"TZ_KEY": "env:UPSTREAM_TIME_TZ_KEY"},
        "tools": ["get_time"],
        "timeout_s": 30.0,
    }
    assert found["time"].findings == (
        "TZ_KEY: the client takes it from TZ_KEY; set UPSTREAM_TIME_TZ_KEY for the gateway",
        "its client hides these tools, do not approve them: set_time",
    )
    assert found["remote"].table["auth"] == "env:UPSTREAM_REMOTE_R_TOKEN"
    assert "'X-Region'" in found["regional"].left_out
    assert found["whole"].left_out == "its Authorization is not a bearer token"
    assert found["off"].left_out == "its client has it switched off"


def test_gemini_means_another_transport_by_url() -> None:
    text = """{"theme": "x", // kept
      "mcpServers": {
        "new": {"httpUrl": "https://n.example.com/mcp", "timeout": 5000, "trust": true,
                "includeTools": ["find(x)"], "headers": {"Authorization": "Bearer $N_TOKEN"}},
        "old": {"url": "https://o.example.com/sse", "excludeTools": ["drop"]}}}"""
    found = imported(text, "/home/me/.gemini/settings.json")
    assert found["new"].table == {
        "url": "https://n.example.com/mcp",
        "auth": "env:UPSTREAM_NEW_N_TOKEN",
        "tools": ["find"],
        "timeout_s": 5.0,
    }
    assert found["new"].findings == (
        "its token: the client takes it from N_TOKEN; set UPSTREAM_NEW_N_TOKEN for the gateway",
        "trust is not taken over: here a person approves tools",
    )
    assert "HTTP+SSE" in found["old"].findings[0]
    # The same words in Cursor's file are Streamable HTTP.
    assert (
        imported(text.replace("// kept", ""), "/home/me/.cursor/mcp.json")["old"].findings[0][:10]
        == "its client"
    )


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ([], "not a table"),
        ({}, "neither a command nor a URL"),
        ({"command": "x", "url": "https://x.example"}, "or both"),
        ({"command": ["x"]}, "not texts"),
        ({"command": "x", "args": "y"}, "not texts"),
        ({"command": "x", "args": [1]}, "not texts"),
        ({"command": "x", "args": ["a\x1b[2J"]}, "command: expected a string"),
        ({"command": "x", "args": ["${SECRET}"]}, "needs SECRET"),
        ({"command": "x", "env": {"a b": "1"}}, "env: expected names"),
        ({"command": "x", "env": ["A=1"]}, "env is not a table"),
        ({"command": "x", "env": {"A": "${config:x}"}}, "A needs config:x"),
        ({"type": "ws", "url": "wss://x.example"}, "'ws'"),
        ({"url": 1}, "its URL is not a text"),
        ({"url": "file:///etc/passwd"}, "url: expected a URL"),
        ({"url": "https://me:pw@x.example/mcp"}, "looks like a secret"),
        ({"url": "https://x.example/s/aB3dE5gH7jK9mN1pQ2rS"}, "looks like a secret"),
        ({"url": "https://x.example/u/k3y-hunter27/sse"}, "looks like a secret"),
        ({"url": "https://${HOST}/mcp"}, "needs HOST"),
    ],
)
def test_what_cannot_be_taken_in_says_why(entry: Any, why: str) -> None:
    found = only(entry)
    assert why in found.left_out
    assert found.table == {}


def test_the_folder_of_a_process_is_that_of_its_project() -> None:
    assert only({"command": "x", "cwd": "sub"}).table["cwd"] == f"{WORK}/sub"
    assert only({"command": "x", "cwd": "~/sub"}).table["cwd"] == f"{HOME}/sub"
    assert only({"command": "x", "args": ["./y"]}).table["cwd"] == str(WORK)
    text = '{"mcpServers": {"a": {"command": "x", "cwd": "sub"}, "b": {"command": "./x"}}}'
    found = imported(text, "/home/me/.cursor/mcp.json")
    assert found["a"].left_out == "its cwd is relative, and nothing says to what"
    assert found["b"].findings == ("a path in its command is relative; say where with --cwd",)


@pytest.mark.parametrize("limit", [0, -1, 10**400, True, "5", None])
def test_a_limit_that_is_none_is_left_away(limit: Any) -> None:
    found = only({"command": "x", "tool_timeout_sec": limit})
    assert found.left_out == ""
    assert "timeout_s" not in found.table


def test_a_key_that_nothing_here_corresponds_to_is_said() -> None:
    found = only({"command": "x", "sandbox": {"network": False}, "autoApprove": ["a"]})
    assert found.findings == (
        "autoApprove is not taken over: here a person approves tools",
        "sandbox was not taken over: nothing here corresponds to it",
    )


def test_names_that_become_the_same_are_told_apart_by_a_person() -> None:
    text = json.dumps({"mcpServers": {"My Tool": {"command": "a"}, "my-tool": {"command": "b"}}})
    found = imported(text, ".mcp.json")
    assert found["My Tool"].name == "my-tool"
    assert (found["my-tool"].name, found["my-tool"].left_out[:20]) == ("", "another one is my-to")
    assert imported('{"mcpServers": {"\\u6771\\u4eac": {"command": "a"}}}', ".mcp.json")[
        "\u6771\u4eac"
    ].left_out.endswith("add it with --as NAME")


def test_servers_of_projects_in_a_persons_file_are_mentioned() -> None:
    text = json.dumps({"mcpServers": {}, "projects": {"/w": {"mcpServers": {"a": {}}}, "/v": {}}})
    source = read_source(text, Format.CLAUDE_CODE, HOME / ".claude.json", HOME)
    assert source.findings == ("1 projects in this file have servers of their own; not read here",)


@pytest.mark.parametrize(
    ("file", "text", "form"),
    [
        ("/x/claude_desktop_config.json", "{}", Format.CLAUDE_DESKTOP),
        ("/x/.mcp.json", "{}", Format.CLAUDE_CODE),
        ("/x/.cursor/mcp.json", '{"servers": {}}', Format.CURSOR),
        ("/x/.vscode/mcp.json", '{"mcpServers": {}}', Format.VSCODE),
        ("/x/Code/User/mcp.json", "{}", Format.VSCODE),
        ("/x/.codex/config.toml", "", Format.CODEX),
        ("/x/other.toml", "", Format.CODEX),
        ("/x/.gemini/settings.json", "{}", Format.GEMINI),
        ("/x/api.yaml", "openapi: 3.0.0", Format.OPENAPI),
        ("/x/a.json", '{"openapi": "3.0.0"}', Format.OPENAPI),
        ("/x/a.json", '{"swagger": "2.0"}', Format.OPENAPI),
        ("/x/a.json", '{"name": "a/b", "packages": []}', Format.REGISTRY),
        ("/x/a.json", '{"server": {"name": "a/b", "remotes": []}}', Format.REGISTRY),
        ("/x/a.json", '{"servers": {}} // c', Format.VSCODE),
        ("/x/a.json", '{"mcpServers": {"a": {"url": "x"}}}', Format.CLAUDE_CODE),
        ("/x/a.json", '{"mcpServers": {"a": {"httpUrl": "x"}}}', Format.GEMINI),
    ],
)
def test_a_file_is_known_by_its_name_and_else_by_its_shape(
    file: str, text: str, form: Format
) -> None:
    assert format_of(Path(file), text) is form


@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"mcpServers": []}', "nonsense"])
def test_what_is_none_of_them_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        format_of(Path("/x/a.json"), text)
    assert "--format" in refused.value.fix


def test_a_file_that_cannot_be_read_is_never_quoted() -> None:
    for syntax in Syntax:
        with pytest.raises(ConfigError) as refused:
            read_document(f'{{"a": "{TOKEN}" oops', syntax)
        assert TOKEN not in str(refused.value)


def test_comments_and_commas_are_read_where_a_client_allows_them() -> None:
    text = '{"a": "// no /* comment */ ,}", /* c */ "b": [1, 2, /* d */ ], // e\n}'
    assert read_document(text, Syntax.JSONC) == {"a": "// no /* comment */ ,}", "b": [1, 2]}
    with pytest.raises(ConfigError):
        read_document(text, Syntax.JSON)


def test_only_whole_files_are_read(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"x" * 11)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "missing", big, binary, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_file(path, most_bytes=10)


def test_the_places_of_each_client_lead_to_its_files() -> None:
    for client in CLIENTS.values():
        for system in ("linux", "darwin", "win32"):
            places = list(places_of(client, system))
            assert places, (client.name, system)
            for place in places:
                file = located(place, HOME, WORK, {"APPDATA": "/roaming"})
                assert file.is_absolute()
                assert recognised(file) is client
    (local,) = places_of(CLIENTS["claude-code"], "linux", Scope.LOCAL)
    assert table_keys(local, WORK) == ("projects", str(WORK), "mcpServers")
