"""Checkpoints: notes that other implementations signed, golden bytes, and forgeries."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import checkpoint
from gateway.audit.checkpoint import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    BadCheckpoint,
    BadSignature,
    BadVkey,
    Signer,
    Vkey,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "notes.json").read_text()
)
ORIGIN = "customhouse/6f0c0f9c0f2b4f7c9a5d1e3b8a7d6c5e"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SIGNER = Signer(KEY, ORIGIN)
OTHER = Signer(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32), ORIGIN)
ROOT = bytes(range(100, 132))
NOTE = SIGNER.sign(1024, ROOT)
GOLDEN_VKEY = f"{ORIGIN}+1a081339+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
GOLDEN_NOTE = f"""\
{ORIGIN}
1024
ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoM=

\u2014 {ORIGIN} GggTOT8IrH5bQp2hxUwsDymKzbtvlHh92Gc5EFogSXcB+JFgrFeT/cdMVIM3jFw3WwgBY7rqqHq301WgxpIC+UQaLwA=
"""


def signer_of(vector: dict[str, str]) -> Signer:
    name = vector["vkey"].split("+")[0]
    seed = b64decode(vector["private"])[1:]
    return Signer(Ed25519PrivateKey.from_private_bytes(seed), name)


@pytest.mark.parametrize("whose", ["go", "tessera"])
def test_a_published_private_key_has_its_published_verifier_key(whose: str) -> None:
    vector = VECTORS[whose]
    assert str(signer_of(vector).vkey) == vector["vkey"]
    assert str(Vkey.parse(vector["vkey"])) == vector["vkey"]


def test_a_signature_that_go_made_carries_our_key_hash_and_verifies() -> None:
    vector = VECTORS["go"]
    vkey = Vkey.parse(vector["vkey"])
    signed = b64decode(vector["signature"])
    assert signed[:4] == vkey.key_hash
    Ed25519PublicKey.from_public_bytes(vkey.public).verify(signed[4:], vector["text"].encode())


def test_a_checkpoint_that_another_log_signed_opens_and_is_signed_the_same_by_us() -> None:
    vector = VECTORS["tessera"]
    note = vector["note"].encode()
    opened = checkpoint.open(note, Vkey.parse(vector["vkey"]))
    assert (opened.size, b64encode(opened.root).decode()) == (vector["size"], vector["root"])
    assert signer_of(vector).sign(opened.size, opened.root) == note


def test_a_checkpoint_has_these_very_bytes() -> None:
    assert str(SIGNER.vkey) == GOLDEN_VKEY
    assert NOTE.decode() == GOLDEN_NOTE


@given(st.integers(0, 10**15), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_what_is_opened(size: int, root: bytes) -> None:
    opened = checkpoint.open(SIGNER.sign(size, root), SIGNER.vkey)
    assert (opened.origin, opened.size, opened.root) == (ORIGIN, size, root)


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_a_note_with_one_byte_changed_is_never_opened(at: int, change: int) -> None:
    forged = NOTE[:at] + bytes([NOTE[at] ^ change]) + NOTE[at + 1 :]
    with pytest.raises((BadCheckpoint, BadSignature)):
        checkpoint.open(forged, SIGNER.vkey)


def test_a_note_by_another_key_of_the_same_name_is_not_signed() -> None:
    with pytest.raises(BadSignature, match="not signed by"):
        checkpoint.open(OTHER.sign(1024, ROOT), SIGNER.vkey)


def test_a_signature_under_our_key_hash_by_another_key_is_refused() -> None:
    # The hash is four bytes: another key with the same one can be found, but not its signatures.
    line = OTHER.sign(1024, ROOT).rstrip(b"\n").rpartition(b" ")[2]
    forged = b64encode(SIGNER.vkey.key_hash + b64decode(line)[4:])
    note = NOTE[: NOTE.rindex(b" ") + 1] + forged + b"\n"
    with pytest.raises(BadSignature, match="is not by"):
        checkpoint.open(note, SIGNER.vkey)


def test_a_signature_of_another_size_does_not_carry_over() -> None:
    text, _, _ = SIGNER.sign(2048, ROOT).partition(b"\n\n")
    _, _, lines = NOTE.partition(b"\n\n")
    with pytest.raises(BadSignature):
        checkpoint.open(text + b"\n\n" + lines, SIGNER.vkey)


def test_a_checkpoint_of_another_log_by_the_same_key_is_refused() -> None:
    elsewhere = Signer(KEY, "customhouse/ffffffffffffffffffffffffffffffff")
    with pytest.raises(BadSignature, match="opened with a key of"):
        checkpoint.open(elsewhere.sign(1024, ROOT), SIGNER.vkey)


def test_signatures_of_witnesses_do_not_disturb() -> None:
    witness = "\u2014 zeuge.example/\u00fcber " + b64encode(b"w" * 76).decode() + "\n"
    before = NOTE.replace(b"\n\n", b"\n\n" + witness.encode())
    after = NOTE + witness.encode()
    assert checkpoint.open(before, SIGNER.vkey).size == 1024
    assert len(checkpoint.open(after, SIGNER.vkey).signatures) == 2


def test_as_many_signatures_are_read_as_the_specification_demands() -> None:
    line = NOTE.split(b"\n\n")[1]
    assert len(checkpoint.open(NOTE + line * 15, SIGNER.vkey).signatures) == 16


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(NOTE[:-1], id="no newline at the end"),
        pytest.param(NOTE.partition(b"\n\n")[0] + b"\n", id="no signature"),
        pytest.param(NOTE.replace(b"\n1024\n", b"\n01024\n"), id="leading zero"),
        pytest.param(NOTE.replace(b"\n1024\n", b"\n-1024\n"), id="negative size"),
        pytest.param(
            NOTE.replace(b"\n1024\n", "\n\u0661\n".encode()), id="digits of another script"
        ),
        pytest.param(NOTE.replace(b"\n1024\n", b"\n1_024\n"), id="digits that only Python reads"),
        pytest.param(NOTE.replace(b"=\n\n", b"\n\n"), id="root without padding"),
        pytest.param(NOTE.replace(b"\n\n", b"\nextension\n\n"), id="extension line"),
        pytest.param(NOTE.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(NOTE.replace("\u2014".encode(), b"-"), id="hyphen for dash"),
        pytest.param(NOTE.replace(b"customhouse/", b"custom house/"), id="space in the origin"),
        pytest.param(NOTE + NOTE, id="two notes"),
        pytest.param(NOTE + b"\xff\n", id="not UTF-8"),
        pytest.param(b"\n1024\n" + NOTE.split(b"\n", 2)[2], id="no origin"),
        pytest.param(NOTE + NOTE.split(b"\n\n")[1] * MAX_SIGNATURES, id="too many signatures"),
        pytest.param(NOTE + b"x" * MAX_NOTE_BYTES, id="too long"),
    ],
)
def test_what_would_not_be_written_the_same_again_is_no_checkpoint(note: bytes) -> None:
    with pytest.raises(BadCheckpoint):
        checkpoint.parse(note)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("name+00000000", id="no key"),
        pytest.param(str(SIGNER.vkey).replace("customhouse", "customhouses"), id="hash of another"),
        pytest.param(str(SIGNER.vkey)[:-4], id="key cut short"),
        pytest.param(f"{ORIGIN}+00000000+{b64encode(b'!' * 33).decode()}", id="not Ed25519"),
        pytest.param(str(SIGNER.vkey).replace("/", " "), id="space in the name"),
        pytest.param("name+00000000+#", id="not base64"),
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(BadVkey):
        Vkey.parse(text)


def test_a_verifier_key_may_stand_on_a_line_of_its_own() -> None:
    assert Vkey.parse(f"{SIGNER.vkey}\n") == SIGNER.vkey


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "\u00fcber"])
def test_a_log_cannot_have_an_origin_that_no_note_can_name(origin: str) -> None:
    with pytest.raises(ValueError, match="cannot be the origin"):
        Signer(KEY, origin)
