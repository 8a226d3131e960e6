"""Handing the signing key over: either key verifies the whole, and a key that is gone signs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import entry as entries
from gateway.audit.checkpoint import BadSignature, Signer, Vkey
from gateway.audit.findings import Code, Report
from gateway.audit.rotation import BadRotation, Keys, Rotation, sign, statement
from gateway.audit.verify import verify_copy
from tests.audit.logbook import KEY, SIGNER, Logbook, ordinary_log, tampering

SECOND = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
THIRD = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
THIEF = Ed25519PrivateKey.from_private_bytes(b"\x66" * 32)
NAMES = {
    "first": SIGNER,
    "second": Signer(SECOND, SIGNER.origin),
    "third": Signer(THIRD, SIGNER.origin),
}


def handed_over(
    leaf: int, old: Signer, following: Signer, *keys: Ed25519PrivateKey
) -> entries.Rotation:
    stated = statement(leaf, old.vkey, following.vkey)
    signatures = sign(keys[0], stated), sign(keys[1], stated)
    return entries.Rotation(old=str(old.vkey), next=str(following.vkey), signatures=signatures)


def rotate(book: Logbook, following: Signer, *keys: Ed25519PrivateKey) -> int:
    rotation = handed_over(book.size, book.signer, following, *keys)
    leaf = book.change(what="key.rotate", rotation=rotation)
    book.signer = following
    return leaf


def rotated_log() -> Logbook:
    """The ordinary log, then the second key, then the third, with a checkpoint under each."""
    book = ordinary_log()
    rotate(book, NAMES["second"], KEY, SECOND)
    book.publish()
    book.outcome(book.intent())
    rotate(book, NAMES["third"], SECOND, THIRD)
    book.publish()
    return book


def verified(book: Logbook, folder: Path, vkey: Vkey, remembered: bytes | None = None) -> Report:
    return verify_copy(book.save(folder / "customhouse.db"), vkey, remembered)


@pytest.mark.parametrize("name", NAMES)
def test_any_key_of_the_chain_verifies_the_whole_log(name: str, tmp_path: Path) -> None:
    book = rotated_log()
    report = verified(book, tmp_path, NAMES[name].vkey, remembered=book.published[0][2].encode())
    assert report.clean, report.findings
    assert report.rotations == 2
    assert report.checkpoints_checked == 7


def test_a_stranger_is_no_part_of_the_chain(tmp_path: Path) -> None:
    report = verified(rotated_log(), tmp_path, Signer(THIEF, SIGNER.origin).vkey)
    assert Code.BAD_ROTATION in report.counts


@pytest.mark.parametrize(
    "keys",
    [(THIEF, SECOND), (KEY, THIEF), (THIEF, THIEF)],
    ids=["without the old key", "without the new key", "with neither"],
)
def test_one_signature_hands_nothing_over(
    keys: tuple[Ed25519PrivateKey, ...], tmp_path: Path
) -> None:
    book = ordinary_log()
    rotate(book, NAMES["second"], *keys)
    report = verified(book, tmp_path, SIGNER.vkey)
    assert {Code.BAD_ROTATION, Code.BAD_SIGNATURE} <= set(report.counts)


def test_a_signature_for_another_place_hands_nothing_over(tmp_path: Path) -> None:
    book = ordinary_log()
    rotation = handed_over(book.size - 1, SIGNER, NAMES["second"], KEY, SECOND)
    book.change(what="key.rotate", rotation=rotation)
    assert Code.BAD_ROTATION in verified(book, tmp_path, SIGNER.vkey).counts


def test_the_old_key_signs_nothing_behind_the_entry_that_ended_it(tmp_path: Path) -> None:
    """What a thief of the old key would do: go on signing, or sign another end."""
    book = rotated_log()
    book.signer = SIGNER
    forged = book.note()
    book.signer = NAMES["third"]
    report = verified(book, tmp_path, NAMES["third"].vkey, remembered=forged)
    assert Code.BAD_SIGNATURE in report.counts
    other = ordinary_log()
    other.change(what="tool.approve")
    other.change(what="tool.approve")
    other.change(what="tool.approve")
    forked = verify_copy(other.save(tmp_path / "forked.db"), NAMES["third"].vkey)
    assert not forked.clean  # nothing in it leads to the key that signs now


def test_the_new_key_signs_nothing_before_the_entry_that_made_it(tmp_path: Path) -> None:
    book = rotated_log()
    rewritten = ordinary_log()
    rewritten.signer = NAMES["third"]
    report = verified(book, tmp_path, SIGNER.vkey, remembered=rewritten.note())
    assert Code.BAD_SIGNATURE in report.counts


def test_a_rotation_that_is_filed_as_something_else_is_found(tmp_path: Path) -> None:
    book = rotated_log()
    path = book.save(tmp_path / "customhouse.db")
    with tampering(path) as db:
        db.execute("UPDATE entries SET kind = 'single' WHERE instr(body, 'rotation') > 0")
    report = verify_copy(path, NAMES["third"].vkey)
    assert {Code.MISFILED, Code.BAD_ROTATION} <= set(report.counts)


def test_an_open_names_the_key_of_its_time(tmp_path: Path) -> None:
    book = Logbook()
    book.open()
    rotate(book, NAMES["second"], KEY, SECOND)
    book.open(key=SIGNER.vkey.id)
    report = verified(book, tmp_path, SIGNER.vkey)
    assert report.counts == {Code.ANOTHER_LOG: 1}


def test_each_size_has_one_key() -> None:
    keys = Keys(SIGNER.vkey, [Rotation(4, SIGNER.vkey, NAMES["second"].vkey)])
    assert [keys.at(size) for size in (0, 4, 5)] == [
        SIGNER.vkey,
        SIGNER.vkey,
        NAMES["second"].vkey,
    ]
    assert keys.newest == NAMES["second"].vkey
    with pytest.raises(BadSignature):
        keys.open(SIGNER.sign(5, b"\0" * 32))


def test_a_chain_has_no_gaps_and_stays_with_its_log() -> None:
    gap = [
        Rotation(4, SIGNER.vkey, NAMES["second"].vkey),
        Rotation(9, SIGNER.vkey, NAMES["third"].vkey),
    ]
    elsewhere = [Rotation(4, SIGNER.vkey, Signer(SECOND, "customhouse/another").vkey)]
    for rotations in (gap, elsewhere):
        with pytest.raises(BadRotation):
            Keys(SIGNER.vkey, rotations)
