"""What commands can run into, as a person is told it."""

from __future__ import annotations

import sqlite3

from gateway.domain.operator import Exit, OperationRefused


def told(err: BaseException) -> OperationRefused | None:
    """What to say of *err*; None for what nobody thought of."""
    from gateway.app.operations import faults
    from gateway.store.trail import NoLog, NotReadableHere

    known = faults.told(err)
    if known is not None:
        return known
    if isinstance(err, NoLog):
        return OperationRefused(
            str(err),
            "no gateway has run on this data folder yet",
            "run one: customhouse serve, or name another configuration with --config",
            Exit.INVALID,
        )
    if isinstance(err, NotReadableHere | PermissionError):
        return OperationRefused(
            str(err),
            "the data of a gateway belongs to its operators",
            "run the command as the owner of the data folder",
            Exit.NOT_OPERATOR,
        )
    if isinstance(err, sqlite3.DatabaseError):
        return OperationRefused(
            f"the database cannot be read: {err}",
            "it is damaged, or is none",
            "see what is wrong: customhouse audit verify, and restore it from your backup",
            Exit.INVALID,
        )
    if isinstance(err, OSError):
        what = f"{err.filename}: {err.strerror}" if err.filename is not None else str(err)
        return OperationRefused(
            what, "the command cannot go on without it", "look at what it names", Exit.INVALID
        )
    return None
