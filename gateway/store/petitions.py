"""What the log says of approvals: four kinds of change, about `approval/A-7F3K9QXY`.

approval.ask    by whoever calls; digest: what it is for; note: the same for people, sealed
approval.give   by whoever says yes; note: who that is, and for how many calls
approval.deny   by whoever says no; note: who that is, and why
approval.use    by the caller again, directly before the intent of the call; digest: as above
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import msgspec
from cryptography.exceptions import InvalidTag

from gateway.audit import entry as entries
from gateway.domain.approval import LONGEST_US, Approver, Course, No, Petition, Yes
from gateway.store.log import SALT_BYTES
from gateway.store.writer import unseal

ASK, GIVE, DENY, USE = "approval.ask", "approval.give", "approval.deny", "approval.use"
ABOUT = "approval/"


class Asked(msgspec.Struct, frozen=True):
    """What the approver is shown: the note of an ask."""

    petition: Petition
    params: dict[str, str]  # raw JSON
    call: str
    policy: str
    rule: int
    conditions: dict[str, bool]


@dataclass(frozen=True, slots=True)
class _Reader:
    connection: sqlite3.Connection
    keys: Sequence[bytes]

    def subject(self, change: entries.Change) -> str:
        """The id that it is about; "" when that was erased."""
        row = self.connection.execute(
            "SELECT name FROM pseudonyms WHERE id = ?", (change.subject,)
        ).fetchone()
        name = str(row[0]) if row else ""
        return name.removeprefix(ABOUT) if name.startswith(ABOUT) else ""

    def note(self, change: entries.Change) -> bytes:
        """What its note says; b"" where it was erased, or is not what the entry commits to."""
        row = self.connection.execute(
            "SELECT nonce, sealed FROM payloads WHERE leaf = ?", (change.i,)
        ).fetchone()
        for key in self.keys if row else ():
            with suppress(InvalidTag, ValueError):
                opening = unseal(key, change.i, bytes(row[0]), bytes(row[1]))
                if hashlib.sha256(opening).hexdigest() == change.note:
                    return opening[SALT_BYTES:]
        return b""


def read_courses(
    connection: sqlite3.Connection, keys: Sequence[bytes], now_us: int
) -> dict[str, Course]:
    """Every petition that may still count, by id, the oldest first."""
    reader, courses = _Reader(connection, keys), dict[str, Course]()
    for change in _changes(connection, now_us - LONGEST_US):
        approval_id = reader.subject(change)
        if change.what == ASK:
            asked = _asked(reader.note(change))
            if asked is not None and (asked.petition.id, asked.petition.binding) == (
                approval_id,
                change.digest,
            ):
                petition = replace(asked.petition, leaf=change.i, asked_us=change.t)
                courses[approval_id] = Course(petition)
        elif approval_id in courses:
            _follow(courses[approval_id], change, reader)
    return courses


def read_asked(
    connection: sqlite3.Connection, keys: Sequence[bytes], petition: Petition
) -> Asked | None:
    """What the approver is shown; None where it was erased, or cannot be opened."""
    row = connection.execute("SELECT body FROM entries WHERE idx = ?", (petition.leaf,)).fetchone()
    change = entries.decode(row[0]) if row else None
    if not isinstance(change, entries.Change) or change.what != ASK:
        return None
    asked = _asked(_Reader(connection, keys).note(change))
    return asked if asked is not None and asked.petition.id == petition.id else None


def _follow(course: Course, change: entries.Change, reader: _Reader) -> None:
    """A yes whose note was erased is none; a no is one all the same."""
    if change.what == USE:
        course.used += 1
    elif change.what == GIVE:
        with suppress(msgspec.MsgspecError):
            yes = msgspec.json.decode(reader.note(change), type=Yes)
            course.yeses = (*course.yeses, replace(yes, at_us=change.t))
    elif change.what == DENY:
        course.no = No(Approver(""), change.t)
        with suppress(msgspec.MsgspecError):
            no = msgspec.json.decode(reader.note(change), type=No)
            course.no = replace(no, at_us=change.t)


def _asked(note: bytes) -> Asked | None:
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(note, type=Asked)
    return None


def _changes(connection: sqlite3.Connection, since_us: int) -> Iterator[entries.Change]:
    """Of approvals, in order, the newest of the log read backwards for as long as they are new."""
    rows = connection.execute(
        "SELECT at, body FROM entries WHERE kind = 'change' ORDER BY idx DESC"
    )
    found: list[entries.Change] = []
    for at_us, body in rows:
        if at_us < since_us:
            break
        if b'"what":"approval.' not in body:
            continue
        change = entries.decode(body)
        if isinstance(change, entries.Change):
            found.append(change)
    yield from reversed(found)
