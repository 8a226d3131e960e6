"""The verifier of exports: each record is made again from the entries that its proofs prove.

    python -m gateway.audit.verify_export export.jsonl log.vkey

Works on every format that `customhouse audit export --proofs` writes, on any part of such a file,
and on records that went through other systems, as long as they came back whole. It needs the
standard library and cryptography. It cannot show that nothing was left out, no record and no outcome
of a call: an export is what was asked for, and what that was nobody signed.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

from gateway.audit import export
from gateway.audit.checkpoint import BadCheckpoint, BadSignature, BadVkey, Opener, Vkey
from gateway.audit.copy import MAX_RECORD_BYTES, NotReadable, exported
from gateway.audit.export import Json
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.audit.proof import BadProof, Proof, verify_proof
from gateway.audit.pseudonym import pseudonym_of

KEPT_PER_CODE = 20
ABOUT = 0  # in the place of a record's number: what the database says of itself
_SQLITE = b"SQLite format 3\0"
_ABOUT = {b"log", b"checkpoint", b"query", b"proofs"}

About = Sequence[tuple[bytes, bytes]]
Line = tuple[bytes, Mapping[str, Any] | None]  # a record in JSON; of a database what is beside it


class BadRecord(ValueError):
    """A record is not what its proofs prove. The first argument is a stable code."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(slots=True)
class Report:
    """What was found in one export."""

    records: int = 0
    entries: int = 0  # that were proved
    size: int = -1  # of the log at the checkpoint, which is the same for all
    root: bytes = b""
    query: str | None = None  # that a database says it answers: not signed by anybody
    counts: Counter[str] = field(default_factory=Counter)  # code -> how often
    findings: list[Json] = field(default_factory=list)  # at most KEPT_PER_CODE of each

    @property
    def clean(self) -> bool:
        return not self.counts

    def add(self, place: int, problem: BadRecord) -> None:
        self.counts[problem.code] += 1
        if self.counts[problem.code] <= KEPT_PER_CODE:
            self.findings.append({"record": place, "code": problem.code, "sentence": str(problem)})

    def as_json(self) -> Json:
        return {
            "clean": self.clean,
            "records": self.records,
            "entries": self.entries,
            "size": self.size,
            "root": self.root.hex(),
            "unproved": {} if self.query is None else {"query": self.query},
            "counts": dict(self.counts),
            "findings": self.findings,
        }


def verify_file(path: Path, keys: Opener) -> Report:
    """Verify every record of *path*. Raises: NotReadable, OSError: it holds none."""
    with _opened(path) as (about, lines):
        report = _verified(lines, keys)
        if about is not None:
            try:
                _judge_about(about, keys, report)
            except BadRecord as problem:
                report.add(ABOUT, problem)
    if not report.records:
        raise NotReadable(f"{path} holds no records, so nothing is proved")
    return report


def _verified(lines: Iterator[Line], keys: Opener) -> Report:
    report, seen = Report(), set[int]()
    for place, (line, columns) in enumerate(lines, start=1):
        report.records += 1
        try:
            _judge(_parsed(line), columns, keys, report, seen)
        except BadRecord as problem:
            report.add(place, problem)
        except RecursionError:
            report.add(place, BadRecord("not_a_record", "it is nested too deep"))
    return report


def _judge_about(rows: About, keys: Opener, report: Report) -> None:
    """What a database says of itself must be what its records prove, but for what it answers."""
    about = dict(rows)
    if len(rows) != len(_ABOUT) or about.keys() != _ABOUT or about[b"proofs"] != b"yes":
        raise BadRecord(
            "altered", "the table beside the records is not that of an export with proofs"
        )
    report.query = about[b"query"].decode(errors="replace")
    try:
        stated = keys.open(about[b"checkpoint"])
    except (BadCheckpoint, BadSignature) as err:
        raise BadRecord("not_proved", f"the checkpoint beside them does not hold: {err}") from err
    if report.size >= 0 and (stated.size, stated.root) != (report.size, report.root):
        raise BadRecord("another_checkpoint", "the records are proved under another than is stated")
    if about[b"log"].decode(errors="replace") != stated.origin.partition("/")[2]:
        raise BadRecord("altered", "the log that is stated is not that of the checkpoint")


def _judge(
    event: Json, columns: Mapping[str, Any] | None, keys: Opener, report: Report, seen: set[int]
) -> None:
    said = _record_in(event)
    proofs = _proofs(said, keys)
    _compare_entries(said["entries"], proofs)
    _compare_names(said)
    _compare_checkpoint(proofs, report)
    log = proofs[0].checkpoint.origin.removeprefix(ORIGIN_PREFIX)
    made = export.record(log, said["entries"], said["names"], said["salts"], said["proofs"])
    expected: Mapping[str, Any] = made
    if event is not said:
        expected = export.cloudevent(made) if "specversion" in event else export.ocsf(made)
    if _canonical(event) != _canonical(expected):
        raise BadRecord(
            "altered", f"it says something else than its entries: {_differing(event, expected)}"
        )
    if columns is not None and columns != {key: made.get(key) for key in columns}:
        raise BadRecord("altered", "the columns beside it say something else")
    if proofs[0].index in seen:
        raise BadRecord("repeated", f"entry {proofs[0].index} is there a second time")
    seen.add(proofs[0].index)
    report.entries += len(proofs)


def _record_in(event: Json) -> Json:
    """The record that an event of any format carries."""
    said = event.get("data", event.get("unmapped", event))
    if not isinstance(said, dict) or not isinstance(said.get("entries"), list):
        raise BadRecord("not_a_record", "it holds no entries of a log")
    if not said["entries"] or not all(isinstance(entry, dict) for entry in said["entries"]):
        raise BadRecord("not_a_record", "its entries are none")
    return said


def _proofs(said: Json, keys: Opener) -> list[Proof]:
    texts = said.get("proofs")
    if not isinstance(texts, list) or len(texts) != len(said["entries"]):
        raise BadRecord("not_proved", "it has not one proof for each of its entries")
    try:
        return [verify_proof(text, keys) for text in map(str, texts)]
    except BadProof as err:
        raise BadRecord("not_proved", str(err)) from err


def _compare_entries(entries: Sequence[Json], proofs: Sequence[Proof]) -> None:
    for entry, proof in zip(entries, proofs, strict=True):
        if _canonical(entry).encode() != proof.body or entry.get("i") != proof.index:
            raise BadRecord("altered", f"it shows another entry {proof.index} than was proved")
    if len(entries) > 1:
        intent, *outcomes = entries
        ends = [one for one in outcomes if one.get("k") == "outcome"]
        if len(entries) > 2 or not ends or intent.get("k") != "intent":
            raise BadRecord("altered", "it joins entries that do not belong together")
        if ends[0].get("intent") != intent["i"] or ends[0].get("call") != intent.get("call"):
            raise BadRecord("altered", "it joins an intent with the outcome of another")


def _compare_names(said: Json) -> None:
    names, salts = said.get("names"), said.get("salts")
    if not isinstance(names, dict) or not isinstance(salts, dict) or set(names) != set(salts):
        raise BadRecord("not_proved", "it has not one salt for each of its names")
    meant = set(export.pseudonyms(said["entries"]))
    for pseudonym, name in names.items():
        if pseudonym not in meant:
            raise BadRecord(
                "altered", f"it names {pseudonym!a:.40}, which is in none of its entries"
            )
        if not _is_name(pseudonym, name, salts[pseudonym]):
            raise BadRecord("renamed", f"{pseudonym} was not made for the name beside it")


def _is_name(pseudonym: str, name: Any, salt: Any) -> bool:
    try:
        made = pseudonym_of(bytes.fromhex(salt), pseudonym[:1], name)
    except (ValueError, TypeError):
        return False
    return isinstance(name, str) and pseudonym == made


def _compare_checkpoint(proofs: Sequence[Proof], report: Report) -> None:
    for proof in proofs:
        stated = (proof.checkpoint.size, proof.checkpoint.root)
        if report.size < 0:
            report.size, report.root = stated
        if stated != (report.size, report.root):
            raise BadRecord(
                "another_checkpoint", "it is proved under another checkpoint than the rest"
            )


def _differing(event: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    keys = [key for key in {**event, **expected} if event.get(key) != expected.get(key)]
    return ", ".join(f"{key!a:.40}" for key in keys[:5]) or "types"


# -- reading --------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[tuple[About | None, Iterator[Line]]]:
    """What a database says of itself, None for a file of lines, and every record."""
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            file.seek(0)
            yield None, _lines(file)
            return
    with exported(path) as (about, records):
        yield about, records


def _lines(file: IO[bytes]) -> Iterator[Line]:
    while line := file.readline(MAX_RECORD_BYTES):
        if line.strip():
            yield line, None


def _parsed(line: bytes) -> Json:
    try:
        event = json.loads(line, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError) as err:
        raise BadRecord(
            "not_a_record", f"not JSON, or JSON that can be read in two ways: {err}"
        ) from err
    if not isinstance(event, dict):
        raise BadRecord("not_a_record", "it is not a JSON object")
    return event


def _once(pairs: Sequence[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key stands there twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def said(report: Report) -> str:
    """Return the report as sentences for a person."""
    lines = [f"{report.records} records, {report.entries} entries proved"]
    if report.size >= 0:
        lines.append(f"under the checkpoint of {report.size} entries, root {report.root.hex()}")
    if report.query is not None:
        lines.append(f"not proved: that it answers {report.query!a:.200}, and all of it")
    for code, count in report.counts.items():
        lines.append(f"{code} ({count}):")
        lines += [
            f"  {f'record {place}' if (place := one['record']) else 'about'}: {one['sentence']}"
            for one in report.findings
            if one["code"] == code
        ]
    lines.append("verified: nothing is wrong" if report.clean else "NOT verified")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the command line asks; return 0 for clean, 1 for findings, 3 for unreadable."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.audit.verify_export",
        description="Verify an export with proofs, offline.",
        epilog="exit status: 0 nothing found, 1 something found, 2 usage, 3 nothing to verify",
    )
    parser.add_argument("export", type=Path, help="what `customhouse audit export --proofs` wrote")
    parser.add_argument("vkey", type=Path, help="file with the verifier key, e.g. log.vkey")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    asked = parser.parse_args(arguments)
    try:
        report = verify_file(asked.export, Vkey.parse(asked.vkey.read_text()))
    except (OSError, UnicodeDecodeError, BadVkey, NotReadable, sqlite3.Error) as err:
        sys.stderr.write(f"nothing could be verified: {err}\n")
        return 3
    text = json.dumps(report.as_json(), indent=2) if asked.json else said(report)
    sys.stdout.write(text + "\n")
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
