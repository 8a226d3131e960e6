"""What is left of a subject beside its calls: names, rows of administration, stored policies."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.app.house import House
from gateway.app.operations.entering import conflict
from gateway.app.operations.opening import Ring, unsealed
from gateway.domain.revocation import all_tokens
from gateway.policy.files import unbundle
from gateway.store import erasure
from gateway.store.backing import keep
from gateway.store.engine import reading
from gateway.store.erasure import Row
from gateway.store.keyring import SIGNING, payload_keys
from gateway.store.ledger import LogUnavailable
from gateway.store.log import SALT_BYTES
from gateway.store.petitions import ASK, DENY, GIVE
from gateway.store.pseudonyms import CREDENTIAL, OBJECT, SUBJECT
from gateway.store.writer import Effect, WriteFailed

TOGETHER = 200  # rows of keys that one entry stands behind
TRIES, PAUSE_S = 20, 0.25  # for the write-ahead log, while somebody reads an older state
# Changes whose notes name subjects: what was looked for, and whose tokens were revoked.
# And what was asked to be approved, with its arguments; and to whom tokens were given.
_NAMING = ("audit.payload_read", "token.revoke", ASK, GIVE, DENY, *SIGNING)


@dataclass(frozen=True, slots=True)
class Part:
    """What goes in one entry."""

    names: tuple[str, ...]  # pseudonyms
    effects: tuple[Effect, ...]
    notes: tuple[int, ...] = ()  # leaves of changes whose reasons go


@dataclass(frozen=True, slots=True)
class Remains:
    name: str
    who: str  # its pseudonym; "" when it never called, or was erased before
    parts: tuple[Part, ...]
    dead_keys: tuple[str, ...]
    policies: tuple[str, ...] = ()  # versions that go
    policies_kept: int = 0  # versions that name it and stay

    @property
    def is_nothing(self) -> bool:
        return not any(part.names or part.effects or part.notes for part in self.parts)

    @property
    def count_of_names(self) -> int:
        return sum(len(part.names) for part in self.parts)

    @property
    def count_of_notes(self) -> int:
        return sum(len(part.notes) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Rows:
    agents: Sequence[Row]
    keys: Sequence[Row]
    notes: tuple[int, ...]
    policies: Sequence[str]  # versions that name it


async def remains_of(house: House, name: str, who: str, *, policies: bool) -> Remains:
    """Everything that names the subject *name*, in parts that one entry each can stand behind."""
    pseudonyms, registered = house.ledger.pseudonyms, name in house.identity.agents
    about = [
        pseudonym
        for pseudonym in (
            pseudonyms.known(OBJECT, f"agent/{name}"),
            *(pseudonyms.known(OBJECT, f"key/{key}") for key in _key_ids(house, name)),
            pseudonyms.known(OBJECT, f"key/{all_tokens(name)}"),
        )
        if pseudonym
    ]
    now_us = house.ledger.log.stamp()
    rows = await asyncio.to_thread(_read, house, name, who, about)
    in_force = house.policies.current.version
    gone = tuple(v for v in rows.policies if policies and v != in_force)
    kept = [row for row in rows.keys if registered and not erasure.is_dead(row, now_us)]
    if len(kept) > TOGETHER:
        raise conflict(
            f"agent {name} has {len(kept)} live keys",
            f"one entry can stand behind {TOGETHER} of them",
            "revoke those that nobody uses: customhouse key list " + name,
        )
    dead = [row for row in rows.keys if row not in kept]
    parts = [
        _key_part(house, dead[first : first + TOGETHER]) for first in range(0, len(dead), TOGETHER)
    ]
    agents = (
        keep("agents", row) if registered else erasure.delete_agent(name) for row in rows.agents
    )
    last = Part(
        names=_own_names(house, name, kept, parts),
        effects=(
            *agents,
            *(keep("keys", row) for row in kept),
            *(erasure.delete_policy(version) for version in gone),
        ),
        notes=rows.notes,
    )
    dead_keys = tuple(str(row[0]) for row in dead)
    return Remains(name, who, (*parts, last), dead_keys, gone, len(rows.policies) - len(gone))


async def scrubbed(house: House, *, rows: bool = False, policies: bool = False) -> bool:
    """Leave no byte of what was erased in the files; *rows*: of names and rows as well.

    False: somebody reads an older state of the database, which therefore has to stay for now.
    Raises: LogUnavailable: the files could not be written.
    """
    done: list[bool] = []

    def tidy(connection: sqlite3.Connection) -> None:
        if rows and not done:
            erasure.scrub(connection, *(("policy_versions",) if policies else ()))
        done.append(erasure.truncate(connection))

    for _ in range(TRIES):
        try:
            await house.ledger.log.carry_out((), after=tidy)
        except WriteFailed as err:
            raise LogUnavailable("it is erased, and its traces in the files may not be") from err
        if done[-1]:
            return True
        await asyncio.sleep(PAUSE_S)
    return False


def _key_ids(house: House, name: str) -> list[str]:
    return [key.id for key in house.identity.keys.values() if key.agent == name]


def _read(house: House, name: str, who: str, about: Sequence[str]) -> _Rows:
    with reading(house.database) as connection:
        agents, keys = erasure.rows_of(connection, name)
        return _Rows(
            agents,
            keys,
            notes=_notes(connection, house, name, erasure.notes_about(connection, who, about)),
            policies=[v for v, raw in erasure.policies(connection) if _names_it(raw, name)],
        )


def _notes(
    connection: sqlite3.Connection, house: House, name: str, about: erasure.Step
) -> tuple[int, ...]:
    """The leaves of notes *about* the subject, and of those that name it."""
    ring, names = tuple(payload_keys(house.house_keys.folder)), _whole_word(name)
    found = set(about.leaves)
    for leaf, nonce, sealed in erasure.notes_of(connection, _NAMING):
        if names.search(_opened(ring, leaf, nonce, sealed)):
            found.add(leaf)
    return tuple(sorted(found))


def _opened(ring: Ring, leaf: int, nonce: bytes, sealed: bytes) -> str:
    payload = unsealed(ring, leaf, nonce, sealed) or b""
    return payload[SALT_BYTES:].decode("utf-8", "replace")


def _whole_word(name: str) -> re.Pattern[str]:
    """*name*, and what it is at its issuer, where neither is a part of another name.

    corp/alice: `agent:corp/alice`, and `alice has left`; neither corp/alice.b nor partner/alice.
    """
    alone = name.partition("/")[2]
    either = "|".join(re.escape(one) for one in (name, alone) if one)
    return re.compile(rf"(?<![\w/])(?<!\w[.@-])(?:{either})(?![\w/])(?![.@-]\w)", re.IGNORECASE)


def _names_it(bundle: bytes, name: str) -> bool:
    try:
        source, bindings = unbundle(bundle)
    except ValueError:  # of another engine: what it says cannot be told
        return False
    if any(name == agent for agent, _, _ in bindings):
        return True
    return any(name.encode() in content for content in source.files.values())


def _own_names(
    house: House, name: str, kept: Sequence[Row], parts: Sequence[Part]
) -> tuple[str, ...]:
    of_names = house.ledger.pseudonyms.of_names
    found = [
        *of_names(SUBJECT, name.__eq__),
        *of_names(OBJECT, f"agent/{name}".__eq__),
        *of_names(CREDENTIAL, name.__eq__),  # of a token that says no other client
        *of_names(CREDENTIAL, lambda known: known.startswith(f"config:{name}:")),
        *_names_of_keys(house, [str(row[0]) for row in kept]),
    ]
    gone = {pseudonym for part in parts for pseudonym in part.names}
    return tuple(pseudonym for pseudonym in dict.fromkeys(found) if pseudonym not in gone)


def _key_part(house: House, rows: Sequence[Row]) -> Part:
    ids = [str(row[0]) for row in rows]
    return Part(
        names=tuple(_names_of_keys(house, ids)),
        effects=tuple(map(erasure.delete_key, ids)),
    )


def _names_of_keys(house: House, ids: Sequence[str]) -> list[str]:
    known = house.ledger.pseudonyms.known
    found = [known(CREDENTIAL, key_id) for key_id in ids]
    found += [known(OBJECT, f"key/{key_id}") for key_id in ids]
    return [pseudonym for pseudonym in found if pseudonym]
