"""What an earlier key signed counts as far as the log here bears it out."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.checkpoint import BadSignature, Signer
from gateway.audit.succession import Succession
from tests.audit.logbook import KEY, SIGNER, Logbook, ordinary_log
from tests.audit.test_rotation import NAMES, SECOND, THIEF, rotate, rotated_log

NEWEST = NAMES["third"].vkey


def opened(book: Logbook, folder: Path, note: bytes) -> int:
    return Succession(NEWEST, book.save(folder / "customhouse.db")).open(note).size


def test_what_earlier_keys_signed_of_this_log_holds(tmp_path: Path) -> None:
    book = rotated_log()
    keys = Succession(NEWEST, book.save(tmp_path / "customhouse.db"))
    assert [keys.open(note.encode()).size for _, _, note in book.published] == [
        size for _, size, _ in book.published
    ]
    assert {keys.key_for(note.encode()) for *_, note in book.published} == {
        one.vkey for one in NAMES.values()
    }


def test_a_thief_of_a_key_that_was_handed_over_makes_no_evidence(tmp_path: Path) -> None:
    forged = SIGNER.sign(3, b"\x66" * 32)
    with pytest.raises(BadSignature, match="not signed by"):
        opened(rotated_log(), tmp_path, forged)


def test_nor_with_the_log_rewritten_under_it(tmp_path: Path) -> None:
    false = ordinary_log()
    false.change(what="agent.add")
    note = false.note()
    rotate(false, NAMES["second"], KEY, SECOND)
    rotate(false, NAMES["third"], SECOND, THIEF)  # the newest key is not theirs
    with pytest.raises(BadSignature, match="not signed by"):
        opened(false, tmp_path, note)


def test_a_head_that_the_newest_key_did_not_sign_bears_nothing_out(tmp_path: Path) -> None:
    book = rotated_log()
    note = book.published[0][2].encode()
    book.signer = NAMES["second"]
    with pytest.raises(BadSignature, match="not signed by"):
        opened(book, tmp_path, note)


def test_a_key_of_another_log_or_without_an_entry_is_a_stranger(tmp_path: Path) -> None:
    book = rotated_log()
    keys = Succession(NEWEST, book.save(tmp_path / "customhouse.db"))
    for signer in (Signer(THIEF, SIGNER.origin), Signer(KEY, "customhouse/another")):
        with pytest.raises(BadSignature):
            keys.open(signer.sign(3, b"\x00" * 32))


def test_where_there_is_no_log_only_the_given_key_counts(tmp_path: Path) -> None:
    keys = Succession(NEWEST, tmp_path / "none.db")
    assert keys.open(NAMES["third"].sign(1, b"\x00" * 32)).size == 1
    with pytest.raises(BadSignature):
        keys.open(SIGNER.sign(1, b"\x00" * 32))
