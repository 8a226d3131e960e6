"""Revoking tokens, and names that tokens must not share with agents."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gateway.domain.operator import Exit, OperationRefused
from gateway.domain.revocation import all_tokens, one_token
from gateway.store.backing import NotBacked
from gateway.store.identity import NameTaken
from tests.cli.household import Household

pytestmark = pytest.mark.anyio
AUTHOR = "uid:1000 ann"
ISSUER = '[issuers.corp]\nurl = "https://login.example.com"\nroles = { "scope:a" = "proved" }\n'


@pytest.fixture
def believing(home: Household) -> Household:
    home.write(ISSUER)
    return home


async def test_what_was_revoked_stays_so_when_the_house_is_opened_again(
    believing: Household,
) -> None:
    async with believing.open() as (house, desk):
        assert house.identity.revoked_us(all_tokens("corp/alice")) == 0
        done = await desk.operate(AUTHOR, "token.revoke", {"subject": "corp/alice"})
        assert done["id"] == all_tokens("corp/alice")
        await desk.operate(AUTHOR, "token.revoke", {"jti": "corp/a/b"})
    async with believing.open() as (house, desk):
        assert house.identity.revoked_us(all_tokens("corp/alice")) == done["revoked_at_us"]
        assert house.identity.revoked_us(one_token("corp", "a/b"))
        again = await desk.operate(AUTHOR, "token.revoke", {"subject": "corp/alice"})
        assert again["revoked_at_us"] > done["revoked_at_us"]
        assert house.identity.issued_keys(2**60) == 0
        # Its id is no key, though it stands where keys do.
        assert house.identity.authenticate(done["id"], 2**60) is None
    assert believing.ask("key", "list") == []


async def test_a_revocation_that_was_taken_out_of_the_database_keeps_the_house_closed(
    believing: Household,
) -> None:
    async with believing.open() as (_, desk):
        await desk.operate(AUTHOR, "token.revoke", {"subject": "corp/alice"})
    with closing(sqlite3.connect(believing.database)) as connection, connection:
        connection.execute("DELETE FROM keys")
    with pytest.raises(NotBacked):
        async with believing.open():
            pass


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, Exit.USAGE),
        ({"subject": "corp/a", "jti": "corp/b"}, Exit.USAGE),
        ({"subject": "alice"}, Exit.USAGE),
        ({"subject": "corp/"}, Exit.USAGE),
        ({"subject": "elsewhere/alice"}, Exit.NO),
        ({"subject": "/alice"}, Exit.NO),
    ],
)
async def test_what_names_nobodys_tokens_is_not_revoked(
    believing: Household, given: dict[str, str], code: Exit
) -> None:
    async with believing.open() as (_, desk):
        with pytest.raises(OperationRefused) as refused:
            await desk.operate(AUTHOR, "token.revoke", given)
        assert refused.value.exit_code is code


async def test_no_agent_is_called_like_a_role_that_tokens_give(home: Household) -> None:
    async with home.open() as (_, desk):
        await desk.operate(AUTHOR, "agent.add", {"name": "proved"})
    home.write(ISSUER)
    with pytest.raises(NameTaken, match="'proved' is an agent, and a role"):
        async with home.open():
            pass
    home.write(ISSUER.replace('"proved"', '"other"'))
    async with home.open() as (_, desk):
        with pytest.raises(OperationRefused, match="an agent and a role"):
            await desk.operate(AUTHOR, "agent.add", {"name": "other"})
