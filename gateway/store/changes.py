"""The entry of an act of administration, with the rows, names and keys that it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.audit import entry as entries
from gateway.store.backing import rows_entered
from gateway.store.log import Log, commit_to
from gateway.store.pseudonyms import OBJECT, SUBJECT, Pseudonyms
from gateway.store.writer import Effect, Sealing


def put_change(
    log: Log,
    pseudonyms: Pseudonyms,
    what: str,
    author: str,
    *,
    subject: str = "",
    about: str = "",
    digest: str = "",
    prior: str = "",
    note: str = "",
    effects: Sequence[Effect] = (),
    erased: entries.Erased | None = None,
    rotation: entries.Rotation | None = None,
    sealing: Sealing | None = None,
    at_us: int = 0,
) -> asyncio.Future[None]:
    """Queue the entry of *what* with its *effects*, in one step of the event loop.

    *at_us*: this moment, where what is put beside it has it already. *about*: a pseudonym, where a *subject* by name cannot be said any more. *sealing*: the keys with which this entry, and all behind it, are signed and sealed.
    The future fails with WriteFailed: it is not known to be durable.
    """
    commitment, kept = commit_to(note.encode()) if note else ("", b"")
    entry = entries.Change(
        i=log.next_leaf,
        t=at_us or log.stamp(),
        what=what,
        author=pseudonyms.of(SUBJECT, author),
        subject=pseudonyms.of(OBJECT, subject) if subject else about,
        digest=digest,
        prior=prior,
        note=commitment,
        rows=rows_entered(effects, pseudonyms),
        erased=erased,
        rotation=rotation,
    )
    return log.put(entry, payload=kept, effects=effects, sealing=sealing)
