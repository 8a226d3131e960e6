"""Secrets in other people's files: never taken over, never shown, always told."""

import json
from typing import Any

import pytest

from gateway.config.sources import Candidate
from tests.config.importing import TOKEN, imported, only


def env(**variables: Any) -> Candidate:
    return only({"command": "x", "env": variables})


def test_a_secret_in_the_file_becomes_a_reference_and_is_told() -> None:
    found = env(API_KEY=TOKEN)
    assert found.table["env"] == {"API_KEY": "env:UPSTREAM_SRV_API_KEY"}
    assert found.findings == (
        "API_KEY: its value was not taken over; set UPSTREAM_SRV_API_KEY for the gateway",
    )
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("API_KEY", "abc"),
        ("API_TOKEN", ""),
        ("LETTERS", "abcdefghijklmnopqrstuvwxyz"),
        ("apiKey", "abc"),
        ("GITHUB_PAT", "abc"),
        ("DB_PASSWORD", "1"),
        ("VALUE", TOKEN),
        ("DATABASE", "postgres://me:hunter2@db.example/x"),
        ("HOOK", "https://hooks.example.com/services/T0/B0/aBcDeFgHiJkLmNoPqRsTuVwX1234"),
        ("BASE", "https://api.example.com/?token=abcdef"),
        ("MAYBE", "q8Zr0vTn2LxW5yKc"),
        ("FILE", "file:/etc/passwd"),
        ("OTHER", "env:AWS_SECRET_ACCESS_KEY"),
        ("ODD", "a\nb"),
        ("MIXED", "prefix ${X} suffix"),
        ("DB_PW", "hunter2"),
        ("ADMINPW", "hunter2"),
        ("PGPASS", "Tr0ub4dor"),
        ("MYPASSWD", "hunter2"),
        ("PASSCODE", "123456"),
        ("PIN", "482913"),
        ("USER_OTP", "482913"),
        ("MNEMONIC", "abandon ability able about above"),
        ("ACCESS", "S3CR9tzzacce"),
        ("CONN", "Server=db;Pwd=hunter22"),
        ("BASE", "https://api.example.com/u/k3y-hunter27/sse"),
    ],
)
def test_what_is_not_surely_harmless_is_taken_for_a_secret(key: str, value: str) -> None:
    found = env(**{key: value})
    assert found.table["env"][key].startswith("env:UPSTREAM_SRV_")
    assert not value or value not in repr(found)


@pytest.mark.parametrize(
    "value",
    [
        *("debug", "1", "8080", "true", "-0.5", "/usr/bin:/bin", "~/x", "./a b", "Europe/Berlin"),
        *("en_US.UTF-8", "https://api.example.com/v1", "http://127.0.0.1:3000", "1.2.3-beta.4"),
        *("us-east-1a", "x86_64", "gpt-4o-mini", "https://x.example/2025-11-25/v1beta1/mcp"),
    ],
)
def test_what_is_harmless_is_taken_over(value: str) -> None:
    found = env(SETTING=value)
    assert (found.table["env"], found.findings) == ({"SETTING": value}, ())


def test_two_servers_never_share_a_made_up_variable() -> None:
    text = json.dumps(
        {"mcpServers": {n: {"command": "x", "env": {"API_KEY": "s"}} for n in ("a", "b")}}
    )
    found = imported(text, ".mcp.json")
    assert found["a"].references == ("env:UPSTREAM_A_API_KEY",)
    assert found["b"].references == ("env:UPSTREAM_B_API_KEY",)


@pytest.mark.parametrize(
    "words",
    [
        ["x", "--api-key", "abc"],
        ["x", "--token=abc"],
        ["x", TOKEN],
        ["x", "postgresql://me:hunter2@db/x"],
        ["mcp-remote", "https://x.example/sse", "--header", "Authorization: Bearer abc"],
        ["docker", "run", "-e", "API_KEY=abc", "image"],
        ["x", "https://x.example/?key=abc"],
        ["x", "q8Zr0vTn2LxW5yKcJ7hB3mPd"],
        ["x", "--pw", "abc"],
        ["x", "--pin", "1234"],
        ["x", "--otp=1234"],
        ["x", "--passcode", "abc"],
        ["x", "-p", "s3cret9"],
        ["mcp-remote", "https://x.example/u/k3y-hunter27/sse"],
        ["mcp-remote", "https://x.example/s/aB3dE5gH7jK9mN1pQ2rS"],
    ],
)
def test_a_command_with_a_secret_in_it_is_left_out(words: list[str]) -> None:
    found = only({"command": words[0], "args": words[1:]})
    assert "looks like a secret" in found.left_out
    assert (found.table, "abc" in repr(found), TOKEN in repr(found)) == ({}, False, False)


@pytest.mark.parametrize(
    "words",
    [
        ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/docs"],
        ["uvx", "mcp-server-time==2026.10.19", "--local-timezone", "Europe/Berlin"],
        ["docker", "run", "-i", "--rm", "-e", "API_KEY", "ghcr.io/github/github-mcp-server"],
        ["node", "/home/me/some-project-2024/dist/index.js", "--key-file", "./key.pem"],
        ["docker", "run", "-p", "8080:80", "image"],
        ["npx", "-y", "-p", "@scope/pkg@1.2.3", "bin"],
        ["uvx", "-p", "python3.12", "mcp-server-time"],
        ["mcp-remote", "https://mcp.example.com/v1/mcp"],
    ],
)
def test_a_usual_command_is_none(words: list[str]) -> None:
    found = only({"command": words[0], "args": words[1:]})
    assert (found.left_out, found.table["command"]) == ("", words)


@pytest.mark.parametrize(
    ("headers", "auth", "left_out"),
    [
        ({"Authorization": "Bearer ${X}"}, "env:UPSTREAM_SRV_X", ""),
        ({"authorization": f"bearer {TOKEN}"}, "env:UPSTREAM_SRV_TOKEN", ""),
        ({"Authorization": "Bearer a${X}"}, "env:UPSTREAM_SRV_TOKEN", ""),
        ({"Authorization": "Basic abc"}, None, "not a bearer token"),
        ({"Authorization": "${X}"}, None, "not a bearer token"),
        ({"X-Api-Key": "${X}"}, None, "'X-Api-Key'"),
        ({"X-MCP-Readonly": "true"}, None, "'X-MCP-Readonly'"),
        ({"Accept": "x", "User-Agent": "y"}, None, ""),
    ],
)
def test_only_a_bearer_token_goes_along_and_never_as_it_stands(
    headers: dict[str, str], auth: str | None, left_out: str
) -> None:
    found = only({"type": "http", "url": "https://x.example/mcp", "headers": headers})
    assert left_out in found.left_out
    assert found.table.get("auth") == auth
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    "variable",
    [
        *("LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS"),
        *("PATH", "npm_config_registry", "BASH_ENV", "RUBYOPT", "JAVA_TOOL_OPTIONS"),
    ],
)
def test_a_variable_that_decides_which_code_runs_is_pointed_at(variable: str) -> None:
    told = f"{variable} decides which code its program runs: read what it is set to"
    assert told in env(**{variable: "/tmp/x.so"}).findings
    assert told in env(**{variable: f"${{{variable}}}"}).findings
    package = {
        "registryType": "npm",
        "identifier": "x",
        "version": "1.0.0",
        "environmentVariables": [{"name": variable, "value": "/tmp/x.so"}],
    }
    published = json.dumps({"name": "io.x/srv", "packages": [package]})
    assert told in imported(published, "server.json")["io.x/srv"].findings


@pytest.mark.parametrize("variable", ["PYTHONUNBUFFERED", "NODE_ENV", "DATA_PATH", "LANG"])
def test_a_variable_that_does_not_is_not(variable: str) -> None:
    assert env(**{variable: "1"}).findings == ()
