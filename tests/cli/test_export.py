"""The log for other systems: in their formats, proved there, and found out when it was changed."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateway.audit.export import COLUMNS
from tests.cli.fixtures import SECRET
from tests.cli.household import Household
from tests.cli.tampering import (
    a_key_more,
    a_name_too_many,
    a_number_that_reads_alike,
    another_entry,
    another_log,
    another_name,
    another_status,
    consistently_altered,
    no_proof,
    the_outcome_of_another,
    the_proof_of_another,
    twice,
    two_names_exchanged,
)

Json = dict[str, Any]
TEXT = {"type": "string", "minLength": 1}
WHOLE = {"type": "integer", "minimum": 0}
NAMED = {"type": "object", "properties": {"name": TEXT, "uid": TEXT}, "minProperties": 1}

# CloudEvents 1.0, JSON format: required attributes, and what the optional ones look like.
CLOUDEVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": TEXT,
        "source": {**TEXT, "format": "uri-reference"},
        "type": TEXT,
        "subject": TEXT,
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object"},
    },
    # Names of extensions are lower case letters and digits.
    "patternProperties": {"^[a-z0-9]{1,20}$": {}},
    "additionalProperties": False,
}
# OCSF 1.3, class API Activity: what it requires, and the types of what we fill in.
OCSF = {
    "type": "object",
    "required": [
        *("activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id"),
        *("metadata", "actor", "api", "src_endpoint"),
    ],
    "properties": {
        "activity_id": {"enum": [0, 1, 2, 3, 4, 99]},
        "activity_name": TEXT,
        "category_uid": {"const": 6},
        "class_uid": {"const": 6003},
        "type_uid": {"enum": [600300, 600301, 600302, 600303, 600304, 600399]},
        "time": {"type": "integer", "minimum": 1_500_000_000_000, "maximum": 9_999_999_999_999},
        "severity_id": {"enum": [0, 1, 2, 3, 4, 5, 6, 99]},
        "status_id": {"enum": [0, 1, 2, 99]},
        "status_code": TEXT,
        "count": WHOLE,
        "duration": WHOLE,
        "start_time": WHOLE,
        "end_time": WHOLE,
        "metadata": {
            "type": "object",
            "required": ["version", "product"],
            "properties": {
                "version": {"const": "1.3.0"},
                "product": {
                    "type": "object",
                    "required": ["vendor_name"],
                    "properties": {"name": TEXT, "vendor_name": TEXT},
                    "additionalProperties": False,
                },
                "uid": TEXT,
                "log_name": TEXT,
                "sequence": WHOLE,
                "original_time": TEXT,
                "correlation_uid": TEXT,
            },
            "additionalProperties": False,
        },
        "actor": {
            "type": "object",
            "required": ["user"],
            "properties": {
                "user": {
                    "type": "object",
                    "anyOf": [{"required": ["name"]}, {"required": ["uid"]}],
                    "properties": {
                        "name": TEXT,
                        "uid": TEXT,
                        "type_id": {"enum": [0, 1, 2, 3, 99]},
                        "groups": {"type": "array", "items": NAMED},
                        "org": NAMED,
                    },
                    "additionalProperties": False,
                }
            },
            "additionalProperties": False,
        },
        "api": {
            "type": "object",
            "required": ["operation"],
            "properties": {
                "operation": TEXT,
                "service": NAMED,
                "request": {"type": "object", "required": ["uid"], "properties": {"uid": TEXT}},
                "response": {
                    "type": "object",
                    "properties": {"error": TEXT, "message": TEXT},
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
        "src_endpoint": {
            "type": "object",
            "minProperties": 1,
            "properties": {"ip": TEXT, "name": TEXT},
            "additionalProperties": False,
        },
        "dst_endpoint": {"type": "object", "required": ["svc_name"]},
        "resources": {"type": "array", "items": NAMED},
        "unmapped": {"type": "object"},
    },
    "additionalProperties": False,
}
EVERYTHING = "kind:call,single,refused,folded,change,recovery,open,close"


def lines(text: str) -> list[Json]:
    return [json.loads(line) for line in text.splitlines()]


def exported(home: Household, *arguments: str) -> list[Json]:
    return lines(home.do("audit", "export", *arguments))


@pytest.fixture
def proved(busy: Household) -> Callable[[str], Path]:
    def export(shape: str) -> Path:
        path = busy.folder / f"evidence.{shape}"
        busy.do("audit", "export", EVERYTHING, "--format", shape, "--proofs", "--out", str(path))
        return path

    return export


def test_a_record_tells_a_call_with_its_outcome(busy: Household) -> None:
    (call,) = exported(busy, "kind:call")
    said = ("agent", "tenant", "server", "object", "act", "status", "verdict", "charged_calls")
    assert [call[key] for key in said] == [
        *("bot", "default", "shelf", "tool/shelf/pay", "call", "ok", "allow", 1)
    ]
    assert [entry["k"] for entry in call["entries"]] == ["intent", "outcome"]
    assert SECRET not in busy.do("audit", "export", EVERYTHING)


def test_it_is_in_order_and_by_qualifiers(busy: Household) -> None:
    leaves = [record["leaf"] for record in exported(busy, EVERYTHING)]
    assert leaves == sorted(leaves)
    assert {one["agent"] for one in exported(busy, "agent:guest")} == {"guest"}
    assert {one["code"] for one in exported(busy, "kind:refused")} == {
        "forbidden",
        "invalid_arguments",
    }
    assert busy.run("audit", "export", "agent:nobody").exit_code == 1


@pytest.mark.parametrize(("shape", "schema"), [("cloudevents", CLOUDEVENT), ("ocsf", OCSF)])
def test_every_kind_of_entry_is_an_event_of_the_format(
    busy: Household, shape: str, schema: Json
) -> None:
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    events = exported(busy, EVERYTHING, "--format", shape)
    assert len(events) > 10
    for event in events:
        validator.validate(event)


def test_ocsf_says_what_was_done_and_how_it_ended(busy: Household) -> None:
    call, *_ = exported(busy, "kind:call", "--format", "ocsf")
    assert (call["activity_id"], call["type_uid"], call["status_id"]) == (99, 600399, 1)
    assert call["api"]["operation"] == "tools/call"
    assert call["actor"]["user"]["name"] == "bot"
    refused, *_ = exported(busy, "kind:refused", "agent:guest", "--format", "ocsf")
    assert (refused["status_id"], refused["api"]["response"]["error"]) == (2, "forbidden")
    added, *_ = exported(busy, "what:agent.add", "--format", "ocsf")
    assert (added["activity_id"], added["resources"]) == (1, [{"name": "agent/bot"}])
    assert added["type_uid"] == added["class_uid"] * 100 + added["activity_id"]


def test_ids_of_events_are_unique_in_their_source(busy: Household) -> None:
    events = exported(busy, EVERYTHING, "--format", "cloudevents")
    assert len({(event["source"], event["id"]) for event in events}) == len(events)


def test_a_database_can_be_asked_with_sql(busy: Household) -> None:
    path = busy.folder / "out.db"
    busy.do("audit", "export", EVERYTHING, "--format", "sqlite", "--out", str(path))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT agent, SUM(charged_calls) FROM records WHERE kind = 'call' GROUP BY agent"
        ).fetchall()
        (log,) = connection.execute("SELECT value FROM about WHERE key = 'log'").fetchone()
    assert rows == [("bot", 1)]
    assert len(log) == 32


def test_nothing_is_overwritten_and_half_an_export_does_not_stay(
    busy: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = busy.folder / "there"
    path.write_text("precious")
    assert busy.refusal("audit", "export", "--out", str(path))["exit_code"] == 6
    assert path.read_text() == "precious"
    link = busy.folder / "link"
    link.symlink_to(busy.folder / "elsewhere")
    assert busy.refusal("audit", "export", "--out", str(link))["exit_code"] == 6
    assert not (busy.folder / "elsewhere").exists()
    assert busy.refusal("audit", "export", "--format", "sqlite")["exit_code"] == 2
    monkeypatch.setattr("gateway.audit.export.record", lambda *_: 1 / 0)
    assert busy.run("audit", "export", "--out", str(busy.folder / "half")).exit_code == 70
    assert not (busy.folder / "half").exists()
    done = busy.folder / "whole"
    monkeypatch.undo()
    busy.do("audit", "export", "--out", str(done))
    assert done.stat().st_mode & 0o777 == 0o600


def test_what_a_name_holds_reaches_no_terminal(busy: Household) -> None:
    hostile = "\x1b]0;owned\x07=cmd|' /C calc'!A1\nx\u202e"
    busy.do("tool", "call", "--as", "bot", "shelf/pay", '{"amount":1}', "--reason", hostile)
    with closing(sqlite3.connect(busy.database)) as connection, connection:
        connection.execute("UPDATE pseudonyms SET name = ? WHERE name = 'guest'", (hostile,))
    text = busy.do("audit", "export", EVERYTHING)
    assert text.isascii()
    assert not [c for c in text if c < " " and c != "\n"]
    assert len(lines(text)) == len(text.splitlines())
    assert any(one.get("agent") == hostile for one in lines(text))


# -- proofs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["jsonl", "cloudevents", "ocsf", "sqlite"])
def test_an_export_is_verified_by_whoever_has_the_key(
    busy: Household, proved: Callable[[str], Path], shape: str
) -> None:
    path = proved(shape)
    said = busy.ask("audit", "verify-export", str(path))
    assert (said["clean"], said["counts"]) == (True, {})
    assert said["entries"] > said["records"] > 10
    vkey = busy.folder / "keys" / "log.vkey"
    alone = subprocess.run(
        [sys.executable, "-S", "-c", _OFFLINE, str(path), str(vkey)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout.endswith("verified: nothing is wrong\n")


_OFFLINE = f"""
import sys
sys.path += {[path for path in sys.path if "packages" in path]!r}
from gateway.audit.verify_export import main
status = main()
tops = {{name.partition(".")[0] for name in sys.modules}}
assert not tops & {{"msgspec", "click", "sqlmodel", "jsonschema_rs"}}, tops
sys.exit(status)
"""


def test_a_part_of_an_export_is_verified_as_well(
    busy: Household, proved: Callable[[str], Path]
) -> None:
    path = proved("jsonl")
    some = path.read_text().splitlines()[3:7]
    path.write_text("\n".join(some) + "\n")
    assert busy.ask("audit", "verify-export", str(path))["records"] == 4


def test_without_proofs_nothing_is_verified(busy: Household) -> None:
    path = busy.folder / "plain"
    busy.do("audit", "export", "--out", str(path))
    result = busy.run("audit", "verify-export", str(path))
    assert (result.exit_code, "not_proved (" in result.stdout) == (1, True)


@pytest.mark.parametrize(
    "tamper",
    [
        *(another_status, another_entry, consistently_altered, another_name, two_names_exchanged),
        *(a_name_too_many, a_key_more, the_proof_of_another, no_proof, the_outcome_of_another),
        *(twice, another_log, a_number_that_reads_alike),
    ],
)
def test_an_export_that_was_changed_is_found_out(
    busy: Household, proved: Callable[[str], Path], tamper: Callable[[list[Json]], None]
) -> None:
    path = proved("jsonl")
    records = lines(path.read_text())
    tamper(records)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = busy.run("audit", "verify-export", str(path), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["counts"]


@pytest.mark.parametrize("shape", ["cloudevents", "ocsf"])
def test_the_envelope_is_a_part_of_it(
    busy: Household, proved: Callable[[str], Path], shape: str
) -> None:
    path = proved(shape)
    first, *rest = lines(path.read_text())
    for key in first:
        if key in ("data", "unmapped"):
            continue
        changed = {**first, key: "other" if isinstance(first[key], str) else 4}
        path.write_text("".join(json.dumps(one) + "\n" for one in (changed, *rest)))
        said = json.loads(busy.run("audit", "verify-export", str(path), "--json").stdout)
        assert sum(said["counts"].values()) == 1, key


@pytest.mark.parametrize("column", [one for one in COLUMNS if one not in ("leaf", "address")])
def test_no_column_of_an_exported_database_can_be_changed(
    busy: Household, proved: Callable[[str], Path], column: str
) -> None:
    path = proved("sqlite")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            f"UPDATE records SET {column} = 'x' WHERE leaf IN"  # noqa: S608 - one of our columns
            f" (SELECT leaf FROM records WHERE {column} IS NOT NULL LIMIT 1)"
        )
    result = busy.run("audit", "verify-export", str(path), "--json")
    assert json.loads(result.stdout)["counts"] in ({"altered": 1}, {})
    assert (result.exit_code == 1) or column == "team"  # nobody here has one


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{"entries":[{}],"entries":[]}', id="a key twice"),
        pytest.param('{"entries":[NaN]}', id="not a number"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"entries":[],"proofs":[]}', id="no entries"),
        pytest.param('{"entries":[{}],"proofs":["x"],"names":{},"salts":{}}', id="no proof"),
        pytest.param('"text"', id="no object"),
    ],
)
def test_what_is_no_record_is_one_finding(busy: Household, line: str) -> None:
    path = busy.folder / "noise"
    path.write_text(line + "\n")
    result = busy.run("audit", "verify-export", str(path), "--json")
    assert result.exit_code == 1
    assert sum(json.loads(result.stdout)["counts"].values()) == 1
