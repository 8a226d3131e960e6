"""Stop buttons: a run, or everything. What is open ends within a second; `thaw` opens again."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from gateway.app.house import House
from gateway.app.operations.args import Args
from gateway.app.operations.entering import Change, enter
from gateway.app.operations.runs import knows_run
from gateway.app.stops import FREEZE, FROZEN, STOP_RUN, THAW
from gateway.domain import refusal as no
from gateway.domain.operator import usage
from gateway.domain.run import is_run_account, is_run_id, run_account
from gateway.store.trail import Interrupted, opened

LOOK_S = 5.0  # for a call of a run in a long log; by then it is stopped


async def freeze(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let nothing through any more, whoever asks; end what is open."""
    reason = Args(given, "reason").text("reason", "")
    if FROZEN in house.ledger.closed_by:
        return {"frozen": True, "changed": False}

    def apply() -> None:
        house.ledger.closed_by[FROZEN] = no.FROZEN

    await enter(house, Change(FREEZE, author, note=reason), apply)
    return {"frozen": True, "changed": True}


async def thaw(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Let calls through again."""
    reason = Args(given, "reason").text("reason", "")
    if FROZEN not in house.ledger.closed_by:
        return {"frozen": False, "changed": False}
    change = Change(THAW, author, note=reason)
    await enter(house, change, lambda: house.ledger.closed_by.pop(FROZEN, None))
    return {"frozen": False, "changed": True}


async def stop_run(house: House, author: str, given: Mapping[str, Any]) -> Any:
    """Refuse every further call of a run, and end those that are open.

    `run` is its id, with its `tenant`; or what entries call it (r and 16 hex digits). One of which
    the log knows no call is stopped as well, in case it comes: `known` says so.
    """
    args = Args(given, "run", "tenant", "reason")
    account = account_of(args.text("run"), args.text("tenant", "default"))
    if account in house.ledger.runs.stopped:
        return await _stopped(house, account, changed=False)
    change = Change(STOP_RUN, author, about=account, note=args.text("reason", ""))
    await enter(house, change, lambda: house.ledger.runs.stopped.add(account))
    return await _stopped(house, account, changed=True)


async def _stopped(house: House, account: str, *, changed: bool) -> dict[str, Any]:
    """`known` is None where the log is too long to be looked through, or cannot be."""
    until_s = time.monotonic() + LOOK_S

    def goes_on() -> bool:
        return time.monotonic() < until_s and "drain" not in house.ledger.closed_by

    def look() -> bool | None:
        try:
            with opened(house.config.data_dir) as trail, trail.while_true(goes_on):
                return knows_run(trail, account)
        except (Interrupted, OSError, ValueError, sqlite3.Error):
            return None  # it is stopped, whatever the log looks like

    known = await asyncio.to_thread(look)
    return {"run": account, "stopped": True, "changed": changed, "known": known}


def account_of(run: str, tenant: str) -> str:
    """What entries call a run. Raises: OperationRefused: it is neither an id nor an account."""
    if is_run_account(run):
        return run
    if not is_run_id(run):
        raise usage(f"{run!a:.80} names no run", "say its id, or what entries call it (r3f2a...)")
    return run_account(tenant, run)
