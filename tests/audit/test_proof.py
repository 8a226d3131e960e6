"""Proofs of single entries, as they are handed to somebody who has only the verifier key."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit import copy
from gateway.audit.checkpoint import BadCheckpoint
from gateway.audit.proof import BadProof, NotProvable, prove, verify_proof
from tests.audit.logbook import SIGNER, STRANGER, Logbook, ordinary_log

Row = tuple[int, int, bytes, bytes, bytes]
BOOK = ordinary_log()


def rows(book: Logbook) -> Iterator[Row]:
    return ((i, at, kind.encode(), call.encode(), body) for i, at, kind, call, body in book.rows)


def book_of(size: int) -> Logbook:
    book = Logbook()
    book.open()
    while book.size < size:
        book.change()
    return book


def test_every_entry_of_every_small_log_is_proved_to_a_stranger() -> None:
    for size in range(1, 18):
        book = book_of(size)
        for index in range(size):
            proof = verify_proof(prove(rows(book), index, book.note()), SIGNER.vkey)
            assert (proof.index, proof.body) == (index, book.rows[index][4])
            assert proof.checkpoint.size == size


def test_an_entry_is_proved_with_an_earlier_checkpoint_that_covers_it() -> None:
    note = BOOK.published[1][2].encode()
    assert verify_proof(prove(rows(BOOK), 12, note), SIGNER.vkey).checkpoint.size == 20


def test_an_entry_is_proved_from_a_copy_of_the_database(tmp_path: Path) -> None:
    path = BOOK.save(tmp_path / "customhouse.db")
    with copy.opened(path) as connection:
        head = copy.head(connection)
        assert head is not None
        text = prove(copy.rows(connection), 39, head.note)
    assert verify_proof(text, SIGNER.vkey).body == BOOK.rows[39][4]


def test_a_proof_is_written_as_tlog_proof_has_it() -> None:
    book = book_of(3)
    lines = prove(rows(book), 0, book.note()).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "extra " + b64encode(book.rows[0][4]).decode()
    assert lines[2] == "index 0"
    assert [len(line) for line in lines[3:5]] == [44, 44]
    assert lines[5] == ""
    assert "\n".join(lines[6:]).encode() == book.note()


def test_an_entry_that_the_checkpoint_does_not_cover_is_not_provable() -> None:
    note = BOOK.published[0][2].encode()
    for index in (10, 39, -1):
        with pytest.raises(NotProvable, match="covers 10 entries"):
            prove(rows(BOOK), index, note)


def test_nothing_is_provable_from_entries_that_were_altered() -> None:
    for altered in range(40):
        changed = [(*row[:4], row[4] + b" ") if row[0] == altered else row for row in rows(BOOK)]
        with pytest.raises(NotProvable, match="another root"):
            prove(changed, 12, BOOK.note())


def test_nothing_is_provable_from_entries_that_are_missing() -> None:
    with pytest.raises(NotProvable, match="entry 7 is missing"):
        prove([row for row in rows(BOOK) if row[0] != 7], 12, BOOK.note())
    with pytest.raises(NotProvable, match="there are 30"):
        prove(list(rows(BOOK))[:30], 12, BOOK.note())


def test_a_note_that_is_no_checkpoint_proves_nothing() -> None:
    with pytest.raises(BadCheckpoint):
        prove(rows(BOOK), 12, b"no")


PROOF = prove(rows(BOOK), 12, BOOK.note())
LINES = PROOF.split("\n")


def without(number: int) -> str:
    return "\n".join(LINES[:number] + LINES[number + 1 :])


def instead(number: int, line: str) -> str:
    return "\n".join([*LINES[:number], line, *LINES[number + 1 :]])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(without(0), id="no first line"),
        pytest.param(instead(0, "c2sp.org/tlog-proof@v2"), id="another version"),
        pytest.param(LINES[0] + "\n\n" + BOOK.note().decode(), id="a first line only"),
        pytest.param(without(1), id="no entry"),
        pytest.param(without(2), id="no index"),
        pytest.param(without(3), id="a node too few"),
        pytest.param(instead(3, LINES[4]), id="a node twice"),
        pytest.param(instead(3, LINES[3] + "\n" + LINES[3]), id="a node too many"),
        pytest.param(instead(3, "AAAA"), id="a short node"),
        pytest.param(instead(3, "?" * 44), id="no base64"),
        pytest.param(instead(3, "\n".join([LINES[3]] * 100)), id="a hundred nodes"),
        pytest.param(instead(2, "index 13"), id="another index"),
        pytest.param(instead(2, "index 012"), id="index with a leading zero"),
        pytest.param(instead(2, "index -12"), id="negative index"),
        pytest.param(instead(2, "index 10000000000"), id="an index outside the tree"),
        pytest.param(instead(1, "extra " + b64encode(b"{}").decode()), id="another entry"),
        pytest.param(instead(1, "extra"), id="no entry in the line of it"),
        pytest.param(PROOF.partition("\n\n")[0], id="no checkpoint"),
        pytest.param(PROOF.replace("\n40\n", "\n41\n"), id="another size"),
        pytest.param(PROOF + "\udc00", id="not even text"),
    ],
)
def test_a_proof_that_was_changed_proves_nothing(text: str) -> None:
    with pytest.raises(BadProof):
        verify_proof(text, SIGNER.vkey)


def test_a_proof_to_a_checkpoint_of_a_stranger_proves_nothing() -> None:
    book = ordinary_log()
    book.signer = STRANGER
    text = prove(rows(book), 12, book.note())
    assert verify_proof(text, STRANGER.vkey).index == 12
    with pytest.raises(BadProof, match="does not hold"):
        verify_proof(text, SIGNER.vkey)
