"""The log from the command line: found, read, opened, proved, and shown to be broken."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from gateway.app.operations import calls
from gateway.app.operations.args import Args
from gateway.domain.model import Act
from tests.cli.fixtures import SECRET
from tests.cli.household import SETTINGS, Household, each


def codes(home: Household, *qualifiers: str) -> list[tuple[str, str]]:
    result = home.run("audit", "query", *qualifiers, "--json")
    return [(row["agent"], str(row.get("code", ""))) for row in json.loads(result.stdout)]


@pytest.mark.parametrize(
    ("qualifiers", "found"),
    [
        pytest.param(["kind:call"], [("bot", "")], id="calls with their outcomes"),
        pytest.param(["agent:bot", "kind:call,refused"], [("bot", ""), ("bot", "invalid_arguments")],
                     id="of one agent"),
        pytest.param(["agent:bot", "status:ok"], [("bot", "")], id="by how they ended"),
        pytest.param(["status:tool_error"], [], id="by how none of them ended"),
        pytest.param(["status:ok,refused", "agent:bot"], [("bot", ""), ("bot", "invalid_arguments")], id="by either end"),
        pytest.param(["status:in_flight"], [], id="none is in flight"),
        pytest.param(["tool:shelf/pay", "kind:call"], [("bot", "")], id="of one tool"),
        pytest.param(["tool:shelf/nothing"], [], id="of a tool that nobody called"),
        pytest.param(["code:forbidden"], [("guest", "forbidden")], id="by refusal"),
        pytest.param(["code:forbidden,invalid_arguments"],
                     [("bot", "invalid_arguments"), ("guest", "forbidden")], id="either"),
        pytest.param(["kind:refused", "-agent:guest"], [("bot", "invalid_arguments")], id="not"),
        pytest.param(["tool:shelf/p*", "kind:call"], [("bot", "")], id="by the beginning of a name"),
        pytest.param(["agent:g*", "kind:refused"], [("guest", "forbidden")], id="agents that begin so"),
        pytest.param(["kind:call", "since:1h"], [("bot", "")], id="within the hour"),
        pytest.param(["kind:call", "until:2001-01-01"], [], id="long ago"),
        pytest.param(["kind:call", "since:2001-01-01", "until:2001-01-02"], [], id="on one day"),
        pytest.param(["agent:nobody"], [], id="an agent that never called"),
        pytest.param(["agent:bot", "code:forbidden"], [], id="all must hold"),
    ],
)  # fmt: skip
def test_the_log_is_searched_by_qualifiers(
    busy: Household, qualifiers: list[str], found: list[tuple[str, str]]
) -> None:
    assert codes(busy, *qualifiers) == found


def test_the_newest_that_fit_come_in_order(busy: Household) -> None:
    rows = busy.ask("audit", "query", "kind:change", "--limit", "2")
    everything = busy.ask("audit", "query", "kind:change", "--limit", "100")
    assert rows == everything[-2:]
    assert [row["leaf"] for row in everything] == sorted(row["leaf"] for row in everything)


@pytest.mark.anyio
async def test_what_is_about_no_one_thing_is_shown_by_its_method(busy: Household) -> None:
    async with busy.open() as (house, _):
        who = calls._principal(house, "bot", "op")
        args = Args({"server": "shelf", "name": "pay"}, "server", "name", "arguments")
        listing = replace(
            calls._call(house, who, args), method="tools/list", name="*", act=Act.LIST,
            definition=None,
        )  # fmt: skip
        await house.ledger.enter(listing, house.policies.decide(listing))
    row = [*each(await anyio.to_thread.run_sync(busy.do, "audit", "query", "kind:single"))][-1]
    assert row[3] == "tools/list"


def test_a_query_knows_who_changed_what(busy: Household) -> None:
    (row,) = busy.ask("audit", "query", "what:agent.add", "subject:agent/guest")
    assert row["author"].startswith("uid:")
    assert SECRET not in json.dumps(row)
    piped = busy.do("audit", "query", "what:agent.add")
    assert [row[3] for row in each(piped)] == ["agent.add agent/bot", "agent.add agent/guest"]


def test_what_is_left_out_may_begin_with_any_letter(busy: Household) -> None:
    assert busy.ask("audit", "query", "kind:call")
    assert busy.run("audit", "query", "kind:call", "-server:shelf").exit_code == 1
    exported = busy.run("audit", "export", "kind:call", "-server:shelf")
    assert (exported.exit_code, "Usage" in exported.output) == (1, False)


def call_id(home: Household, *qualifiers: str) -> str:
    return str(home.ask("audit", "query", *qualifiers)[0]["call"])


def test_a_call_is_shown_from_end_to_end_by_the_beginning_of_its_id(busy: Household) -> None:
    whole = call_id(busy, "kind:call")
    shown = busy.ask("audit", "show", whole[:18].lower())
    intent, outcome = shown["entries"]
    assert shown["call"] == whole
    assert (intent["agent"], intent["object"]) == ("bot", "tool/shelf/pay")
    assert (outcome["status"], outcome["charged"]["calls"]) == ("ok", 1)
    assert "status" not in intent
    assert SECRET not in json.dumps(shown)
    assert busy.refusal("audit", "show", whole[:3])["exit_code"] == 6  # more than one begins so


def test_payloads_are_opened_with_the_key_and_each_look_is_an_entry(busy: Household) -> None:
    whole = call_id(busy, "kind:call")
    intent, outcome = busy.ask("audit", "show", whole, "--payloads")["entries"]
    assert SECRET in intent["arguments_opened"]
    assert "you said" in outcome["result_opened"]
    (look,) = busy.ask("audit", "query", "what:audit.payload_read")
    assert look["subject"] == f"call/{whole}"
    (row,) = busy.ask("audit", "query", "what:agent.add", "subject:agent/bot", "--payloads")
    assert row["note_opened"] == SECRET
    assert len(busy.ask("audit", "query", "what:audit.payload_read")) == 2


def test_without_the_key_payloads_stay_sealed_and_the_look_is_none(busy: Household) -> None:
    whole = call_id(busy, "kind:call")
    (busy.folder / "keys" / "payload.kek").rename(busy.folder / "kek")
    assert busy.refusal("audit", "show", whole, "--payloads")["exit_code"] == 3
    (busy.folder / "kek").rename(busy.folder / "keys" / "payload.kek")
    assert busy.run("audit", "query", "what:audit.payload_read").exit_code == 1


def test_a_payload_that_was_swapped_is_not_shown_as_the_one_that_was_committed_to(
    busy: Household,
) -> None:
    whole = call_id(busy, "kind:call")
    intent = busy.ask("audit", "show", whole)["entries"][0]
    with sqlite3.connect(busy.database) as connection:
        connection.execute(
            "UPDATE payloads SET sealed = zeroblob(40) WHERE leaf = ?", (intent["leaf"],)
        )
    opened = busy.ask("audit", "show", whole, "--payloads")["entries"][0]["arguments_opened"]
    assert "altered" in opened


def test_the_tail_ends_with_the_newest_entry(busy: Household) -> None:
    lines = [
        json.loads(line) for line in busy.do("audit", "tail", "-n", "3", "--json").splitlines()
    ]
    assert lines[-1]["kind"] == "close"
    assert len(lines) <= 3
    assert busy.do("audit", "tail", "-n", "0") == ""


def test_a_proof_is_verified_by_somebody_who_has_nothing_but_the_key(
    busy: Household, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    proof, vkey = elsewhere / "call.proof", elsewhere / "log.vkey"
    busy.do("audit", "prove", call_id(busy, "kind:call"), "--out", str(proof))
    shutil.copy(busy.folder / "keys" / "log.vkey", vkey)
    (elsewhere / "customhouse.toml").write_text(SETTINGS)
    auditor = Household(elsewhere)
    proved = auditor.ask("audit", "verify", "--proof", str(proof), "--vkey", str(vkey))
    kinds = [json.loads(one["entry"])["k"] for one in proved["entries"]]
    assert (proved["proved"], kinds) == (True, ["intent", "outcome"])
    assert SECRET not in proof.read_text()


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda text: text.replace("index ", "index 1", 1), id="another index"),
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "once upon a time", id="not a proof"),
        pytest.param(
            lambda text: text[:-20] + ("B" if text[-20] == "A" else "A") + text[-19:],
            id="another signature",
        ),
        pytest.param(lambda text: "", id="empty"),
    ],
)
def test_a_proof_that_was_altered_proves_nothing(
    busy: Household, alter: Callable[[str], str], tmp_path: Path
) -> None:
    path = tmp_path / "call.proof"
    busy.do("audit", "prove", call_id(busy, "kind:call"), "--out", str(path))
    path.write_text(alter(path.read_text()))
    error = busy.refusal("audit", "verify", "--proof", str(path))
    assert error["exit_code"] == 1
    assert "proves nothing" in error["what"]


def tampered(home: Household, *statements: str) -> Path:
    """A copy of the database whose guards were taken off, and which was then changed."""
    path = home.folder / "copy.db"
    with sqlite3.connect(home.database) as source, sqlite3.connect(path) as copy:
        source.backup(copy)
        for trigger in ("entries_in_order", "entries_never_change", "entries_stay"):
            copy.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            copy.execute(statement)
    source.close()
    copy.close()
    return path


TAMPERED = [
    pytest.param(
        ["UPDATE entries SET body = CAST(replace(body, 'tools/call', 'tools/cail') AS BLOB)"],
        "altered", id="a byte changed",
    ),
    pytest.param(["DELETE FROM entries WHERE idx = 5"], "removed", id="an entry removed"),
    pytest.param(
        ["UPDATE entries SET idx = -1 WHERE idx = 5", "UPDATE entries SET idx = 5 WHERE idx = 6",
         "UPDATE entries SET idx = 6 WHERE idx = -1"],
        "reordered", id="two entries swapped",
    ),
    pytest.param(
        ["DELETE FROM entries WHERE idx > (SELECT MAX(idx) - 3 FROM entries)"],
        "truncated", id="the tail cut off",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "code"), TAMPERED)
def test_tampering_with_a_copy_is_found_and_named(
    busy: Household, statements: list[str], code: str
) -> None:
    path = tampered(busy, *statements)
    result = busy.run("audit", "verify", "--copy", str(path))
    assert result.exit_code == 1
    assert f"{code} (" in result.stdout
    assert "NOT verified" in result.stdout
    assert busy.ask("audit", "verify")["clean"]


def test_a_tail_cut_off_with_its_head_needs_a_remembered_checkpoint(busy: Household) -> None:
    copy = busy.folder / "old"
    copy.mkdir()
    with sqlite3.connect(busy.database) as source, sqlite3.connect(copy / "customhouse.db") as old:
        source.backup(old)
    busy.do("agent", "add", "later")
    alone = busy.run("audit", "verify", "--copy", str(copy))
    assert alone.exit_code == 0
    assert "cannot be seen" in alone.stderr
    kept = str(busy.folder / "keys" / "checkpoint")
    result = busy.run("audit", "verify", "--copy", str(copy), "--at-least", kept)
    assert result.exit_code == 1
    assert "truncated (" in result.stdout


def test_verify_needs_the_right_key(
    busy: Household, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Household(tmp_path_factory.mktemp("other"))
    other.write()
    other.do("agent", "add", "bot")
    key = other.folder / "keys" / "log.vkey"
    assert busy.run("audit", "verify", "--vkey", str(key)).exit_code == 1
    key.write_text("not a key\n")
    assert busy.refusal("audit", "verify", "--vkey", str(key))["exit_code"] == 3


def test_a_refusal_of_a_known_tool_is_found_by_its_name(busy: Household) -> None:
    for agent, name, code in (
        ("bot", "pay", "invalid_arguments"),
        ("guest", "fail", "forbidden"),
    ):
        (row,) = busy.ask("audit", "query", f"tool:shelf/{name}", f"code:{code}")
        assert (row["agent"], row["object"]) == (agent, f"tool/shelf/{name}")


def test_a_name_that_was_invented_is_not_repeated(busy: Household) -> None:
    busy.run("tool", "call", "--as", "bot", "shelf/invented")
    (row,) = busy.ask("audit", "query", "code:unknown_object")
    assert row["object"] == "tool/?"


def test_the_deciding_rule_is_shown_with_its_place_and_text(busy: Household) -> None:
    whole = call_id(busy, "kind:call")
    intent = busy.ask("audit", "show", whole)["entries"][0]
    assert intent["rule_place"] == "policy.csv:1"
    assert intent["rule_text"] == "p, clerk, default, tool/shelf/*, call, -, allow"
    busy.policy("p, clerk, default, tool/other/*, call, -, allow")
    busy.do("policy", "apply")
    assert "rule policy.csv:1" in busy.do("audit", "query", "kind:call")
    assert "tool/shelf/*" in busy.do("audit", "show", whole)  # as it was when it decided
