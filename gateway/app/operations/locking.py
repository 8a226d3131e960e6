"""The lock as it would be now: what is approved, and who approved it according to the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.app.artifact import artifact_digest, artifact_shown
from gateway.app.operations.places import object_of
from gateway.app.operations.reading import Reading
from gateway.audit import entry as entries
from gateway.domain.lock import Lock, Locked, LockedServer
from gateway.domain.window import when
from gateway.store.trail import Slice, Trail, opened

_APPROVED, _SEEN, _SEEN_MANY = "tool.approve", "definition.seen", "definition.many"
Approvals = Mapping[tuple[str, str], tuple[str, str]]
"""(object, digest) -> who approved it, and on which day. The digest is "" where many were entered."""


def lock_of(house: Reading) -> Lock:
    """What is approved now. Reads the log to tell who approved it."""
    approvals = _approvals(house)
    definitions: dict[str, dict[str, Locked]] = {name: {} for name in house.servers}
    for pin in house.registry.pins.values():
        server, kind, name = pin.place
        if server in definitions and pin.was_approved and not pin.gone:
            named = object_of(pin.place)
            by_many = approvals.get((named, ""), ("", ""))
            who, day = approvals.get((named, pin.approved_digest), by_many)
            definitions[server][f"{kind}/{name}"] = Locked(pin.approved_digest, who, day)
    return Lock(
        {
            name: LockedServer(
                artifact_shown(server), artifact_digest(server, house.config), definitions[name]
            )
            for name, server in house.servers.items()
            if definitions[name]
        }
    )


def _approvals(house: Reading) -> Approvals:
    if house.database is None:
        return {}
    with opened(house.config.data_dir) as trail:
        # Oldest first, so that the newest approval of a digest is the one that is told.
        return dict(reversed(list(_entered(trail))))


def _entered(trail: Trail) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """From the newest change to the oldest: what was approved by hand, or at first sight."""
    words = tuple(f'"what":"{what}"' for what in (_APPROVED, _SEEN, _SEEN_MANY))
    for entry in trail.newest_first(Slice(kinds=("change",), containing=(words,))):
        if not isinstance(entry, entries.Change):
            continue
        said = trail.name(entry.author), when(entry.t)[:10]
        subject = trail.name(entry.subject)
        if entry.what != _SEEN_MANY:
            yield (subject, entry.digest), said
            continue
        # One entry for hundreds of definitions: it states which, and not each digest.
        for pseudonym in entry.rows:
            yield (trail.name(pseudonym), ""), said
