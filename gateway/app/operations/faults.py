"""What the rooms of the house raise, as an operator is told it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.audit.copy import NotReadable
from gateway.audit.entry import BadEntry
from gateway.config import ConfigError
from gateway.domain.operator import Exit, OperationRefused
from gateway.policy.finding import Level, PolicyInvalid
from gateway.store.backing import NotBacked
from gateway.store.counters import CountersDamaged
from gateway.store.engine import FolderInUse, SchemaUnknown
from gateway.store.identity import NameTaken
from gateway.store.keys import KeysMissing
from gateway.store.ledger import LogUnavailable
from gateway.store.log import LogDamaged
from gateway.store.recovery import LogShortened
from gateway.upstream.fetch import BadTarget
from gateway.upstream.message import UpstreamFailed

SHOWN_FINDINGS = 20
_VERIFY = "see what is wrong: customhouse audit verify"


def told(err: BaseException) -> OperationRefused | None:
    """What to say of *err*; None for a fault of ours, of which nothing clever can be said."""
    if isinstance(err, OperationRefused):
        return err
    for kind, tell in _TOLD.items():
        if isinstance(err, kind):
            return tell(err)
    return None


def _config(err: Any) -> OperationRefused:
    what = f"{err.where}: {err.what}" if err.where else err.what
    return OperationRefused(what, err.why, err.fix, Exit.INVALID)


def _policy(err: Any) -> OperationRefused:
    errors = [finding for finding in err.findings if finding.level is Level.ERROR]
    if len(errors) == 1:
        one = errors[0]
        place = f"{one.file}:{one.line}" if one.line else one.file
        return OperationRefused(f"{place}: {one.what}", one.why, one.fix, Exit.INVALID)
    shown = "\n".join(finding.say() for finding in errors[:SHOWN_FINDINGS])
    return OperationRefused(
        f"the policy is invalid, {len(errors)} errors; it was not put in force",
        f"all of it is in force, or nothing\n{shown}",
        "correct it, then: customhouse policy check",
        Exit.INVALID,
    )


def _said(why: str, fix: str, exit_code: Exit) -> Callable[[Any], OperationRefused]:
    return lambda err: OperationRefused(str(err), why, fix, exit_code)


_TOLD: Mapping[type[BaseException], Callable[[Any], OperationRefused]] = {
    ConfigError: _config,
    PolicyInvalid: _policy,
    NameTaken: _said(
        "the file declares, commands write the registry; one name cannot stand in both",
        "take it out of one of them",
        Exit.INVALID,
    ),
    FolderInUse: _said(
        "one process owns a data folder; it is starting, ending, or another command",
        "repeat the command in a moment",
        Exit.CONFLICT,
    ),
    KeysMissing: _said(
        "the log was signed with it, and a new one would orphan the log",
        "restore the keys folder from your backup",
        Exit.INVALID,
    ),
    LogShortened: _said(
        "the log is not the one whose checkpoint this house remembers",
        _VERIFY,
        Exit.INVALID,
    ),
    LogDamaged: _said("the stored log contradicts its own signed head", _VERIFY, Exit.INVALID),
    NotBacked: _said(
        "what agents, keys, servers and definitions may do is changed by commands only, and each "
        "change is in the log; somebody wrote into the database around it",
        "see all of it: customhouse audit verify, and restore the database from your backup",
        Exit.INVALID,
    ),
    CountersDamaged: _said("a restart must not believe them", _VERIFY, Exit.INVALID),
    BadEntry: _said("the log holds what no version up to this one writes", _VERIFY, Exit.INVALID),
    NotReadable: _said(
        "it is not a log, or SQLite cannot read it", "name another file", Exit.INVALID
    ),
    SchemaUnknown: _said(
        "it was written by a newer version", "use that version of customhouse", Exit.INVALID
    ),
    LogUnavailable: _said(
        "nothing is changed that cannot be written down first",
        "look at the gateway's log and at the disk, then repeat the command",
        Exit.UNREACHABLE,
    ),
    UpstreamFailed: _said(
        "the server behind the gateway did not answer as it should",
        "look at its own output, then: customhouse server test NAME",
        Exit.UNREACHABLE,
    ),
    BadTarget: _said("no connection may ever go there", "give another URL", Exit.USAGE),
}
