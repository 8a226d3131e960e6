"""customhouse audit verify and prove: evidence that needs nobody's word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, common, end
from gateway.cli.screen import GREEN
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.audit.checkpoint import Vkey
    from gateway.audit.succession import Succession

PATH = click.Path(path_type=Path)
_FIRST_LINE = "c2sp.org/tlog-proof@v1\n"


@click.command("verify")
@click.option(
    "--copy",
    "copied",
    type=PATH,
    help="A copy of the database or of its folder (default: the house's own).",
)
@click.option(
    "--vkey", "vkey_file", type=PATH, help="The verifier key (default: keys_dir/log.vkey)."
)
@click.option(
    "--at-least",
    "remembered_file",
    type=PATH,
    help="A checkpoint that was kept elsewhere (default: keys_dir/checkpoint, without --copy).",
)
@click.option("--proof", "proof_file", type=PATH, help="Verify this proof instead of a whole log.")
@common
def verify(on: Invocation, proof_file: Path | None, **given: Path | None) -> None:
    """Read the whole log and say whether it is what was signed, and adds up. Exit 1: it is not.

    It needs no server. What it cannot show: that nobody had both the database and the signing key.
    """
    keys = succession(on, given["vkey_file"])
    if proof_file is not None:
        if given["copied"] or given["remembered_file"]:
            raise usage("--proof goes with --vkey only", "verify the log in a command of its own")
        _verify_proofs(on, proof_file, keys)
        return
    _verify_log(on, keys, given["copied"], given["remembered_file"])


@click.command("prove")
@click.argument("call_id", metavar="CALL")
@click.option("--out", type=PATH, help="Where to write it (default: CALL.proof).")
@common
def prove(on: Invocation, call_id: str, out: Path | None) -> None:
    """Write a proof that the entries of CALL are in the signed log. It can be verified without us:

    customhouse audit verify --proof FILE --vkey log.vkey

    The file holds the entries, with pseudonyms and commitments; no names, arguments or results.
    """
    from gateway.audit.proof import NotProvable
    from gateway.cli.audit import whole_call_id

    with on.trail() as trail:
        call_id = whole_call_id(trail, call_id)
        leaves = [entry.i for entry in trail.of_call(call_id)]
    try:
        proofs = list(_proofs(on, leaves))
    except NotProvable as err:
        raise OperationRefused(
            f"call {call_id} cannot be proved: {err}",
            "the entries are not those that were signed",
            "see what is wrong: customhouse audit verify",
            Exit.NO,
        ) from err
    path = out or Path(f"{call_id}.proof")
    _write(path, "".join(proofs))
    on.screen.whole({"call": call_id, "file": str(path), "leaves": leaves})
    on.screen.line(f"wrote {path}: {len(leaves)} entries of call {call_id}")
    on.screen.note(f"next: customhouse audit verify --proof {path}")


def _proofs(on: Invocation, leaves: list[int]) -> Iterator[str]:
    """One standard proof for each leaf, all under the same checkpoint."""
    from gateway.audit import copy
    from gateway.audit.proof import NotProvable
    from gateway.audit.proof import prove as prove_entry
    from gateway.store.trail import database_of

    with copy.opened(database_of(on.config.data_dir)) as connection:
        head = copy.head(connection)
        if head is None:
            raise NotProvable("the log has no signed head")
        for leaf in leaves:
            yield prove_entry(copy.rows(connection), leaf, head.note)


def _verify_log(
    on: Invocation, keys: Succession, copied: Path | None, remembered_file: Path | None
) -> None:
    from gateway.audit.verify import said, verify_copy
    from gateway.store.engine import DATABASE
    from gateway.store.trail import database_of

    if remembered_file is None and copied is None:
        # What lies beside the keys is out of reach of whoever has only the database.
        usual = on.config.keys_dir / "checkpoint"
        remembered_file = usual if usual.exists() else None
    # Read before the log: what is published meanwhile only makes the log longer.
    remembered = remembered_file.read_bytes() if remembered_file else None
    if copied is not None and copied.is_dir():
        copied = copied / DATABASE
    vkey = keys.vkey if copied is None else _key_of_copy(keys, copied)
    report = verify_copy(copied or database_of(on.config.data_dir), vkey, remembered)
    if on.screen.as_json:
        on.screen.value(report.as_json())
    else:
        on.screen.text(said(report))
        if remembered is None:
            on.screen.note("no remembered checkpoint was given: a cut-off tail cannot be seen")
    end(Exit.YES if report.clean else Exit.NO)


def _key_of_copy(keys: Succession, copied: Path) -> Vkey:
    """A copy from before a rotation does not name the key that followed."""
    from gateway.audit import copy

    with copy.opened(copied) as connection:
        head = copy.head(connection)
    return keys.vkey if head is None else keys.key_for(head.note)


def _verify_proofs(on: Invocation, path: Path, keys: Succession) -> None:
    from gateway.audit.proof import BadProof, verify_proof

    found: list[dict[str, Any]] = []
    try:
        for text in _split(path.read_text(encoding="utf-8")):
            proof = verify_proof(text, keys)
            found.append(
                {"index": proof.index, "entry": proof.body.decode(), "size": proof.checkpoint.size}
            )
    except (BadProof, UnicodeDecodeError) as err:
        raise OperationRefused(
            f"{path} proves nothing: {err}",
            "it was altered, is for another log, or is not a proof at all",
            "ask for the proof again, and check that the verifier key is the right one",
            Exit.NO,
        ) from err
    on.screen.whole({"proved": True, "origin": keys.vkey.name, "entries": found})
    on.screen.line(f"proved: {len(found)} entries are in the log {keys.vkey.name}", GREEN)
    for one in found:
        on.screen.line(f"  entry {one['index']} of {one['size']}: {one['entry']}")


def _split(text: str) -> list[str]:
    """The proofs that a file holds, one behind the other; text that is none counts as one."""
    parts = [_FIRST_LINE + part for part in text.split(_FIRST_LINE)[1:]]
    return parts if parts and text.startswith(_FIRST_LINE) else [text]


def succession(on: Invocation, vkey_file: Path | None) -> Succession:
    """The verifier key that is asked for, and those that the log here proves to lead to it."""
    from gateway.audit.succession import Succession
    from gateway.config import ConfigError
    from gateway.store.engine import DATABASE

    vkey = vkey_in(vkey_file or on.config.keys_dir / "log.vkey")
    try:
        return Succession(vkey, on.config.data_dir / DATABASE)
    except ConfigError:
        return Succession(vkey, None)  # an auditor has no gateway, and needs none


def vkey_in(path: Path) -> Vkey:
    """The verifier key in a file. Raises: OperationRefused: there is none."""
    from gateway.audit.checkpoint import BadVkey, Vkey

    try:
        return Vkey.parse(path.read_text(encoding="ascii"))
    except PermissionError:
        raise  # told as what it is: not an operator
    except (OSError, UnicodeDecodeError, BadVkey) as err:
        raise OperationRefused(
            f"{path} is not a verifier key: {err}",
            "without it nobody can say whose signatures these are",
            "name it with --vkey; a gateway writes its own to keys_dir/log.vkey",
            Exit.INVALID,
        ) from err


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as err:
        raise OperationRefused(
            f"{path} cannot be written: {err.strerror}",
            "the proof goes there",
            "name another file with --out",
            Exit.INVALID,
        ) from err
