"""customhouse audit export and verify-export: the log for other systems, and its proof there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from gateway.cli.invocation import QUALIFIED, Invocation, common, end, now_us
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.app.operations.exporting import Source
    from gateway.app.operations.query import Query
    from gateway.audit.prover import Prover

FORMATS = ("jsonl", "cloudevents", "ocsf", "sqlite")
PATH = click.Path(path_type=Path)


@click.command("export", context_settings=QUALIFIED)
@click.argument("qualifiers", nargs=-1)
@click.option("--format", "shape", type=click.Choice(FORMATS), default="jsonl", show_default=True)
@click.option("--proofs", is_flag=True, help="With each record what proves it, and names to it.")
@click.option("--out", type=PATH, help="Where to (default: standard output; sqlite needs one).")
@common
def export(
    on: Invocation, qualifiers: tuple[str, ...], shape: str, proofs: bool, out: Path | None
) -> None:
    """Write what fits all QUALIFIERS, oldest first, one JSON object a line. Exit 1: nothing does.

    \b
    customhouse audit export since:2026-11-01 until:2026-11-30 --out november.jsonl
    customhouse audit export --format ocsf kind:refused since:1h
    customhouse audit export --proofs --out evidence.jsonl agent:report-bot
    customhouse audit verify-export evidence.jsonl

    Formats: jsonl, CloudEvents 1.0, OCSF 1.3 (API Activity), and a SQLite database. Names are in it;
    arguments and results are not.
    """
    from gateway.app.operations.exporting import Source
    from gateway.app.operations.query import parse

    if shape == "sqlite" and out is None:
        raise usage("a database cannot go to standard output", "name a file with --out")
    asked = parse(qualifiers, now_us())
    with ExitStack() as stack:
        source = Source(on.config.data_dir, stack)
        with provable():
            prover = source.prover() if proofs else None
        count = _written(source, asked, shape, prover, out)
        stated = source.export
    if out is not None and on.screen.as_json:
        on.screen.value({"records": count, "file": str(out), "size": stated.size})
    elif out is not None:
        on.screen.line(f"wrote {out}: {count} records of the first {stated.size} entries")
        if proofs:
            on.screen.note(f"next: customhouse audit verify-export {out}")
    end(Exit.YES if count else Exit.NO)


@click.command("verify-export")
@click.argument("exported", metavar="FILE", type=PATH)
@click.option(
    "--vkey", "vkey_file", type=PATH, help="The verifier key (default: keys_dir/log.vkey)."
)
@common
def verify_export(on: Invocation, exported: Path, vkey_file: Path | None) -> None:
    """Verify each record of FILE, an export with proofs. Exit 1: one is not what was entered.

    Elsewhere, where nothing of the gateway runs: python -m gateway.audit.verify_export FILE log.vkey
    """
    from gateway.audit.verify_export import said, verify_file
    from gateway.cli.proofs import succession

    report = verify_file(exported, succession(on, vkey_file))
    if on.screen.as_json:
        on.screen.value(report.as_json())
    else:
        on.screen.text(said(report))
    end(Exit.YES if report.clean else Exit.NO)


@contextmanager
def provable() -> Iterator[None]:
    """Say what it means when entries are not those that were signed."""
    from gateway.audit.proof import NotProvable

    try:
        yield
    except NotProvable as err:
        raise OperationRefused(
            f"nothing can be proved: {err}",
            "the entries are not those that were signed",
            "see what is wrong: customhouse audit verify",
            Exit.NO,
        ) from err


def _written(
    source: Source, asked: Query, shape: str, prover: Prover | None, out: Path | None
) -> int:
    records = source.records(asked, shape, prover)
    if out is None:
        return _lines(records, sys.stdout)
    with _new_file(out) as path:
        if shape == "sqlite":
            from gateway.store.exportfile import write

            return write(path, records, source.export.about(asked, proved=prover is not None))
        with path.open("w", encoding="ascii") as file:
            return _lines(records, file)


def _lines(records: Iterator[dict[str, Any]], file: IO[str]) -> int:
    """JSON in ASCII: what a name holds reaches no terminal, and no line has another in it."""
    return sum(
        bool(file.write(json.dumps(record, separators=(",", ":")) + "\n")) for record in records
    )


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file that is made here, for its owner only; one that is not finished does not stay."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError as err:
        raise OperationRefused(
            f"{path} exists already",
            "an export overwrites nothing",
            "name another file with --out",
            Exit.CONFLICT,
        ) from err
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
