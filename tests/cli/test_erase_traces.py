"""What a subject, or a call, leaves in places that are not its own calls is erased with it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from gateway.app.house import House
from gateway.app.operations import calls, remains
from gateway.app.operations.args import Args
from gateway.domain.model import Outcome, Principal, Status
from gateway.domain.operator import OperationRefused
from gateway.domain.refusal import Refused
from gateway.store import engine, refusals
from tests.cli.household import Household
from tests.cli.test_erase import CALL_ARGS, bytes_of

pytestmark = pytest.mark.anyio
ISSUER = '[issuers.corp]\nurl = "https://corp.example"\nroles = {"scope:pay" = "clerk"}\n'
MARK = "5f" * 32


@pytest.fixture
def issued(busy: Household) -> Household:
    """A house that believes the issuer corp."""
    path = busy.folder / "customhouse.toml"
    path.write_text(path.read_text() + ISSUER)
    rules = busy.folder / "policies" / "policy.csv"
    rules.write_text(
        rules.read_text() + "p, corp/gina.ross, default, tool/shelf/*, call, -, allow\n"
    )
    return busy


def of_token(name: str, client: str = "", *actors: str) -> Principal:
    """Whom a token describes; without a client of its own it goes under the name of its subject."""
    return Principal(
        tenant="default",
        subject=name,
        roles=frozenset({"clerk"}),
        actors=actors,
        credential=f"{client or name}#{MARK}",
    )


async def called(
    house: House, who: Principal, result: str = '{"content":[]}', parent: str = ""
) -> str:
    """The id of a call that *who* made, and that ended."""
    args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *CALL_ARGS)
    call = replace(calls._call(house, who, args), parent=parent)
    permit = await house.ledger.hold(call, house.policies.decide(call))
    await house.ledger.settle(permit, Outcome(Status.OK, result=result.encode()))
    return call.id


def kept_leaves(home: Household, call_id: str) -> int:
    """How many payloads a call still has."""
    with closing(sqlite3.connect(home.database)) as connection:
        query = (
            "SELECT COUNT(*) FROM payloads JOIN entries ON idx = leaf"
            " WHERE call_id = ? AND sealed <> x''"
        )
        return int(connection.execute(query, (call_id,)).fetchone()[0])


# -- subjects of tokens ---------------------------------------------------------------------------


async def test_the_subject_of_a_token_that_says_no_client_leaves_no_name(issued: Household) -> None:
    async with issued.open() as (house, desk):
        await called(house, of_token("corp/bob.ross"))
        # She is whom the robot acts for, and the token goes under her name.
        await called(house, of_token("corp/robot", "corp/gina.ross", "corp/gina.ross"))
        for name in ("corp/bob.ross", "corp/gina.ross"):
            done = await desk.operate("op", "audit.erase", {"subject": name})
            assert (done["names"], done["scrubbed"]) == (2, True)
            assert house.ledger.pseudonyms.known("c", name) == ""
            with pytest.raises(OperationRefused, match="there is no subject"):
                await desk.operate("op", "audit.erase", {"subject": name})
        assert b"ross" not in bytes_of(issued)
        assert house.ledger.pseudonyms.known("s", "corp/robot")
    assert (await anyio.to_thread.run_sync(issued.ask, "audit", "verify"))["clean"]


async def test_a_name_that_an_earlier_erasure_left_goes_with_the_next(issued: Household) -> None:
    async with issued.open() as (house, desk):
        await called(house, of_token("corp/bob.ross"))
        ids = house.ledger.pseudonyms
        # As it was before credentials were looked for: the subject is gone, and its name is not.
        ids.forget([ids.known("s", "corp/bob.ross")])
        await house.ledger.change("server.restart", "op")
        done = await desk.operate("op", "audit.erase", {"subject": "corp/bob.ross"})
        assert (done["names"], ids.known("c", "corp/bob.ross")) == (1, "")


async def test_a_revocation_and_a_look_do_not_keep_the_name_and_others_keep_theirs(
    issued: Household,
) -> None:
    async with issued.open() as (house, desk):
        await called(house, of_token("corp/bob.ross", "corp/ui"))
        by_jti = {"jti": "corp/3f2a", "reason": "bob.ross left it on a train"}
        await desk.operate("op", "token.revoke", {"subject": "corp/bob.ross", "reason": "he left"})
        await desk.operate("op", "token.revoke", by_jti)
        await desk.operate("op", "token.revoke", {"subject": "corp/bob", "reason": "another bob"})
        for name in ("corp/bob.ross", "corp/bob"):
            look = {"subject": "query", "note": f"agent:{name} kind:call"}
            await desk.operate("op", "audit.payload_read", look)
        done = await desk.operate("op", "audit.erase", {"subject": "corp/bob.ross"})
        assert (done["payloads"], done["stays_revoked"]) == (2 + 3, True)
    rows = await anyio.to_thread.run_sync(issued.ask, "audit", "query", "kind:change", "--payloads")
    notes = [row.get("note_opened", "") for row in rows]
    assert "corp/bob: another bob" in notes
    assert "agent:corp/bob kind:call" in notes
    assert not [note for note in notes if "bob.ross" in note]
    kept = house.identity.revoked_us("tokens:" + _digest("corp/bob.ross"))
    assert kept, "what was revoked stays revoked"


def _digest(name: str) -> str:
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()[:32]


def test_an_agent_that_never_called_can_be_erased(busy: Household) -> None:
    name = "erin-okafor"
    busy.do("agent", "add", name, "--role", "clerk", "--reason", f"{name} joined")
    busy.do("key", "issue", name, "--reason", f"for {name}")
    busy.do("agent", "remove", name, "--reason", f"{name} left")
    done = busy.ask("audit", "erase", f"subject:{name}", "--yes", "--policies")
    assert (done["payloads"], done["names"]) == (3, 2)
    assert name.encode() not in bytes_of(busy)
    assert busy.ask("audit", "verify")["clean"]
    assert busy.refusal("audit", "erase", f"subject:{name}", "--yes")["exit_code"] == 1


def test_policies_that_stayed_can_be_erased_later(busy: Household) -> None:
    busy.do("agent", "add", "erin-okafor", "--role", "clerk")
    busy.do("agent", "remove", "erin-okafor")
    assert busy.ask("audit", "erase", "subject:erin-okafor", "--yes")["policies_kept"] == 1
    assert b"erin-okafor" in bytes_of(busy)
    done = busy.ask("audit", "erase", "subject:erin-okafor", "--yes", "--policies")
    assert (done["policies"], b"erin-okafor" in bytes_of(busy)) == (1, False)


async def test_refusals_that_are_only_counted_do_not_bring_the_name_back(
    issued: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "SINGLY_PER_MINUTE", 0)
    async with issued.open() as (house, desk):
        with pytest.raises(Refused):
            await called(house, replace(of_token("corp/bob.ross"), roles=frozenset()))
        done = await desk.operate("op", "audit.erase", {"subject": "corp/bob.ross"})
        assert done["names"] == 1
    assert b"bob.ross" not in bytes_of(issued)


async def test_whoever_acted_in_a_refused_call_is_erased_with_what_it_asked_for(
    issued: Household,
) -> None:
    refused = of_token("corp/robot", "corp/ui", "corp/ida.ross")
    async with issued.open() as (house, desk):
        with pytest.raises(Refused) as caught:
            await called(house, refused)
        assert kept_leaves(issued, caught.value.call_id) == 1
        done = await desk.operate("op", "audit.erase", {"subject": "corp/ida.ross"})
        assert (done["names"], done["payloads"]) == (1, 1)
        assert b"ida.ross" not in bytes_of(issued)
        assert house.ledger.pseudonyms.known("s", "corp/robot")
    shown = await anyio.to_thread.run_sync(issued.ask, "audit", "show", caught.value.call_id)
    (actor,) = shown["entries"][0]["actors"]
    assert actor.startswith("s")
    assert (await anyio.to_thread.run_sync(issued.ask, "audit", "verify"))["clean"]


# -- calls ----------------------------------------------------------------------------------------


async def test_what_a_call_caused_is_erased_with_it(busy: Household) -> None:
    async with busy.open() as (house, desk):
        bot = calls._principal(house, "bot", "op")
        root = await called(house, bot)
        answered = await called(house, bot, '{"content":{"name":"Ada"}}', root)
        below = await called(house, bot, parent=answered)
        other = await called(house, bot)
        look = {"subject": f"call/{answered}", "note": "was it Ada?"}
        await desk.operate("op", "audit.payload_read", look)
        done = await desk.operate("op", "audit.erase", {"call": root})
        assert (done["payloads"], done["made_a_task"]) == (7, False)
        assert [kept_leaves(busy, one) for one in (root, answered, below, other)] == [0, 0, 0, 2]
    assert (await anyio.to_thread.run_sync(busy.ask, "audit", "verify"))["clean"]


async def test_a_call_is_not_erased_while_what_it_caused_goes_on(busy: Household) -> None:
    async with busy.open() as (house, desk):
        bot = calls._principal(house, "bot", "op")
        root = await called(house, bot)
        args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *CALL_ARGS)
        child = replace(calls._call(house, bot, args), parent=root)
        permit = await house.ledger.hold(child, house.policies.decide(child))
        with pytest.raises(OperationRefused, match="under way"):
            await desk.operate("op", "audit.erase", {"call": root})
        await house.ledger.settle(permit, Outcome(Status.OK, result=b'{"content":[]}'))
        assert (await desk.operate("op", "audit.erase", {"call": root}))["payloads"] == 4


async def test_who_erases_a_call_is_told_that_its_task_goes_on(busy: Household) -> None:
    task = json.dumps({"resultType": "task", "taskId": "7865", "status": "working"})
    async with busy.open() as (house, desk):
        bot = calls._principal(house, "bot", "op")
        root = await called(house, bot, task)
        again = await called(house, bot, task)
        assert (await desk.operate("op", "audit.erase", {"call": again}))["made_a_task"] is True
        # The answer to `tasks/get`, which is a later round of the call that made the task.
        args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *CALL_ARGS)
        later = replace(calls._call(house, bot, args), id=again, round=2)
        permit = await house.ledger.hold(later, house.policies.decide(later))
        await house.ledger.settle(permit, Outcome(Status.OK, result=b'{"content":[]}'))
        assert (await desk.operate("op", "audit.erase", {"call": again}))["payloads"] == 2
    result = await anyio.to_thread.run_sync(busy.run, "audit", "erase", f"call:{root}", "--yes")
    assert (result.exit_code, "made a task" in result.stderr) == (0, True)


# -- a kill, and a log that was reopened ----------------------------------------------------------


async def test_what_a_killed_process_erased_is_swept_by_the_next_one(
    busy: Household, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "TRIES", 1)
    killed = Household(tmp_path_factory.mktemp("killed"))
    async with busy.open() as (house, desk):
        await called(house, of_token("corp/dave.ross", "corp/ui"))
        with engine.reading(busy.database) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM entries").fetchone()
            done = await desk.operate("op", "audit.erase", {"subject": "corp/dave.ross"})
            assert done["scrubbed"] is False
            # What lies in the files now is what a kill would leave.
            shutil.copytree(busy.folder, killed.folder, dirs_exist_ok=True)
    (killed.folder / "data" / "customhouse.db-shm").unlink(missing_ok=True)
    assert b"dave.ross" in bytes_of(killed)
    async with killed.open():
        assert b"dave.ross" not in bytes_of(killed)


async def test_a_repetition_sweeps_before_it_says_that_there_is_nobody(
    busy: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "TRIES", 1)
    erasure = {"subject": "corp/dave.ross"}
    async with busy.open() as (house, desk):
        await called(house, of_token("corp/dave.ross", "corp/ui"))
        with engine.reading(busy.database) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT COUNT(*) FROM entries").fetchone()
            await desk.operate("op", "audit.erase", erasure)
            with pytest.raises(OperationRefused, match="its files may"):
                await desk.operate("op", "audit.erase", erasure)
        with pytest.raises(OperationRefused, match="there is no subject"):
            await desk.operate("op", "audit.erase", erasure)
        assert b"dave.ross" not in bytes_of(busy)


def test_an_erasure_says_that_it_does_not_reach_the_log_before_a_reopening(busy: Household) -> None:
    for path in (busy.folder / "keys").glob("state.key"):
        path.unlink()
    aside = busy.ask("audit", "reopen", "--accept-loss", "--yes")["aside"]
    busy.do("agent", "add", "guest")
    result = busy.run("audit", "erase", "subject:guest", "--yes")
    assert (result.exit_code, f"{aside} in " in result.stderr) == (1, True)
    refusal = busy.refusal("audit", "erase", "subject:bot", "--yes")
    assert (refusal["exit_code"], aside in refusal["fix"]) == (1, True)
    (Path(busy.folder) / "data" / aside).unlink()
    assert busy.ask("audit", "erase", "--older-than", "0s", "--yes")["set_aside"] == []
