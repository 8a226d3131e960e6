"""Which rows of administration the log stands behind: what is allowed must have been entered.

Every change of a row is entered with the digest of the row as written, in the field `rows`:

    {"o1f0c9be4d2a77c35":"9f86d081884c7d65..."}     pseudonym of the row's subject -> digest

The digest takes in the salt of the pseudonym, so that without the table of names nobody can try
names, roles or limits on it. Standard library only: the offline verifier judges with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from gateway.audit.pseudonym import pseudonym_of

Value = str | int | bytes | None
Row = Sequence[Value]
Name = tuple[bytes, bytes, bytes, bytes]  # pseudonym, kind, name, salt

OBJECT = "o"  # the kind of the pseudonyms of subjects
POLICIES, DEFINITIONS = "policy_versions", "definitions"
# server, kind, name, digest, body, approval, reason, approved_digest, approved_body, gone
_DIGEST, _BODY, _APPROVAL, _APPROVED_DIGEST, _APPROVED_BODY = 3, 4, 5, 7, 8

# Table -> the word and the columns that name the subject of its rows in entries.
_SUBJECTS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "agents": ("agent/", (0,)),
    "keys": ("key/", (0,)),
    "servers": ("server/", (0,)),
    DEFINITIONS: ("", (1, 0, 2)),
}


def subject_of(table: str, row: Row) -> str:
    """What an entry calls *row*: agent/bot, or tool/docs/search."""
    word, columns = _SUBJECTS[table]
    return word + "/".join(str(row[column]) for column in columns)


def row_digest(salt: bytes, table: str, row: Row) -> str:
    """SHA-256, in hex, of *row* as a list: the table, then every column; bytes by their SHA-256."""
    columns = [{"sha256": sha256(v).hexdigest()} if isinstance(v, bytes) else v for v in row]
    return sha256(salt + json.dumps([table, *columns], separators=(",", ":")).encode()).hexdigest()


def opens_nothing(table: str, row: Row) -> bool:
    """A definition that nobody ever approved: servers make and unmake these as they like."""
    never = table == DEFINITIONS and not row[_APPROVED_DIGEST] and not row[_APPROVED_BODY]
    return never and row[_APPROVAL] in ("proposed", "quarantined")


class Backing:
    """Takes the `rows` of every change in order, then judges the rows that are there."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}  # by pseudonym, the newest last

    def take(self, rows: Mapping[str, str], erased: Iterable[str] = ()) -> None:
        """Hear of one change: first what it *erased* with its name, then the rows it wrote."""
        for pseudonym in erased:
            self._digests.pop(pseudonym, None)
        for pseudonym, digest in rows.items():
            self._digests.pop(pseudonym, None)
            self._digests[pseudonym] = digest

    def judge(self, registered: Iterable[tuple[str, Row]], names: Iterable[Name]) -> Iterator[str]:
        """A sentence for every row that is not as the log has it, and for every missing one."""
        named = self._named(names)
        missing = set(self._digests) - {old for olds in named.values() for old, _ in olds[:-1]}
        for table, row in registered:
            problem = _contradiction(table, row)
            if problem:
                yield f"{_said(table, row)} {problem}"
            if table not in _SUBJECTS:
                continue
            known = named.get(subject_of(table, row), [])
            if known:
                pseudonym, salt = known[-1]
                missing.discard(pseudonym)
                if self._digests[pseudonym] != row_digest(salt, table, row):
                    yield f"{_said(table, row)} is not as the log has it"
            elif not opens_nothing(table, row):
                yield f"{_said(table, row)} was never entered in the log"
        called = {old: name for name, olds in named.items() for old, _ in olds}
        for pseudonym in sorted(missing):
            yield f"the row of {called.get(pseudonym, pseudonym)!a:.120} is gone"

    def _named(self, names: Iterable[Name]) -> dict[str, list[tuple[str, bytes]]]:
        """Subject -> its pseudonyms that the log uses with their salts, in order of last use."""
        order = {pseudonym: place for place, pseudonym in enumerate(self._digests)}
        found: dict[str, list[tuple[str, bytes]]] = {}
        for stored, kind, stored_name, salt in names:
            pseudonym = stored.decode("ascii", "replace")
            if pseudonym not in order:
                continue
            name = stored_name.decode("utf-8", "replace")
            # A pseudonym beside another name than its own must not lend its digest to that name.
            if kind == OBJECT.encode() and pseudonym == pseudonym_of(salt, OBJECT, name):
                found.setdefault(name, []).append((pseudonym, salt))
        return {name: sorted(olds, key=lambda old: order[old[0]]) for name, olds in found.items()}


def _contradiction(table: str, row: Row) -> str:
    """What a row claims of its own bytes, and is not so."""
    if table == POLICIES and not _is_digest(row[0], row[1]):
        return "has other files than its version stands for"
    if table != DEFINITIONS:
        return ""
    if not _is_digest(row[_DIGEST], row[_BODY]):
        return "has another text than its digest stands for"
    approved = row[_APPROVED_DIGEST], row[_APPROVED_BODY]
    if approved != ("", b"") and not _is_digest(*approved):
        return "has another approved text than its approved digest stands for"
    if row[_APPROVAL] == "approved" and row[_DIGEST] != row[_APPROVED_DIGEST]:
        return "is approved with another digest than was approved"
    return ""


def _is_digest(digest: Value, content: Value) -> bool:
    return isinstance(content, bytes) and digest == sha256(content).hexdigest()


def _said(table: str, row: Row) -> str:
    if table == POLICIES:
        return f"policy version {row[0]!a:.20}"
    return f"the row of {subject_of(table, row)!a:.120}"
