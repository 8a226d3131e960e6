"""Agents and keys by operation: an entry first, in force after, and the policy bound to the roles."""

from __future__ import annotations

import asyncio

import pytest

from gateway.app.house import House
from gateway.app.operations.reading import policy_in_force
from gateway.audit import entry as entries
from gateway.domain.operator import Exit, OperationRefused
from gateway.store import engine
from gateway.store.ledger import LogUnavailable
from gateway.store.trail import opened
from gateway.store.writer import Write
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
AUTHOR = "uid:1000 ann"


def changes(house: House) -> list[entries.Change]:
    with engine.reading(house.database) as connection:
        rows = connection.execute("SELECT body FROM entries WHERE kind='change' ORDER BY idx")
        found = [entries.decode(body) for (body,) in rows]
    return [entry for entry in found if isinstance(entry, entries.Change)]


async def test_adding_an_agent_is_one_entry_by_its_author(home: Household) -> None:
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "team": "sales", "reason": "pilot"})
        entry = changes(house)[-1]
        assert entry.what == "agent.add"
        assert house.ledger.pseudonyms.name(entry.author) == AUTHOR
        assert house.ledger.pseudonyms.name(entry.subject) == "agent/bot"
        assert entry.note  # a commitment; the words are sealed
        assert "pilot" not in repr(entry)


async def test_roles_bind_the_agent_in_a_new_version_of_the_policy(home: Household) -> None:
    async with home.open() as (house, desk):
        before = house.policies.current
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "roles": ["reader"]})
        after, entry = house.policies.current, changes(house)[-1]
        assert after.version != before.version
        assert (entry.digest, entry.prior) == (after.version, before.version)
        assert "reader" in after.roles.closure("bot", "default")
        await desk.operate(AUTHOR, "agent.withdraw", {"name": "bot", "role": "reader"})
        # The same bindings give the same version: nothing but the bindings went into it.
        assert house.policies.current.version == before.version


async def test_a_version_that_comes_back_is_the_one_in_force(home: Household) -> None:
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "roles": ["reader"]})
        await desk.operate(AUTHOR, "agent.withdraw", {"name": "bot", "role": "reader"})
        with opened(home.database.parent) as trail:
            assert trail.policy_version() == house.policies.current.version
            assert policy_in_force(trail).version == house.policies.current.version


async def test_files_that_were_edited_meanwhile_are_not_applied_with_a_role(
    home: Household,
) -> None:
    async with home.open() as (house, desk):
        home.policy("p, *, default, tool/*, call, -, allow")
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "roles": ["reader"]})
        assert not any(
            rule.text.startswith("p, *, default") for rule in house.policies.current.rules
        )


async def test_agents_outlive_the_process(home: Household) -> None:
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "roles": ["reader"]})
        await desk.operate(AUTHOR, "agent.disable", {"name": "bot"})
        version = house.policies.current.version
    async with home.open() as (house, _):
        assert house.identity.agents["bot"].disabled
        assert house.policies.current.version == version


async def test_a_key_opens_until_it_is_revoked(home: Household) -> None:
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        issued = await desk.operate(AUTHOR, "key.issue", {"agent": "bot"})
        now_us = house.ledger.log.stamp()
        principal = house.identity.authenticate(issued["key"], now_us)
        assert principal is not None
        assert principal.subject == "bot"
        assert issued["expires_at_us"] > now_us
        await desk.operate(AUTHOR, "key.revoke", {"id": issued["id"][:6]})
        assert house.identity.authenticate(issued["key"], now_us) is None
    async with home.open() as (house, _):
        assert house.identity.authenticate(issued["key"], now_us) is None


async def test_a_key_of_the_file_is_revoked_for_good(home: Household) -> None:
    """The file still refers to it; the revocation stays with the secret."""
    home.write('[agents.filed]\nkey = "env:FILED_KEY"\n')
    home.environ["FILED_KEY"] = key = "0123456789abcdefghijklmnopqrstuvwxyz"
    async with home.open() as (house, desk):
        assert house.identity.authenticate(key, house.ledger.log.stamp()) is not None
        await desk.operate(AUTHOR, "key.revoke", {"id": "config:filed:"})
    async with home.open() as (house, _):
        assert house.identity.authenticate(key, house.ledger.log.stamp()) is None
    home.environ["FILED_KEY"] = another = "zyxwvutsrqponmlkjihgfedcba9876543210"
    async with home.open() as (house, _):
        assert house.identity.authenticate(another, house.ledger.log.stamp()) is not None


async def test_the_key_itself_is_kept_nowhere(home: Household) -> None:
    async with home.open() as (_, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        issued = await desk.operate(AUTHOR, "key.issue", {"agent": "bot"})
    for path in (*(home.folder / "data").iterdir(), *(home.folder / "keys").iterdir()):
        assert issued["key"].encode() not in path.read_bytes(), path


async def test_a_disabled_agent_is_let_in_again_with_its_key(home: Household) -> None:
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        key = (await desk.operate(AUTHOR, "key.issue", {"agent": "bot"}))["key"]
        now_us = house.ledger.log.stamp()
        await desk.operate(AUTHOR, "agent.disable", {"name": "bot"})
        assert house.identity.authenticate(key, now_us) is None
        done = await desk.operate(AUTHOR, "agent.enable", {"name": "bot"})
        assert done["changed"]
        assert house.identity.authenticate(key, now_us) is not None
        again = await desk.operate(AUTHOR, "agent.enable", {"name": "bot"})
        assert not again["changed"]


REFUSED = [
    pytest.param("agent.add", {"name": "bot"}, Exit.CONFLICT, id="the name is taken"),
    pytest.param("agent.add", {"name": "Bot"}, Exit.USAGE, id="not a name"),
    pytest.param("agent.add", {"name": "b\u043et"}, Exit.USAGE, id="a Cyrillic letter in a name"),
    pytest.param("agent.add", {}, Exit.USAGE, id="no name"),
    pytest.param("agent.add", {"name": "x", "rolls": []}, Exit.USAGE, id="unknown argument"),
    pytest.param("agent.add", {"name": "x", "roles": "r"}, Exit.USAGE, id="roles are no list"),
    pytest.param("agent.add", {"name": "x", "rate": "fast"}, Exit.USAGE, id="not a rate"),
    pytest.param("agent.add", {"name": "x", "budget": {"t": "1/day"}}, Exit.USAGE, id="no meter"),
    pytest.param("agent.add", {"name": "x", "roles": ["bot"]}, Exit.CONFLICT, id="agent as role"),
    pytest.param("agent.add", {"name": "x", "roles": ["x"]}, Exit.CONFLICT, id="role of itself"),
    pytest.param("agent.add", {"name": "a_b"}, Exit.CONFLICT, id="differs only in a dash"),
    pytest.param("agent.add", {"name": "x", "team": "t", "tenant": "u"}, Exit.CONFLICT, id="team"),
    pytest.param("agent.grant", {"name": "nobody", "role": "r"}, Exit.NO, id="unknown agent"),
    pytest.param("agent.grant", {"name": "bot", "role": "a-b"}, Exit.CONFLICT, id="grant an agent"),
    pytest.param("agent.grant", {"name": "filed", "role": "r"}, Exit.CONFLICT, id="declared agent"),
    pytest.param("agent.limit", {"name": "nobody", "rate": "1/s"}, Exit.NO, id="limits of nobody"),
    pytest.param("agent.limit", {"name": "filed", "rate": "1/s"}, Exit.CONFLICT, id="its file"),
    pytest.param("agent.limit", {"name": "bot"}, Exit.USAGE, id="no limit at all"),
    pytest.param("agent.limit", {"name": "bot", "rate": "often"}, Exit.USAGE, id="limit no rate"),
    pytest.param("agent.limit", {"name": "bot", "clear": ["all"]}, Exit.USAGE, id="clear what"),
    pytest.param(
        "agent.limit", {"name": "bot", "rate": "1/s", "clear": ["rate"]}, Exit.USAGE, id="both"
    ),
    pytest.param("key.issue", {"agent": "nobody"}, Exit.NO, id="key for nobody"),
    pytest.param("key.issue", {"agent": "off"}, Exit.CONFLICT, id="key for a disabled agent"),
    pytest.param("key.issue", {"agent": "bot", "days": 9999}, Exit.USAGE, id="a key for ages"),
    pytest.param("key.issue", {"agent": "bot", "days": True}, Exit.USAGE, id="days are no number"),
    pytest.param("key.revoke", {"id": "zzz"}, Exit.NO, id="unknown key"),
    pytest.param("key.revoke", {"id": ""}, Exit.NO, id="no key at all"),
    pytest.param("key.revoke", {"id": "k"}, Exit.CONFLICT, id="several keys begin so"),
    pytest.param("agnet.add", {"name": "x"}, Exit.USAGE, id="unknown operation"),
]


@pytest.mark.parametrize(("name", "args", "code"), REFUSED)
async def test_a_refused_operation_leaves_no_trace(
    home: Household, name: str, args: dict[str, object], code: Exit
) -> None:
    home.write('[agents.filed]\nroles = ["reader"]\n[teams.t]\ntenant = "default"\n')
    async with home.open() as (house, desk):
        for agent in ("bot", "a-b", "off"):
            await desk.operate(AUTHOR, "agent.add", {"name": agent})
        for _ in range(2):
            await desk.operate(AUTHOR, "key.issue", {"agent": "bot"})
        await desk.operate(AUTHOR, "agent.disable", {"name": "off"})
        before = len(changes(house)), dict(house.identity.agents), dict(house.identity.keys)
        with pytest.raises(OperationRefused) as refused:
            await desk.operate(AUTHOR, name, args)
        assert refused.value.exit_code is code, refused.value.what
        assert refused.value.why
        assert refused.value.fix
        after = len(changes(house)), dict(house.identity.agents), dict(house.identity.keys)
        assert after == before


async def test_what_cannot_be_written_down_does_not_happen(home: Household) -> None:
    async with home.open() as (house, desk):
        house.ledger.log.closed = True
        with pytest.raises(OperationRefused) as refused:
            await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        house.ledger.log.closed = False
        assert refused.value.exit_code is Exit.UNREACHABLE
        assert isinstance(refused.value.__cause__, LogUnavailable)
        assert "bot" not in house.identity.agents


async def test_an_operation_that_is_abandoned_is_still_whole(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asker leaves between the entry and its effect: there is never one without the other."""
    async with home.open() as (house, desk):
        queued, put = asyncio.Event(), house.writer.put

        def announced(write: Write) -> None:
            put(write)
            queued.set()

        monkeypatch.setattr(house.writer, "put", announced)
        adding = asyncio.ensure_future(desk.operate(AUTHOR, "agent.add", {"name": "bot"}))
        async with asyncio.timeout(5):
            await queued.wait()
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert changes(house)[-1].what == "agent.add"
        assert "bot" in house.identity.agents


async def test_a_role_that_breaks_a_case_is_not_given(home: Household) -> None:
    home.policy("p, reader, default, tool/time/*, call, -, allow")
    (home.folder / "policies" / "cases" / "bot.toml").write_text(
        '[[case]]\nname = "the bot may not"\nagent = "bot"\nobject = "tool/time/now"\n'
        'expect = "deny"\n'
    )
    async with home.open() as (house, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        with pytest.raises(OperationRefused, match="the bot may not") as refused:
            await desk.operate(AUTHOR, "agent.grant", {"name": "bot", "role": "reader"})
        assert refused.value.exit_code is Exit.INVALID
        assert house.identity.agents["bot"].roles == ()


async def test_the_policy_folder_is_applied_whole_or_not_at_all(home: Household) -> None:
    async with home.open() as (house, desk):
        before = house.policies.current.version
        home.policy("p, reader, default, tool/time/*, call, no_such_condition, allow")
        with pytest.raises(OperationRefused) as refused:
            await desk.operate(AUTHOR, "policy.apply", {})
        assert refused.value.exit_code is Exit.INVALID
        assert house.policies.current.version == before
        home.policy("p, reader, default, tool/time/*, call, -, allow")
        done = await desk.operate(AUTHOR, "policy.apply", {})
        assert done["changed"]
        assert done["version"] == house.policies.current.version


async def test_a_removed_agent_is_forgotten_and_its_keys_are_revoked_with_it(
    home: Household,
) -> None:
    async with home.open() as (house, desk):
        before = house.policies.current.version
        await desk.operate(AUTHOR, "agent.add", {"name": "bot", "roles": ["reader"]})
        issued = await desk.operate(AUTHOR, "key.issue", {"agent": "bot"})
        done = await desk.operate(AUTHOR, "agent.remove", {"name": "bot"})
        assert done["revoked"] == [issued["id"]]
        assert house.identity.authenticate(issued["key"], house.ledger.log.stamp()) is None
        assert (changes(house)[-1].what, house.policies.current.version) == ("agent.remove", before)
    async with home.open() as (house, desk):
        assert house.identity.agents == {}
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        assert house.identity.authenticate(issued["key"], house.ledger.log.stamp()) is None
    home.do("audit", "verify")


async def test_a_declared_agent_is_not_removed_by_command(home: Household) -> None:
    home.write('[agents.bot]\nroles = ["reader"]\n')
    async with home.open() as (house, desk):
        with pytest.raises(OperationRefused) as caught:
            await desk.operate(AUTHOR, "agent.remove", {"name": "bot"})
        assert caught.value.exit_code is Exit.CONFLICT
        assert "bot" in house.identity.agents


async def test_an_agent_that_was_removed_may_be_declared_later(home: Household) -> None:
    async with home.open() as (_, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "bot"})
        await desk.operate(AUTHOR, "agent.remove", {"name": "bot"})
    home.write("[agents.bot]\n")
    async with home.open() as (house, _):
        assert not house.identity.agents["bot"].disabled
