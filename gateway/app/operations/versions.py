"""Versions of the policy as the log knows them: in force from when to when, by whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gateway.app.course import APPROVE, NotStored, Step, steps, stored
from gateway.app.operations.entering import unknown
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.domain.window import when
from gateway.policy.files import PolicySource
from gateway.policy.load import compile as compile_policy
from gateway.policy.snapshot import Snapshot, builtin_deny_all
from gateway.store.trail import PROPOSE, Trail

LEAST_PREFIX = 4
_HISTORY = "see: customhouse policy history"


def history(read: Trail) -> Iterator[dict[str, Any]]:
    """Each time that a version came in force, from the newest to the oldest."""
    course, until = list(steps(read)), ""
    for place, step in enumerate(course):
        if not step.in_force:
            continue
        yield {
            "version": step.version,
            "since": when(step.at_us),
            "until": until,  # "": in force
            "by": step.author,
            "what": step.what,
            "subject": "" if step.back_to else step.subject,
            "back_to": step.back_to,
            "proposed_by": _proposers(step, course[place + 1 :]),
            "stored": read.policy_bundle(step.version) is not None,
        }
        until = when(step.at_us)


def _proposers(approval: Step, before: Sequence[Step]) -> list[str]:
    """Who had proposed what *approval* put in force, in place of the version before."""
    if approval.what != APPROVE:
        return []
    wanted = (PROPOSE, approval.version, approval.prior)
    said = (step.author for step in before if (step.what, step.version, step.prior) == wanted)
    return list(dict.fromkeys(author for author in said if author != approval.author))


def resolved(read: Trail, beginning: str) -> str:
    """The one version that was in force and begins so. Raises: OperationRefused."""
    if len(beginning) < LEAST_PREFIX or not set(beginning) <= set("0123456789abcdef"):
        raise usage(
            f"{beginning!a:.80} is not the beginning of a version",
            f"say {LEAST_PREFIX} or more of its hexadecimal digits; {_HISTORY}",
        )
    were = {step.version for step in steps(read) if step.in_force}
    found = sorted(version for version in were if version.startswith(beginning))
    if not found:
        raise unknown("version", beginning, _HISTORY)
    if len(found) > 1:
        some = ", ".join(version[:16] for version in found[:5])
        raise usage(f"{beginning} could be {len(found)} versions", f"say more of it: {some}")
    return found[0]


def files_of(read: Trail, version: str) -> PolicySource:
    """The files of *version*. Raises: OperationRefused: they are not to be had."""
    try:
        return stored(read, version)[0]
    except NotStored as err:
        raise _not_stored(err) from err


def snapshot_of(read: Trail, version: str) -> Snapshot:
    """*version* as it decided. Raises: OperationRefused, PolicyInvalid: it cannot be had any more."""
    if version == builtin_deny_all().version:
        return builtin_deny_all()
    try:
        return compile_policy(*stored(read, version))
    except NotStored as err:
        raise _not_stored(err) from err


def snapshot_at(read: Trail, at_us: int) -> Snapshot:
    """The policy that was in force at *at_us*. Raises: OperationRefused, PolicyInvalid."""
    version = read.policy_version(at_us + 1)
    if not version:
        raise OperationRefused(
            f"no policy was in force at {when(at_us)}",
            "the log begins later: there was no gateway to ask",
            _HISTORY,
            Exit.NO,
        )
    return snapshot_of(read, version)


def _not_stored(err: NotStored) -> OperationRefused:
    return OperationRefused(
        str(err), "what it decided cannot be said for sure any more", _HISTORY, Exit.INVALID
    )
