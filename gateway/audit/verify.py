"""The offline verifier: a copy of the log and the public key, and nothing of Customhouse running.

    python -m gateway.audit.verify customhouse.db log.vkey --at-least checkpoint

It needs the standard library and cryptography. It proves that these are the entries which the
holder of the signing key signed, in that order, all of them up to the head, and that they add up.
It cannot prove that nobody had both the database and the key and wrote another history, nor that
the database was not set back to an earlier state of its own. Only a checkpoint that was kept out of
their reach shows either: `--at-least`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import copy, rotation
from gateway.audit.backing import OBJECT, Backing, Name
from gateway.audit.backing import Row as Registered
from gateway.audit.checkpoint import BadVkey, Vkey
from gateway.audit.copy import NotReadable, Row
from gateway.audit.findings import MEANING, Code, Findings, Report
from gateway.audit.grammar import Line
from gateway.audit.pairing import Pairing
from gateway.audit.pseudonym import is_erased, pseudonym_of
from gateway.audit.rotation import BadRotation, Keys
from gateway.audit.spending import Spending
from gateway.audit.statements import Head, Statements
from gateway.audit.walk import Walk


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to verify; every iterable is read once, in order."""

    rows: Iterable[Row]
    head: Head | None
    published: Iterable[bytes] = ()  # notes of checkpoints
    counter_states: Iterable[tuple[int, bytes]] = ()  # leaf of the counters entry, state
    remembered: bytes | None = None  # a checkpoint that was kept elsewhere
    names: Iterable[Name] = ()
    registered: Iterable[tuple[str, Registered]] = ()  # table, row
    rotations: Iterable[tuple[int, bytes]] = ()  # leaf and body of entries that may be some
    first_payload: int | None = None  # the first leaf that has one


def verify(evidence: Evidence, vkey: Vkey) -> Report:
    """Read all of *evidence* once, and report everything that is wrong with it."""
    findings = Findings()
    keys = _keys(vkey, evidence.rotations, findings)
    statements = Statements(keys, findings)
    statements.add_head(evidence.head)
    statements.add_published(evidence.published)
    if evidence.remembered is not None:
        statements.add_remembered(evidence.remembered)
    statements.begin()
    pairing, spending = Pairing(keys, findings), Spending(findings)
    changes = _Changes(keys)
    walk = Walk(findings, statements, (pairing, spending, changes))
    walk.over(evidence.rows)
    if walk.end == 0:
        findings.add(Code.NOT_OPENED, "the log has no entries")
    _judge_states(evidence.counter_states, spending.digests, findings)
    subjects = _judge_names(evidence.names, changes.erased, findings)
    changes.judge(evidence.first_payload, findings)
    for sentence in changes.backing.judge(evidence.registered, subjects):
        findings.add(Code.UNBACKED, sentence)
    in_flight = pairing.finish()
    compared = statements.judge(walk.end)
    return Report(
        entries=statements.tree.size,
        root=statements.tree.root(),
        kinds=dict(walk.kinds),
        findings=findings.kept(),
        counts=findings.counted(),
        in_flight=in_flight,
        checkpoints_checked=compared,
        charged=spending.charged,
        last_us=walk.last_us,
        erasures=changes.erasures,
        erased_payloads=changes.erased_payloads,
        erased_names=len(changes.erased),
        rotations=len(keys.rotations),
    )


def verify_copy(path: Path, vkey: Vkey, remembered: bytes | None = None) -> Report:
    """Verify the database at *path*. Raises: NotReadable: it is not the database of a log."""
    with copy.opened(path) as connection:
        evidence = Evidence(
            copy.rows(connection),
            copy.head(connection),
            copy.published(connection),
            copy.counter_states(connection),
            remembered,
            copy.names(connection),
            copy.registered(connection),
            list(copy.rotations(connection)),
            copy.first_payload(connection),
        )
        return verify(evidence, vkey)


def _keys(vkey: Vkey, bodies: Iterable[tuple[int, bytes]], findings: Findings) -> Keys:
    """The keys that the log hands over, or *vkey* alone where it does so wrongly."""
    try:
        return Keys(vkey, rotation.among(bodies))
    except BadRotation as err:
        findings.add(Code.BAD_ROTATION, str(err))
        return Keys(vkey)


class _Changes:
    """Takes from the lines what stands behind rows and keys, and what was destroyed."""

    def __init__(self, keys: Keys) -> None:
        self.backing = Backing()
        self.erased: set[str] = set()
        self.erasures = self.erased_payloads = 0
        self._before = 0  # no payload of an earlier leaf is left
        self._expected = {one.leaf for one in keys.rotations}
        self._met: set[int] = set()

    def take(self, leaf: int, line: Line, at_us: int) -> None:
        if line.kind != "change":
            return
        rows, erased, rotated = line.taken
        said = json.loads(erased) if erased else {}
        if said:
            self.erasures += 1
            self.erased_payloads += said["payloads"]
            self.erased.update(said["names"])
            self._before = max(self._before, said["before"])
        if rows or said:
            self.backing.take(json.loads(rows) if rows else {}, said.get("names", ()))
        if rotated:
            self._met.add(leaf)

    def leave_out(self, count: int) -> None:
        """What is missing in the log may be what is missing behind a row."""

    def judge(self, first_payload: int | None, findings: Findings) -> None:
        """Compare with the entries what was believed of them beforehand."""
        for leaf in sorted(self._met ^ self._expected):
            findings.add(Code.BAD_ROTATION, f"entry {leaf} hands no key over that counts", leaf)
        if first_payload is not None and first_payload < self._before:
            findings.add(
                Code.NOT_ERASED,
                f"no payload before entry {self._before} was left, and entry {first_payload} has one",
                first_payload,
            )


def _judge_names(names: Iterable[Name], erased: Container[str], findings: Findings) -> list[Name]:
    """Judge every name; return those of subjects. The others may be millions."""
    subjects: list[Name] = []
    for pseudonym, kind, name, salt in names:
        known = pseudonym.decode(errors="replace")
        if is_erased(pseudonym, name, salt):
            if known not in erased:
                findings.add(
                    Code.RENAMED, f"the name of {known!a:.40} is gone, and no entry says so"
                )
            continue
        if known in erased:
            findings.add(Code.NOT_ERASED, f"the name of {known!a:.40} was erased, and is there")
        if kind == OBJECT.encode():
            subjects.append((pseudonym, kind, name, salt))
        made_for = (kind.decode(errors="replace"), name.decode(errors="replace"))
        if pseudonym != pseudonym_of(salt, *made_for).encode(errors="replace"):
            said = ascii(pseudonym.decode(errors="replace"))
            findings.add(Code.RENAMED, f"the pseudonym {said:.40} was not made for its name")
    return subjects


def _judge_states(
    states: Iterable[tuple[int, bytes]], digests: Mapping[int, str], findings: Findings
) -> None:
    """A restart goes on from these, so each must be the one whose digest was entered."""
    for leaf, state in states:
        if digests.get(leaf) != hashlib.sha256(state).hexdigest():
            findings.add(
                Code.COUNTERS_DIFFER,
                f"the counters stored for entry {leaf} are not those whose digest it states",
                leaf,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the command line asks; return 0 for clean, 1 for findings, 3 for unreadable."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.audit.verify",
        description="Verify a copy of the log, offline.",
        epilog="exit status: 0 nothing found, 1 something found, 2 usage, 3 nothing to verify",
    )
    parser.add_argument("database", type=Path, help="copy of the database, e.g. customhouse.db")
    parser.add_argument("vkey", type=Path, help="file with the verifier key, e.g. log.vkey")
    parser.add_argument("--at-least", type=Path, metavar="CHECKPOINT", help="kept elsewhere")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    asked = parser.parse_args(arguments)
    try:
        vkey = Vkey.parse(asked.vkey.read_text())
        remembered = asked.at_least.read_bytes() if asked.at_least else None
        report = verify_copy(asked.database, vkey, remembered)
    except (OSError, UnicodeDecodeError, BadVkey, NotReadable) as err:
        sys.stderr.write(f"nothing could be verified: {err}\n")
        return 3
    text = json.dumps(report.as_json(), indent=2) if asked.json else said(report)
    sys.stdout.write(text + "\n")
    return 0 if report.clean else 1


def said(report: Report) -> str:
    """Return the report as sentences for a person."""
    lines = [
        f"{report.entries} entries, {report.checkpoints_checked} signed checkpoints compared, "
        f"{report.in_flight} calls in flight",
        f"root {report.root.hex()}",
        "charged " + ", ".join(f"{amount} {meter}" for meter, amount in report.charged.items()),
    ]
    if report.erasures:
        lines.append(
            f"{report.erasures} erasures destroyed {report.erased_payloads} payloads and "
            f"{report.erased_names} names"
        )
    if report.rotations:
        lines.append(f"the signing key was rotated {report.rotations} times, signed by both keys")
    for code, count in report.counts.items():
        lines.append(f"{code} ({count}): {MEANING[code]}")
        lines += [f"  {one.sentence}" for one in report.findings if one.code == code]
    lines.append("verified: nothing is wrong" if report.clean else "NOT verified")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
