"""What is erased is gone from the files, the log says so, and every proof still holds."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from gateway.app.operations import calls, remains
from gateway.app.operations.args import Args
from gateway.domain.model import Outcome, Status
from gateway.domain.operator import OperationRefused
from gateway.store import engine
from tests.app.test_rotation import break_commit
from tests.cli.fixtures import CLERK, copied, silence
from tests.cli.household import Household
from tests.cli.test_reach import AS_NOBODY, scripted

pytestmark = pytest.mark.anyio
PERSON = "maja-lindqvist"
CALL_ARGS = ("server", "name", "arguments")
LETTER = "Dear Dr Okonkwo, about my results"


@pytest.fixture(scope="module")
def told_once(busy_once: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    """A person called, had keys, and left; others called as well."""
    home = copied(busy_once, tmp_path_factory.mktemp("told"))
    home.write(f'[servers.shelf]\ncommand = {json.dumps(home.shelf)}\napprove = "first-seen"\n')
    home.policy(CLERK)
    with silence():
        home.do("agent", "add", PERSON, "--role", "clerk", "--reason", f"{PERSON} is new")
        home.do("key", "issue", PERSON)
        for number in range(3):
            arguments = json.dumps({"amount": number, "letter": LETTER})
            home.do("tool", "call", "--as", PERSON, "shelf/pay", arguments)
        home.do("agent", "remove", PERSON)
    return home


@pytest.fixture
def told(told_once: Household, tmp_path: Path) -> Household:
    return copied(told_once, tmp_path)


def bytes_of(home: Household) -> bytes:
    return b"".join(
        path.read_bytes() for path in (home.folder / "data").iterdir() if path.is_file()
    )


def sealed(home: Household, agent: str) -> list[bytes]:
    """The first bytes of the payloads of an agent's calls, as they lie on the disk."""
    leaves = [row["leaf"] for row in home.ask("audit", "query", f"agent:{agent}", "kind:call")]
    with closing(sqlite3.connect(home.database)) as connection:
        query = "SELECT sealed FROM payloads WHERE leaf = ?"
        return [connection.execute(query, (leaf,)).fetchone()[0][:40] for leaf in leaves]


def test_a_subject_is_gone_from_the_files_and_the_log_still_verifies(told: Household) -> None:
    (mark, *_), calls = sealed(told, PERSON), told.ask("audit", "query", f"agent:{PERSON}")
    proof = told.folder / "before.proof"
    told.do("audit", "prove", calls[0]["call"], "--out", str(proof))
    assert PERSON.encode() in bytes_of(told)
    assert mark in bytes_of(told)

    done = told.ask(
        "audit", "erase", f"subject:{PERSON}", "--yes", "--policies", "--reason", "asked"
    )
    assert done["payloads"] >= 7  # three calls, each with arguments and result, and two reasons
    assert done["names"] >= 3
    assert done["scrubbed"] is True
    assert PERSON.encode() not in bytes_of(told)
    assert not [one for one in sealed(told, "bot") if one not in bytes_of(told)]
    assert mark not in bytes_of(told)

    report = told.ask("audit", "verify")
    assert (report["clean"], report["erasures"]) == (True, 3)  # of calls, of keys, of the rest
    assert report["erased_payloads"] == done["payloads"]
    assert report["erased_names"] == done["names"]
    assert told.ask("audit", "verify", "--proof", str(proof))["proved"]
    nameless = told.ask("audit", "show", calls[0]["call"])["entries"][0]
    assert nameless["agent"].startswith("s")
    assert nameless["arguments"] == calls[0]["arguments"]  # the commitment stays
    assert (
        "erased"
        in told.ask("audit", "show", calls[0]["call"], "--payloads")["entries"][0][
            "arguments_opened"
        ]
    )
    told.do("agent", "add", PERSON)  # the house opens, and knows nobody of this name


def test_names_in_stored_policies_are_told_of_when_they_stay(told: Household) -> None:
    result = told.run("audit", "erase", f"subject:{PERSON}", "--yes")
    assert result.exit_code == 0
    assert "stored policy versions name it and stay" in result.stderr
    assert PERSON.encode() in bytes_of(told)


def test_a_registered_agent_stays_under_a_new_id_and_only_when_it_is_meant(told: Household) -> None:
    assert told.refusal("audit", "erase", "subject:bot")["exit_code"] == 2  # nobody to ask
    before = told.ask("audit", "query", "agent:bot")
    told.do("key", "issue", "bot")
    done = told.run("audit", "erase", "bot", "--yes")
    assert (done.exit_code, "still registered" in done.stderr) == (0, True)
    assert before
    assert told.run("audit", "query", "agent:bot").exit_code == 1
    told.do("tool", "call", "--as", "bot", "shelf/pay", '{"amount":1}')
    assert len(told.ask("audit", "query", "agent:bot")) == 1
    assert told.ask("audit", "verify")["clean"]
    assert told.ask("key", "list", "bot")[0]["state"] == "good"
    told.do("audit", "erase", "bot", "--yes")  # and again, under its new id
    assert told.ask("audit", "verify")["clean"]


async def test_a_server_forgets_the_name_at_once(told: Household) -> None:
    async with told.served() as house:
        ids = house.ledger.pseudonyms
        before = ids.known("s", "bot")
        await anyio.to_thread.run_sync(told.do, "audit", "erase", "subject:bot", "--yes")
        assert before
        assert ids.known("s", "bot") == ""
        assert ids.of("s", "bot") != before
        assert ids.name(before) == before
    report = await anyio.to_thread.run_sync(told.ask, "audit", "verify")
    assert report["clean"]


def test_one_call_is_erased_and_the_others_are_not(told: Household) -> None:
    first, second, *_ = told.ask("audit", "query", f"agent:{PERSON}", "kind:call")
    told.do("audit", "erase", f"call:{first['call'][:20].lower()}", "--yes")
    gone = told.ask("audit", "show", first["call"], "--payloads")["entries"]
    assert ["erased" in str(row) for row in gone] == [True, True]
    assert LETTER in str(told.ask("audit", "show", second["call"], "--payloads"))
    assert told.ask("audit", "verify")["clean"]
    assert told.refusal("audit", "erase", "call:01ZZ", "--yes")["exit_code"] == 1
    assert told.ask("audit", "erase", first["call"], "--yes")["payloads"] == 0


def test_what_is_older_goes_and_what_is_younger_stays(told: Household) -> None:
    assert told.ask("audit", "erase", "--older-than", "183d", "--yes")["payloads"] == 0
    kept = told.ask("audit", "query", "kind:call")
    done = told.ask("audit", "erase", "--older-than", "0s", "--yes")
    assert done["payloads"] > 2 * len(kept)
    report = told.ask("audit", "verify")
    assert (report["clean"], report["erased_payloads"]) == (True, done["payloads"])
    with closing(sqlite3.connect(told.database)) as connection:
        (left,) = connection.execute("SELECT COUNT(*) FROM payloads WHERE sealed <> x''").fetchone()
    assert left == 0


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE payloads SET sealed = x'00', nonce = x'00' WHERE leaf = "
            "(SELECT MIN(leaf) FROM payloads)",
            "not_erased",
        ),
        ("UPDATE pseudonyms SET salt = x'00' WHERE salt = x''", "not_erased"),
        ("UPDATE pseudonyms SET name = id, salt = x'' WHERE kind = 't'", "renamed"),
    ],
)
def test_what_was_erased_and_is_there_again_is_found(
    told: Household, statement: str, finding: str
) -> None:
    told.do("audit", "erase", f"subject:{PERSON}", "--yes")
    told.do("audit", "erase", "--older-than", "0s", "--yes")
    with closing(sqlite3.connect(told.database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0
    result = told.run("audit", "verify", "--json")
    assert result.exit_code == 1
    assert finding in json.loads(result.stdout)["counts"]


def test_a_row_that_was_erased_cannot_be_put_back(told: Household) -> None:
    with closing(sqlite3.connect(told.database)) as connection:
        row = connection.execute("SELECT * FROM agents WHERE name = ?", (PERSON,)).fetchone()
        name = connection.execute(
            "SELECT * FROM pseudonyms WHERE name = ?", (f"agent/{PERSON}",)
        ).fetchone()
    told.do("audit", "erase", f"subject:{PERSON}", "--yes")
    with closing(sqlite3.connect(told.database)) as connection, connection:
        connection.execute("INSERT INTO agents VALUES (?,?,?,?,?,?,?)", row)
        connection.execute("REPLACE INTO pseudonyms VALUES (?,?,?,?)", name)
    assert told.refusal("agent", "add", "other")["exit_code"] == 3


def test_who_administered_stays_accountable(told: Household) -> None:
    author = told.ask("audit", "query", "what:agent.add")[0]["author"]
    error = told.refusal("audit", "erase", f"subject:{author}", "--yes")
    assert (error["exit_code"], "administered" in error["what"]) == (6, True)


def test_what_means_two_things_or_none_is_not_guessed(told: Household) -> None:
    assert told.refusal("audit", "erase", "nobody", "--yes")["exit_code"] == 1
    assert told.refusal("audit", "erase", "subject:nobody", "--yes")["exit_code"] == 1
    assert told.refusal("audit", "erase", "--yes")["exit_code"] == 2
    assert told.refusal("audit", "erase", "bot", "--older-than", "1d")["exit_code"] == 2


async def test_the_file_beside_the_database_is_emptied_when_nobody_reads_it(
    told: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "TRIES", 2)
    async with told.served():
        with engine.reading(told.database) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM entries").fetchone()
            result = await anyio.to_thread.run_sync(
                told.run, "audit", "erase", f"subject:{PERSON}", "--yes"
            )
            assert (result.exit_code, "somebody is reading" in result.stderr) == (1, True)
        done = await anyio.to_thread.run_sync(
            told.run, "audit", "erase", "--older-than", "183d", "--yes"
        )
        assert done.exit_code == 0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_erases_nothing(told: Household) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="customhouse-") as made:
        home = copied(told, Path(made))
        Path(made).chmod(0o755)
        done = scripted(AS_NOBODY, home, "audit", "erase", "subject:bot", "--yes", "--json")
        assert (done.returncode, "operator" in done.stderr) == (4, True), done.stderr
        assert home.ask("audit", "query", "agent:bot")


async def test_what_is_under_way_is_erased_when_it_has_ended(told: Household) -> None:
    async with told.open() as (house, desk):
        args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *CALL_ARGS)
        call = calls._call(house, calls._principal(house, "bot", "op"), args)
        permit = await house.ledger.hold(call, house.policies.decide(call))
        for what in ({"call": call.id}, {"subject": "bot", "registered": True}):
            with pytest.raises(OperationRefused, match="under way"):
                await desk.operate("op", "audit.erase", what)
        assert house.ledger.pseudonyms.known("s", "bot")
        await house.ledger.settle(permit, Outcome(Status.OK, result=b'{"content":[]}'))
        done = await desk.operate("op", "audit.erase", {"subject": "bot", "registered": True})
        assert done["payloads"] >= 2
    report = await anyio.to_thread.run_sync(told.ask, "audit", "verify")
    assert report["clean"]


async def test_an_erasure_whose_commit_fails_leaves_the_name_known(told: Household) -> None:
    async with told.open() as (house, desk):
        break_commit(house.writer, after_the_disk_has_it=False)
        with pytest.raises(OperationRefused):
            await desk.operate("op", "audit.erase", {"subject": PERSON})
        with anyio.fail_after(5):
            await house.ledger.recovered.wait()
        assert house.ledger.pseudonyms.known("s", PERSON)
        await desk.operate("op", "audit.erase", {"subject": PERSON})
    report = await anyio.to_thread.run_sync(told.ask, "audit", "verify")
    assert (report["clean"], report["erasures"]) == (True, 3)
