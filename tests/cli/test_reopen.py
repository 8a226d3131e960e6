"""After a loss: a new log that names the old one, both verify, and nothing is taken over unseen."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from gateway.store import reopening
from gateway.store.engine import reading
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
REOPEN = ("audit", "reopen", "--accept-loss", "--yes")


def keys_of(home: Household) -> Path:
    return home.folder / "keys"


def backup(home: Household) -> bytes:
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return home.database.read_bytes()


@pytest.fixture
def set_back(busy: Household) -> Household:
    """A house whose database is an older one: a key was revoked since."""
    busy.do("key", "issue", "bot")
    older = backup(busy)
    busy.do("key", "revoke", busy.ask("key", "list", "bot")[0]["id"])
    for suffix in ("-wal", "-shm"):
        busy.database.with_name(busy.database.name + suffix).unlink(missing_ok=True)
    busy.database.write_bytes(older)
    assert busy.refusal("agent", "add", "x")["exit_code"] == 3
    return busy


def test_how_to_verify_the_old_log_is_said_with_the_key_that_there_is(set_back: Household) -> None:
    said = set_back.run(*REOPEN)
    assert said.exit_code == 0, said.output
    [line] = [one for one in said.stderr.splitlines() if one.startswith("verify it: ")]
    set_back.do(*shlex.split(line)[3:])


def first_entry(home: Household) -> dict[str, object]:
    with reading(home.database) as connection:
        (body,) = connection.execute("SELECT body FROM entries WHERE idx = 0").fetchone()
    entry: dict[str, object] = json.loads(body)
    return entry


def verified_aside(home: Household, aside: str, *more: str) -> bool:
    """Whether the old log verifies with the one of the kept keys that is its own."""
    for vkey in keys_of(home).glob("log.vkey*"):
        path = str(home.folder / "data" / aside)
        done = home.run("audit", "verify", "--copy", path, "--vkey", str(vkey), *more)
        if done.exit_code == 0:
            return True
    return False


def test_a_log_that_was_set_back_is_continued_by_a_new_one(set_back: Household) -> None:
    remembered = (keys_of(set_back) / "checkpoint").read_text().split("\n")
    done = set_back.ask(*REOPEN, "--reason", "the disk died")
    assert done["from"] == {"log": remembered[0].partition("/")[2], "size": int(remembered[1])}
    prior = first_entry(set_back)["from"]
    assert isinstance(prior, dict)
    assert (prior["log"], prior["size"]) == (done["from"]["log"], done["from"]["size"])
    assert set_back.ask("audit", "verify")["clean"]
    assert verified_aside(set_back, done["aside"])
    kept = keys_of(set_back) / f"checkpoint.{done['from']['log'][:8]}"
    assert not verified_aside(set_back, done["aside"], "--at-least", str(kept))  # it is shorter
    assert (set_back.folder / "data" / done["aside"]).stat().st_mode & 0o777 == 0o400
    (row,) = set_back.ask("audit", "query", "what:log.reopen", "--payloads")
    assert row["note_opened"] == "the disk died"


def test_nothing_of_the_registry_is_taken_over(set_back: Household) -> None:
    done = set_back.ask(*REOPEN)
    assert (done["left_behind"]["agents"], done["left_behind"]["keys"]) == (2, 1)
    assert set_back.ask("agent", "list") == []
    assert set_back.ask("key", "list") == []
    set_back.do("agent", "add", "bot", "--role", "clerk")
    set_back.do("server", "test", "shelf")
    set_back.do("tool", "call", "--as", "bot", "shelf/pay", '{"amount":1}')
    assert set_back.ask("audit", "verify")["clean"]
    assert set_back.refusal(*REOPEN)["exit_code"] == 6  # nothing is wrong any more


def test_it_takes_more_than_a_wish(set_back: Household) -> None:
    assert set_back.refusal("audit", "reopen")["exit_code"] == 2
    assert set_back.refusal("audit", "reopen", "--accept-loss")["exit_code"] == 2  # nobody to ask
    assert set_back.refusal("agent", "add", "x")["exit_code"] == 3


async def test_a_house_that_opens_or_is_open_is_left_alone(busy: Household) -> None:
    refusal = await anyio.to_thread.run_sync(busy.refusal, *REOPEN)
    assert (refusal["exit_code"], "nothing is wrong" in refusal["what"]) == (6, True)
    async with busy.served():
        refusal = await anyio.to_thread.run_sync(busy.refusal, *REOPEN)
        assert (refusal["exit_code"], "owns" in refusal["what"]) == (6, True)


def test_a_lost_key_is_replaced_and_the_old_log_still_verifies(busy: Household) -> None:
    (keys_of(busy) / "log.ed25519").unlink()
    (keys_of(busy) / "payload.kek").write_bytes(b"half")
    assert busy.refusal("agent", "add", "x")["exit_code"] == 3
    done = busy.ask(*REOPEN)
    assert busy.ask("audit", "verify")["clean"]
    assert verified_aside(busy, done["aside"])
    assert (keys_of(busy) / "payload.kek.damaged").read_bytes() == b"half"
    busy.do("agent", "add", "x")


def test_a_database_that_cannot_be_read_is_kept_as_it_is(busy: Household) -> None:
    whole = backup(busy)
    for suffix in ("-wal", "-shm"):
        busy.database.with_name(busy.database.name + suffix).unlink(missing_ok=True)
    ruined = whole[:100] + b"\xff" * (len(whole) - 100)
    busy.database.write_bytes(ruined)
    assert busy.refusal("agent", "add", "x")["exit_code"] == 3
    done = busy.ask(*REOPEN)
    assert (busy.folder / "data" / done["aside"]).read_bytes() == ruined
    assert done["from"]["size"] > 0
    busy.do("agent", "add", "x")
    assert busy.ask("audit", "verify")["clean"]


def test_a_reopening_that_was_cut_short_is_finished(
    set_back: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(reopening, "finish", die)
        assert set_back.run(*REOPEN).exit_code != 0
    begun = first_entry(set_back)["log"]
    assert set_back.refusal("agent", "add", "x")["exit_code"] == 3
    assert set_back.ask(*REOPEN)["log"] == begun  # not a second one
    assert set_back.ask("audit", "verify")["clean"]
    set_back.do("agent", "add", "x")


def test_a_new_log_that_was_half_made_is_made_again(
    set_back: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> str:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(reopening, "put_in_place", die)
        assert set_back.run(*REOPEN).exit_code != 0
    assert (set_back.folder / "data" / reopening.NEW).exists()
    set_back.ask(*REOPEN)
    assert not (set_back.folder / "data" / reopening.NEW).exists()
    assert set_back.ask("audit", "verify")["clean"]


def test_a_log_of_which_nothing_is_known_is_not_guessed(busy: Household) -> None:
    busy.database.write_bytes(b"nothing" * 1_000)
    for path in keys_of(busy).glob("checkpoint*"):
        path.unlink()
    error = busy.refusal(*REOPEN)
    assert (error["exit_code"], "which log" in error["what"]) == (3, True)
    assert busy.database.read_bytes() == b"nothing" * 1_000


def test_a_checkpoint_that_the_key_never_signed_is_not_continued(
    set_back: Household, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Household(tmp_path_factory.mktemp("other"))
    shutil.copytree(set_back.folder, other.folder, dirs_exist_ok=True)
    for path in keys_of(other).iterdir():
        path.unlink()
    shutil.rmtree(other.folder / "data")
    other.do("agent", "add", "x")
    (keys_of(set_back) / "checkpoint").write_bytes((keys_of(other) / "checkpoint").read_bytes())
    done = set_back.ask(*REOPEN)
    theirs = (keys_of(other) / "checkpoint").read_text().partition("\n")[0]
    assert done["from"]["log"] != theirs.partition("/")[2]
