"""One person alone tries to get a policy past the other."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, chdir, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.app.house import House
from gateway.app.operations import proposing
from gateway.app.operations.administration import Administration
from gateway.cli import reach
from gateway.domain.operator import Exit, OperationRefused
from gateway.edge import admin
from gateway.policy.snapshot import builtin_deny_all
from gateway.store import keys
from gateway.store.log import LogDamaged
from tests.cli.fixtures import blank, home, quiet
from tests.cli.household import Household
from tests.journey.process import GatewayProcess, customhouse

__all__ = ["blank", "home", "quiet"]

pytestmark = pytest.mark.anyio
ANN, BOB = "uid:1000 ann", "uid:1001 bob"
NOBODY = 65_534
TWO = "two_person_policy = true\n"
NARROW = "p, reader, default, tool/shelf/look, call, -, allow"
WIDE = "p, *, default, tool/*, call, -, allow"


@pytest.fixture
def two(home: Household) -> Household:
    """A house with a narrow policy in force that from now on takes two persons."""
    home.policy(NARROW)
    home.do("policy", "apply")
    file = home.folder / "customhouse.toml"
    file.write_text(TWO + file.read_text())
    home.policy(WIDE)
    return home


@asynccontextmanager
async def proposed(two: Household) -> AsyncIterator[tuple[House, Administration, str]]:
    """Ann has proposed the wide policy."""
    async with two.open() as (house, desk):
        yield house, desk, (await desk.operate(ANN, "policy.apply", {}))["proposed"]


async def refused(desk: Administration, author: str, **given: Any) -> OperationRefused:
    with pytest.raises(OperationRefused) as no:
        await desk.operate(author, "policy.approve", given)
    return no.value


def is_narrow(house: House) -> bool:
    return [rule.text for rule in house.policies.current.rules] == [NARROW]


@pytest.mark.parametrize(
    "author",
    [
        pytest.param(ANN, id="the same"),
        pytest.param("uid:1000 bob", id="the same user under another name"),
        pytest.param("signal:hup", id="a signal"),
        pytest.param("system:house", id="the house"),
        pytest.param("agent:ann", id="a key of an agent"),
    ],
)
async def test_nobody_approves_alone(two: Household, author: str) -> None:
    async with proposed(two) as (house, desk, digest):
        assert (await refused(desk, author, digest=digest)).exit_code is Exit.NOT_OPERATOR
        assert is_narrow(house)


async def test_a_key_of_an_agent_proposes_nothing(two: Household) -> None:
    """Who holds it could approve that with a token, or as a user of the socket."""
    async with two.open() as (house, desk):
        with pytest.raises(OperationRefused, match="is no person") as no:
            await desk.operate("agent:ann", "policy.apply", {})
        assert no.value.exit_code is Exit.NOT_OPERATOR
        assert house.proposals == []


@pytest.mark.parametrize(
    "author",
    ["agent:corp/alice", "agent:partner/alice", "agent:corp/Alice", "agent:corp/\u0430lice",
     "agent:corp/a\u200blice", "agent:corp/al\u0131ce", "agent:corp/al ice", "agent:corp/aIice",
     "agent:partner/\uff41lice", "agent:corp/a1ice"],
)  # fmt: skip
async def test_nobody_becomes_two_by_a_second_issuer_or_another_spelling(
    two: Household, author: str
) -> None:
    async with two.open() as (house, desk):
        digest = (await desk.operate("agent:corp/alice", "policy.apply", {}))["proposed"]
        assert (await refused(desk, author, digest=digest)).exit_code is Exit.NOT_OPERATOR
        assert is_narrow(house)
        assert (await desk.operate("agent:partner/bob", "policy.approve", {"digest": digest}))[
            "changed"
        ]


async def test_a_reopened_log_takes_no_policy_from_the_folder(two: Household) -> None:
    """One person breaks the log, reopens it, and would have another policy in force."""
    async with two.open():
        pass
    (two.folder / "keys" / keys.LOG_KEY).unlink()
    await anyio.to_thread.run_sync(two.do, "audit", "reopen", "--accept-loss", "--yes")
    async with two.open() as (house, desk):
        assert house.policies.current.version == builtin_deny_all().version
        digest = (await desk.operate(ANN, "policy.apply", {}))["proposed"]
        assert (await refused(desk, ANN, digest=digest)).exit_code is Exit.NOT_OPERATOR
        assert house.policies.current.version == builtin_deny_all().version
    assert (
        "no policy was approved yet" in (await anyio.to_thread.run_sync(two.run, "doctor")).stdout
    )


async def test_a_signal_proposes_nothing_that_its_sender_could_approve(two: Household) -> None:
    async with two.open() as (house, desk):
        with pytest.raises(OperationRefused, match="SIGHUP"):
            await desk.operate("signal:hup", "policy.apply", {})
        assert house.proposals == []


async def test_files_that_are_swapped_after_proposing_are_not_what_is_approved(
    two: Household,
) -> None:
    harmless = "p, reader, default, tool/shelf/list, call, -, allow"
    two.policy(harmless)
    async with proposed(two) as (house, desk, digest):
        two.policy(WIDE)
        await desk.operate(BOB, "policy.approve", {"digest": digest})
        assert [rule.text for rule in house.policies.current.rules] == [harmless]


async def test_only_the_whole_digest_names_a_proposal(two: Household) -> None:
    async with proposed(two) as (house, desk, digest):
        assert (await refused(desk, BOB, digest=digest[:63])).exit_code is Exit.NO
        assert is_narrow(house)


async def test_a_proposal_made_for_another_policy_is_stale(two: Household) -> None:
    async with proposed(two) as (house, desk, digest):
        await desk.operate(ANN, "agent.add", {"name": "bot", "roles": ["reader"]})
        assert "has changed" in (await refused(desk, BOB, digest=digest)).what
        assert is_narrow(house)
    async with two.open() as (house, desk):
        assert (await refused(desk, BOB, digest=digest)).exit_code is Exit.NO
        assert is_narrow(house)


async def test_a_proposal_lasts_a_day(two: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    async with proposed(two) as (house, desk, digest):
        proposal_us = house.proposals[0].at_us
        late_us = proposal_us + 86_400 * 1_000_000
        monkeypatch.setattr(house.ledger.log, "stamp", lambda: late_us)
        assert "more than a day old" in (await refused(desk, BOB, digest=digest)).what
        assert proposing.waiting(house) == []
        monkeypatch.setattr(house.ledger.log, "stamp", lambda: late_us - 1)
        assert (await desk.operate(BOB, "policy.approve", {"digest": digest}))["changed"]


async def test_a_proposed_version_is_no_version_to_go_back_to(two: Household) -> None:
    async with proposed(two) as (house, desk, digest):
        with pytest.raises(OperationRefused, match="there is no version"):
            await desk.operate(ANN, "policy.rollback", {"version": digest})
        assert is_narrow(house)


async def test_what_is_stored_of_a_proposal_cannot_be_exchanged(two: Household) -> None:
    async with proposed(two) as (house, desk, digest):
        write(two.database, "UPDATE policy_versions SET bundle = x'7b7d' WHERE version = ?", digest)
        assert "is not that version" in (await refused(desk, BOB, digest=digest)).what
        assert is_narrow(house)


async def test_a_policy_that_is_not_stored_any_more_denies_everything_until_it_is(
    two: Household,
) -> None:
    """It falls back on nothing: neither on the folder nor on an older version."""
    async with two.open() as (house, _):
        version = house.policies.current.version
    with closing(sqlite3.connect(two.database)) as connection:
        row = connection.execute("SELECT * FROM policy_versions").fetchone()
    write(two.database, "DELETE FROM policy_versions WHERE version = ?", version)
    async with two.open() as (house, _):
        assert house.policies.current.version == builtin_deny_all().version
    assert "denied" in two.run("doctor").stdout
    write(two.database, "INSERT INTO policy_versions VALUES (?,?,?)", *row)
    async with two.open() as (house, _):
        assert house.policies.current.version == version


async def test_the_entry_that_put_a_policy_in_force_cannot_be_filed_away(two: Household) -> None:
    async with two.open():
        pass
    # As behind a crash, where no checkpoint has been published since: entries are read anew.
    (two.folder / "keys" / "checkpoint.changes").unlink()
    statement = "UPDATE entries SET kind = 'close' WHERE instr(body, ?) > 0"
    write(two.database, statement, b'"what":"policy.apply"')
    with pytest.raises(LogDamaged, match="filed"):
        async with two.open():
            pass


async def test_a_proposer_cannot_become_somebody_else_in_the_table_of_names(
    two: Household,
) -> None:
    async with proposed(two) as (_, _, digest):
        pass
    write(two.database, "UPDATE pseudonyms SET name = 'uid:7 eve' WHERE name = ?", ANN)
    async with two.open() as (house, desk):
        assert (await refused(desk, ANN, digest=digest)).exit_code is Exit.NOT_OPERATOR
        assert (await refused(desk, BOB, digest=digest)).exit_code is Exit.NOT_OPERATOR
        assert is_narrow(house)


def test_without_a_gateway_nobody_can_tell_who_asks(two: Household) -> None:
    """Root in a name space of users of one's own would be another person."""
    for command in (["apply"], ["rollback", "abcd"], ["approve", "0" * 64, "--yes"]):
        assert two.refusal("policy", *command)["exit_code"] == Exit.UNREACHABLE


async def test_a_version_whose_cases_fail_now_is_not_gone_back_to(home: Household) -> None:
    home.policy(NARROW)
    (home.folder / "policies" / "cases" / "bot.toml").write_text(
        '[[case]]\nname = "bot may not look"\nagent = "bot"\nobject = "tool/shelf/look"\n'
        'expect = "deny"\n'
    )
    async with home.open() as (house, desk):
        first = house.policies.current.version
        home.policy(WIDE)
        await desk.operate(ANN, "policy.apply", {})
        await desk.operate(ANN, "agent.add", {"name": "bot", "roles": ["reader"]})
        before = house.policies.current.version
        with pytest.raises(OperationRefused, match="bot may not look") as no:
            await desk.operate(ANN, "policy.rollback", {"version": first})
        assert no.value.exit_code is Exit.INVALID
        assert house.policies.current.version == before


async def test_a_version_of_another_engine_is_not_gone_back_to(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.open() as (house, desk):
        first = house.policies.current.version
        home.policy(WIDE)
        await desk.operate(ANN, "policy.apply", {})
        before = house.policies.current.version
        monkeypatch.setattr("gateway.policy.files.ENGINE", "customhouse-policy@2")
        with pytest.raises(OperationRefused, match="cannot be read by this program") as no:
            await desk.operate(ANN, "policy.rollback", {"version": first})
        assert no.value.exit_code is Exit.INVALID
        assert house.policies.current.version == before


@pytest.mark.skipif(os.geteuid() != 0, reason="two users need root")
async def test_on_the_socket_two_persons_are_two_users(two: Household) -> None:
    """The kernel says who asks: root proposes, and only the owner of the folder may approve."""
    data = two.config.data_dir
    async with two.served() as house:
        os.chown(data / admin.SOCKET, NOBODY, NOBODY)
    os.chown(data, NOBODY, NOBODY)
    async with two.served() as house:
        os.chown(data / admin.SOCKET, NOBODY, NOBODY)  # as a gateway would make it that runs so
        digest = (await said(data, 0, "policy.apply"))["ok"]["proposed"]
        answer = await said(data, 0, "policy.approve", digest=digest)
        assert answer["refused"]["exit_code"] == Exit.NOT_OPERATOR
        assert is_narrow(house)
        answer = await said(data, NOBODY, "policy.approve", digest=digest)
        assert answer["ok"]["version"] == digest
        assert house.policies.current.version == digest


async def said(data: Path, uid: int, name: str, **given: Any) -> dict[str, Any]:
    """What the gateway answers to the user *uid*."""
    with socket.socket(socket.AF_UNIX) as connection, chdir(data):
        connection.settimeout(10)
        os.seteuid(uid)
        try:
            connection.connect(admin.SOCKET)
        finally:
            os.seteuid(0)
        connection.sendall(json.dumps({"op": name, "args": given}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(await anyio.to_thread.run_sync(lines.readline))
    return answer


@pytest.mark.slow
def test_neither_a_signal_nor_a_restart_lets_changed_files_in(two: Household) -> None:
    config = two.folder / "customhouse.toml"
    running = GatewayProcess(config).start()
    try:
        assert any(line.get("event") == "policy_folder_not_in_force" for line in running.lines)
        running.process.send_signal(signal.SIGHUP)
        answer = reach.ask(two.config.data_dir / admin.SOCKET, "policy.pending", {})
        assert answer == {"ok": []}
    finally:
        assert running.stop() == 0
    assert any(line.get("event") == "policy_not_applied" for line in running.lines)
    code, out, _ = customhouse("policy", "history", "--json", "--config", str(config))
    assert code == 0
    assert [row["what"] for row in json.loads(out)] == ["policy.apply"]


def write(database: Path, statement: str, *values: object) -> None:
    """What somebody does who can write to the file of the database."""
    with closing(sqlite3.connect(database)) as connection, connection:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (trigger,) in connection.execute(triggers).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        assert connection.execute(statement, values).rowcount == 1
