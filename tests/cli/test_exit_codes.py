"""Exit codes are a promise to scripts: one row for each way a command can end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.app.operations import table
from gateway.cli.main import main
from tests.cli.household import Household, tool

Prepare = Callable[[Household], object]


def nothing(_home: Household) -> None:
    return


def with_agent(home: Household) -> None:
    home.do("agent", "add", "bot", "--role", "reader")


def with_broken_settings(home: Household) -> None:
    (home.folder / "customhouse.toml").write_text('lissten = "127.0.0.1:1"\n')


def with_broken_policy(home: Household) -> None:
    home.policy("p, reader, default, tool/*, call, missing, allow")


def with_failing_case(home: Household) -> None:
    cases = home.folder / "policies" / "cases" / "first.toml"
    cases.write_text('[[case]]\nname="x"\nrole="reader"\nobject="tool/a/b"\nexpect="allow"\n')


def with_lost_key(home: Household) -> None:
    with_agent(home)
    (home.folder / "keys" / "log.ed25519").unlink()


def with_tool(home: Household) -> None:
    home.lists(tool("add"))
    home.do("server", "add", "shelf", "--", *home.shelf)


def with_tampered_log(home: Household) -> None:
    import sqlite3

    with_agent(home)
    with sqlite3.connect(home.database) as connection:
        connection.execute("DROP TRIGGER entries_never_change")
        connection.execute("UPDATE entries SET body = replace(body, '1', '2') WHERE idx = 1")


def with_damaged_database(home: Household) -> None:
    with_agent(home)
    home.database.write_bytes(b"SQLite format 3\0" + b"\xff" * 8_000)


ENDS = [
    pytest.param(nothing, "config check", 0, id="0 a configuration that is right"),
    pytest.param(nothing, "policy test", 0, id="0 cases as expected"),
    pytest.param(with_agent, "policy can-i bot admin/x --act call", 1, id="1 may not"),
    pytest.param(with_failing_case, "policy test", 1, id="1 a case fails"),
    pytest.param(with_agent, "audit query agent:nobody", 1, id="1 nothing found"),
    pytest.param(with_agent, "audit show 01ABC", 1, id="1 no such call"),
    pytest.param(with_tampered_log, "audit verify", 1, id="1 tampering found"),
    pytest.param(nothing, "agent disable nobody", 1, id="1 no such agent"),
    pytest.param(nothing, "policy can-i nobody a/b", 1, id="1 no such agent to ask about"),
    pytest.param(nothing, "policy explain nobody a/b", 1, id="1 the same for an explanation"),
    pytest.param(with_agent, "key issue nobody", 1, id="1 the same for a key"),
    pytest.param(with_agent, "key list nobody", 1, id="1 the same for its keys"),
    pytest.param(with_agent, "budget show nobody", 1, id="1 the same for its budget"),
    pytest.param(with_agent, "budget show bot", 0, id="0 an agent without limits"),
    pytest.param(with_tool, "tool call --as nobody shelf/add", 1, id="1 the same for a call"),
    pytest.param(nothing, "agent add", 2, id="2 an argument is missing"),
    pytest.param(nothing, "agent add BOT", 2, id="2 not a name"),
    pytest.param(nothing, "agent add bot --colour red", 2, id="2 an unknown option"),
    pytest.param(with_agent, "audit query colour:red", 2, id="2 an unknown qualifier"),
    pytest.param(with_agent, "policy can-i bot", 2, id="2 no object"),
    pytest.param(with_tool, "tool approve shelf/add", 2, id="2 nobody to ask"),
    pytest.param(with_broken_settings, "config check", 3, id="3 an unknown key"),
    pytest.param(with_broken_settings, "agent add bot", 3, id="3 the same for a change"),
    pytest.param(with_broken_policy, "policy check", 3, id="3 an invalid policy"),
    pytest.param(with_broken_policy, "config check", 3, id="3 an invalid policy is one of it"),
    pytest.param(with_broken_policy, "agent add bot", 3, id="3 no house with such a policy"),
    pytest.param(with_lost_key, "agent add other", 3, id="3 the signing key is gone"),
    pytest.param(with_damaged_database, "agent list", 3, id="3 a damaged database"),
    pytest.param(with_damaged_database, "audit verify", 3, id="3 nothing that can be verified"),
    pytest.param(nothing, "audit verify", 3, id="3 nothing to verify yet"),
    pytest.param(nothing, "audit verify --copy no.db", 3, id="3 no such copy"),
    pytest.param(nothing, "server add x -- /nonexistent/x", 5, id="5 a server does not answer"),
    pytest.param(with_agent, "agent add bot", 6, id="6 the name is taken"),
    pytest.param(
        with_tool, "tool approve shelf/add --digest 0000000000", 6, id="6 it changed meanwhile"
    ),
]


@pytest.mark.parametrize(("prepare", "command", "code"), ENDS)
def test_how_a_command_ends(home: Household, prepare: Prepare, command: str, code: int) -> None:
    prepare(home)
    result = home.run(*command.split())
    assert result.exit_code == code, result.output


def test_an_error_says_what_why_and_how_to_mend_it(home: Household) -> None:
    result = home.run("agent", "disable", "nobody")
    _, first, second, third = result.stderr.splitlines()
    assert first.startswith("error: there is no agent 'nobody'")
    assert second.startswith("  why: ")
    assert third.startswith("  fix: ")
    assert result.stdout == ""


def test_a_bug_ends_with_70_and_leaves_a_report(
    home: Household, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("unthinkable")

    monkeypatch.setattr(table, "OPERATIONS", {"agent.add": broken})
    monkeypatch.setattr("gateway.app.operations.administration.OPERATIONS", {"agent.add": broken})
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    error = home.refusal("agent", "add", "bot")
    assert error["exit_code"] == 70
    (report,) = tmp_path.glob("customhouse-*.txt")
    assert "unthinkable" in report.read_text()
    assert str(report) in error["fix"]


def test_the_first_error_is_json_when_json_was_asked_for() -> None:
    result = CliRunner().invoke(main, ["config", "show", "--config", "/nonexistent", "--json"])
    assert json.loads(result.stderr)["error"]["exit_code"] == result.exit_code == 3
