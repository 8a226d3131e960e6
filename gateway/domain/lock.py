"""customhouse.lock: what was approved, by whom and when, in a form that is reviewed like code.

    version = 1

    [servers.time]
    artifact = "mcp-server-time --local-timezone UTC"
    digest = "sha256:9b1d..."

    [servers.time.definitions]
    "tool/get_current_time" = { digest = "sha256:77aa...", approver = "uid:1000", date = "2026-11-25" }

The digest of a server is that of what is started or connected to, also of the parts that `artifact`
does not show: the folder, and the variables that decide which code runs. The same approvals always
give the same bytes, and only those bytes are read.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from gateway.domain.model import Kind, object_name
from gateway.domain.names import is_name
from gateway.domain.unseen import is_unseen

VERSION = 1
MAX_LOCK_BYTES = 16_777_216
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_KINDS = frozenset(Kind) - {Kind.ADMIN}
_HEAD = """\
# What was approved behind this border, written by: customhouse tool lock
# `customhouse serve --frozen` serves what stands here, and nothing else.
"""


class BadLock(ValueError):
    """It is not a lock file as `tool lock` writes it; the message says where not."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One definition: the digest that was approved (hex), by whom and on which day (UTC)."""

    digest: str
    approver: str = ""
    day: str = ""  # 2026-11-25; "" when the log does not tell any more


@dataclass(frozen=True, slots=True)
class LockedServer:
    artifact: str  # what is started or connected to, for people
    digest: str  # of the same, whole
    definitions: Mapping[str, Locked] = field(default_factory=dict)  # by KIND/NAME


@dataclass(frozen=True, slots=True)
class Lock:
    servers: Mapping[str, LockedServer] = field(default_factory=dict)

    def permitted(self, artifacts: Mapping[str, str]) -> dict[tuple[str, Kind, str], str]:
        """(server, kind, name) -> digest of all that may be served.

        Nothing of a server whose digest in *artifacts* is another one: it is not what was locked.
        """
        return {
            (server, *_kind_and_name(key)): one.digest
            for server, locked in self.servers.items()
            if artifacts.get(server) == locked.digest
            for key, one in locked.definitions.items()
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the lock and what is approved now do not agree on. "" where it is not."""

    object: str  # server/time, or tool/time/get_current_time
    locked: str  # digest
    approved: str

    @property
    def says(self) -> str:
        if not self.locked:
            return "is approved, and not in the lock"
        if not self.approved:
            return "is in the lock, and not approved"
        return "is not what the lock says"

    def as_json(self) -> dict[str, str]:
        return {
            "object": self.object,
            "says": self.says,
            "locked": self.locked,
            "approved": self.approved,
        }


def differences(locked: Lock, approved: Lock) -> list[Difference]:
    """What differs in servers and definitions; who approved, and when, makes no difference."""
    before, after = dict(_digests(locked)), dict(_digests(approved))
    return [
        Difference(name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]


def write(lock: Lock) -> str:
    """The bytes of *lock*, always the same for the same."""
    parts = [f"{_HEAD}\nversion = {VERSION}\n"]
    for name, server in sorted(lock.servers.items()):
        parts.append(
            f"\n[servers.{name}]\nartifact = {_quoted(server.artifact)}\n"
            f'digest = "sha256:{server.digest}"\n\n[servers.{name}.definitions]\n'
        )
        for key, one in sorted(server.definitions.items()):
            parts.append(
                f'{_quoted(key)} = {{ digest = "sha256:{one.digest}",'
                f" approver = {_quoted(one.approver)}, date = {_quoted(one.day)} }}\n"
            )
    return "".join(parts)


def read(text: str) -> Lock:
    """The lock that *text* is. Raises: BadLock."""
    if len(text) > MAX_LOCK_BYTES:
        raise BadLock(f"it has more than {MAX_LOCK_BYTES} bytes")
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise BadLock(f"it is not TOML: {err}") from err
    _members(tables, "the file", "version", "servers")
    if tables["version"] != VERSION:
        raise BadLock(f"its version is not {VERSION}")
    lock = Lock({name: _server(name, table) for name, table in _table(tables, "servers").items()})
    # What reads like a lock, and is written in another way, somebody wrote: a key given twice in two
    # spellings, a character that is not drawn. Line ends are not what is meant.
    if write(lock) != text.replace("\r\n", "\n"):
        raise BadLock("it is not in the form in which locks are written")
    return lock


def _server(name: str, raw: Any) -> LockedServer:
    where = f"servers.{name}" if is_name(name) else "the name of a server"
    if not is_name(name) or not isinstance(raw, dict):
        raise BadLock(f"{where} is not right")
    _members(raw, where, "artifact", "digest", "definitions")
    return LockedServer(
        artifact=_text(raw, where, "artifact"),
        digest=_hex(raw, where),
        definitions={
            key: _definition(f"{where}.definitions.{key!a:.60}", key, value)
            for key, value in _table(raw, "definitions").items()
        },
    )


def _definition(where: str, key: str, raw: Any) -> Locked:
    if not isinstance(raw, dict):
        raise BadLock(f"{where} is not a table")
    _members(raw, where, "digest", "approver", "date")
    try:
        _kind_and_name(key)
        day = _text(raw, where, "date")
        if day:
            date.fromisoformat(day)
    except ValueError as err:
        raise BadLock(f"{where} has no kind, or no date") from err
    return Locked(_hex(raw, where), _text(raw, where, "approver"), day)


def _kind_and_name(key: str) -> tuple[Kind, str]:
    """Raises: ValueError: *key* does not begin with a kind."""
    kind, slash, name = key.partition("/")
    if not slash or kind not in _KINDS:
        raise ValueError(f"{key!a:.60} does not begin with a kind")
    return Kind(kind), name


def _digests(lock: Lock) -> Iterator[tuple[str, str]]:
    for name, server in lock.servers.items():
        yield f"server/{name}", server.digest
        for key, one in server.definitions.items():
            kind, of = _kind_and_name(key)
            # A server's instructions are a definition without a name: server/NAME/
            yield object_name(kind, name, of), one.digest


def _members(table: Mapping[str, Any], where: str, *expected: str) -> None:
    for key in expected:
        if key not in table:
            raise BadLock(f"{where} has no {key}")
    for key in table:
        if key not in expected:
            raise BadLock(f"{where} has {key!a:.60}, which is not known")


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table[key]
    if not isinstance(found, dict):
        raise BadLock(f"{key} is not a table")
    return found


def _text(table: Mapping[str, Any], where: str, key: str) -> str:
    found = table[key]
    if not isinstance(found, str):
        raise BadLock(f"{where}.{key} is not a text")
    return found


def _hex(table: Mapping[str, Any], where: str) -> str:
    found = _DIGEST.fullmatch(_text(table, where, "digest"))
    if found is None:
        raise BadLock(f"{where}.digest is not sha256: and 64 digits of 0-9 and a-f")
    return found[1]


def _quoted(text: str) -> str:
    """A TOML string in which everything can be seen."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(f"\\U{ord(c):08x}" if is_unseen(c) else c for c in plain)
