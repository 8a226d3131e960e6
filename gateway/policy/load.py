"""The way in: from a folder, or from stored bytes, to a policy that may be put in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.policy import cases, files, lint
from gateway.policy.cases import CaseResult
from gateway.policy.files import Binding, PolicySource
from gateway.policy.finding import Finding, Level, PolicyInvalid, error
from gateway.policy.lint import Reading
from gateway.policy.oracle import Disagreement, self_test
from gateway.policy.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy fit to be put in force: no errors, and every case answered as expected."""

    snapshot: Snapshot
    source: PolicySource
    findings: tuple[Finding, ...]  # warnings
    cases: tuple[CaseResult, ...]


def compile(source: PolicySource, bindings: Sequence[Binding]) -> Snapshot:
    """The policy of *source*, with the roles that the configuration gives to agents.

    Cases are not asked: this also brings back a policy that was once in force.
    Raises: PolicyInvalid: at least one finding is an error, or there are no rules.
    """
    return _compiled(lint.read(source, bindings), source, bindings)


def load(folder: Path, bindings: Sequence[Binding]) -> Loaded:
    """Read, check, compile and test the policy of *folder*: all of it, or nothing.

    Takes up to 0.2 s besides compiling, and should not run on the event loop.
    Raises: PolicyInvalid: it cannot be read, has an error, answers a case otherwise than expected,
    or is decided otherwise by Casbin itself.
    """
    return tested(files.read(folder), bindings)


def tested(source: PolicySource, bindings: Sequence[Binding]) -> Loaded:
    """The same of files that were read already, or stored. Raises: PolicyInvalid."""
    reading = lint.read(source, bindings)
    snapshot = _compiled(reading, source, bindings)
    results = cases.run(snapshot, source)
    failed = cases.failures(results)
    if failed:
        raise PolicyInvalid([*failed, *reading.findings])
    _compare_with_casbin(snapshot, source)
    return Loaded(snapshot, source, tuple(reading.findings), tuple(results))


def _compare_with_casbin(snapshot: Snapshot, source: PolicySource) -> None:
    try:
        # Another sample for every version, the same one whenever that version is loaded.
        self_test(snapshot, source, seed=int(snapshot.version[:8], 16))
    except Disagreement as err:
        what = f"the compiled policy and Casbin disagree: {err}"
        why = "one of them is wrong, and a decision must not depend on which"
        fix = "keep the policy in force, and report this with the policy folder"
        raise PolicyInvalid([error(".", 0, what, why, fix)]) from err


def _compiled(reading: Reading, source: PolicySource, bindings: Sequence[Binding]) -> Snapshot:
    if any(finding.level is Level.ERROR for finding in reading.findings):
        raise PolicyInvalid(reading.findings)
    parsed = reading.parsed
    version = files.version(source, bindings)
    return Snapshot(version, parsed.rules, parsed.links, reading.conditions)
