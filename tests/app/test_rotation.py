"""Rotating the gateway's own keys: nothing is lost, whatever happens between file and entry."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from gateway.domain.operator import OperationRefused
from gateway.store import keyring
from gateway.store.writer import Writer
from tests.cli.fixtures import SECRET, copied
from tests.cli.household import Household
from tests.store.world import _FaultyConnection

pytestmark = pytest.mark.anyio
DIES = """
import os, sys
import gateway.app.operations.rotating as rotating
from gateway.cli.main import main
def die(*_args, **_more):
    os._exit(9)
{patch}
main(sys.argv[1:])
"""
BEFORE = "rotating.put_change = die"
AFTER = "rotating.keyring.promote = die"
FILES = {"log": "log.ed25519", "payload": "payload.kek", "token": "token.ed25519"}


def keys_of(home: Household) -> Path:
    return home.folder / "keys"


def vkeys(home: Household) -> list[str]:
    return sorted(path.read_text().strip() for path in keys_of(home).glob("log.vkey*"))


def test_after_a_rotation_of_the_log_key_old_and_new_verify_everything(busy: Household) -> None:
    first, kept = keys_of(busy) / "log.vkey", busy.folder / "first.vkey"
    kept.write_text(first.read_text())
    (busy.folder / "kept.checkpoint").write_bytes((keys_of(busy) / "checkpoint").read_bytes())
    private = (keys_of(busy) / "log.ed25519").read_bytes()
    done = busy.ask("key", "rotate", "log", "--reason", "yearly")
    busy.do("key", "rotate", "log")
    busy.do("agent", "add", "later")
    for vkey in (first, kept, *keyring.vkey_files(keys_of(busy))):
        report = busy.ask(
            *("audit", "verify", "--vkey", str(vkey)),
            *("--at-least", str(busy.folder / "kept.checkpoint")),
        )
        assert (report["clean"], report["rotations"]) == (True, 2), vkey
    assert busy.ask("audit", "verify")["clean"]
    assert len(vkeys(busy)) == 3
    assert done["vkey"] in vkeys(busy)
    assert private not in [path.read_bytes() for path in keys_of(busy).iterdir()]
    (row, _) = busy.ask("audit", "query", "what:key.rotate")
    assert (row["subject"], row["digest"]) == ("keys/log", done["id"])


def test_evidence_from_before_rotations_verifies_on_the_machine(busy: Household) -> None:
    export, proof = str(busy.folder / "e.jsonl"), str(busy.folder / "p.json")
    call = busy.ask("audit", "query", "kind:call")[0]["call"]
    busy.do("audit", "export", "--proofs", "--out", export)
    busy.do("audit", "prove", call, "--out", proof)
    early = copied(busy, busy.folder.with_name("early"))
    busy.do("key", "rotate", "log")
    busy.do("agent", "add", "between")
    between = copied(busy, busy.folder.with_name("between"))
    busy.do("key", "rotate", "log")
    assert busy.ask("audit", "verify-export", export)["clean"]
    assert busy.ask("audit", "verify", "--proof", proof)["proved"]
    for copy in (early, between):
        assert busy.ask("audit", "verify", "--copy", str(copy.folder / "data"))["clean"]


def test_elsewhere_a_key_that_followed_proves_nothing_and_rotation_is_named(
    busy: Household,
) -> None:
    export, vkey = busy.folder / "e.jsonl", keys_of(busy) / "log.vkey"
    busy.do("audit", "export", "--proofs", "--out", str(export))
    busy.do("key", "rotate", "log")
    said = subprocess.run(
        [sys.executable, "-m", "gateway.audit.verify_export", str(export), str(vkey)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 1
    assert b"if the log's key was rotated" in said.stdout


def test_what_was_sealed_before_a_rotation_is_read_after_it(busy: Household) -> None:
    call = busy.ask("audit", "query", "kind:call")[0]["call"]
    for _ in range(2):
        busy.do("key", "rotate", "payload")
    busy.do("agent", "add", "new", "--reason", "sealed anew")
    assert SECRET in str(busy.ask("audit", "show", call, "--payloads"))
    (row,) = busy.ask("audit", "query", "subject:agent/new", "--payloads")
    assert row["note_opened"] == "sealed anew"
    for path in keys_of(busy).glob("payload.kek.*"):
        path.unlink()
    assert SECRET not in str(busy.ask("audit", "show", call, "--payloads"))
    (row,) = busy.ask("audit", "query", "subject:agent/new", "--payloads")
    assert row["note_opened"] == "sealed anew"  # with the newest key


async def test_a_server_seals_rounds_with_the_new_key_at_once(busy: Household) -> None:
    resealed: list[bytes] = []
    async with busy.served() as house:
        house.reseal = resealed.append
        await anyio.to_thread.run_sync(busy.do, "key", "rotate", "state")
        assert resealed == [(keys_of(busy) / "state.key").read_bytes()]
        assert house.house_keys.state == resealed[0]
        await anyio.to_thread.run_sync(busy.do, "key", "rotate", "log")
        assert len(resealed) == 1
        assert str(house.signer.vkey) == (keys_of(busy) / "log.vkey").read_text().strip()
    assert (await anyio.to_thread.run_sync(busy.ask, "audit", "verify"))["clean"]


# -- killed in between ----------------------------------------------------------------------------


def killed(home: Household, patch: str, which: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES.format(patch=patch), "key", "rotate", which],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "CUSTOMHOUSE_CONFIG": str(home.folder / "customhouse.toml")},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("patch", "which", "took_place"),
    [
        pytest.param(BEFORE, "log", False, id="log key: the file is there, the entry is not"),
        pytest.param(
            AFTER, "log", True, id="log key: the entry is there, the file is not in place"
        ),
        pytest.param(AFTER, "payload", True, id="payload key: the file is not in place"),
        pytest.param(AFTER, "token", True, id="token key: the file is not in place"),
        pytest.param(BEFORE, "token", False, id="token key: there is no entry"),
    ],
)
def test_a_rotation_that_was_killed_is_ended_at_the_next_start(
    busy: Household, patch: str, which: str, took_place: bool
) -> None:
    name = FILES[which]
    before = (keys_of(busy) / name).read_bytes()
    killed(busy, patch, which)
    following = (keys_of(busy) / (name + keyring.NEXT)).read_bytes()
    assert (keys_of(busy) / name).read_bytes() == before
    assert busy.ask("audit", "verify")["clean"]  # also in this state, with the key that is named
    busy.do("agent", "add", "later")
    assert (keys_of(busy) / name).read_bytes() == (following if took_place else before)
    assert not (keys_of(busy) / (name + keyring.NEXT)).exists()
    assert busy.ask("audit", "verify")["clean"]
    busy.do("key", "rotate", which)
    call = busy.ask("audit", "query", "kind:call")[0]["call"]
    assert SECRET in str(busy.ask("audit", "show", call, "--payloads"))


def test_half_a_key_file_is_thrown_away(busy: Household) -> None:
    for name in ("log.ed25519", "payload.kek", "state.key", "token.ed25519"):
        (keys_of(busy) / (name + keyring.NEXT)).write_bytes(b"-----BEGIN")
    busy.do("agent", "add", "later")
    assert not list(keys_of(busy).glob("*.next"))


# -- a commit that fails --------------------------------------------------------------------------


def break_commit(writer: Writer, *, after_the_disk_has_it: bool) -> None:
    connection = writer._connection
    assert connection is not None
    writer._connection = cast(Any, _FaultyConnection(connection, after_the_disk_has_it))


@pytest.mark.parametrize("which", ["log", "payload", "token"])
@pytest.mark.parametrize("on_disk", [True, False], ids=["on the disk", "not on the disk"])
async def test_a_rotation_whose_commit_fails_took_place_or_did_not(
    busy: Household, which: str, on_disk: bool
) -> None:
    file = keys_of(busy) / FILES[which]
    before = file.read_bytes()
    async with busy.open() as (house, administration):
        break_commit(house.writer, after_the_disk_has_it=on_disk)
        with anyio.fail_after(20):
            try:
                await administration.operate("op", "key.rotate", {"key": which})
                rotated = True
            except OperationRefused:
                rotated = False
        assert rotated is on_disk
        await house.ledger.change("agent.note", "op", note="after it")
        assert (file.read_bytes() != before) is on_disk
        assert house.writer.signer.vkey == house.signer.vkey
    report = await asyncio.to_thread(busy.ask, "audit", "verify")
    assert report["clean"], report
    assert report["rotations"] == (which == "log" and on_disk)
    (row,) = await asyncio.to_thread(busy.ask, "audit", "query", "what:agent.note", "--payloads")
    assert row["note_opened"] == "after it"


def test_keys_left_by_another_house_are_not_taken(busy: Household, tmp_path_factory: Any) -> None:
    """Who can write the keys folder owns the log anyway; who cannot gets nothing by an entry."""
    other = copied(busy, tmp_path_factory.mktemp("other"))
    other.do("key", "rotate", "log")
    stolen = (keys_of(other) / "log.ed25519").read_bytes()
    (keys_of(busy) / "log.ed25519.next").write_bytes(stolen)
    busy.do("agent", "add", "later")
    assert (keys_of(busy) / "log.ed25519").read_bytes() != stolen
    assert json.loads(busy.do("audit", "verify", "--json"))["clean"]
