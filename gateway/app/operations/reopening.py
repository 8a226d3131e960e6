"""Going on after a loss: a new log that names the one which cannot be continued."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import open_books
from gateway.audit import entry as entries
from gateway.audit.checkpoint import Signer, Vkey
from gateway.audit.merkle import Frontier
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.config import Config
from gateway.domain.meter import ESTIMATOR
from gateway.domain.operator import Exit, OperationRefused
from gateway.store import engine, keys, reopening
from gateway.store.backing import NotBacked
from gateway.store.changes import put_change
from gateway.store.counters import CountersDamaged
from gateway.store.keys import KeysMissing
from gateway.store.log import Log, LogDamaged
from gateway.store.pseudonyms import Pseudonyms
from gateway.store.recovery import LogShortened
from gateway.store.reopening import Lost, NothingKnown
from gateway.store.trail import NoLog
from gateway.store.withdrawals import everybodys_tokens
from gateway.store.writer import Writer

# What keeps the house closed, and would for ever.
_LOSSES = (
    LogShortened,
    LogDamaged,
    NotBacked,
    CountersDamaged,
    KeysMissing,
    entries.BadEntry,
    sqlite3.DatabaseError,
)


async def loss(config: Config) -> tuple[str, Lost | None]:
    """Why this house does not open, and what is known of its log; None: it only has to be finished.

    Raises: OperationRefused: it would open, or nobody can say which log it was. NoLog, FolderInUse.
    """
    if not config.data_dir.is_dir():
        raise NoLog(f"there is no log in {config.data_dir}")
    lock = engine.lock_folder(config.data_dir)
    try:
        return await asyncio.to_thread(_loss, config)
    finally:
        os.close(lock)


async def reopen(config: Config, author: str, reason: str) -> dict[str, Any]:
    """Start a new log in the place of the one that cannot be continued.

    Raises: as `loss`.
    """
    lock = engine.lock_folder(config.data_dir)
    try:
        why, lost = await asyncio.to_thread(_loss, config)
        aside = ""
        if lost is not None:
            await _write(config, lost, author, reason or why)
            aside = await asyncio.to_thread(
                reopening.put_in_place, config.data_dir, config.keys_dir, lost
            )
        await asyncio.to_thread(reopening.finish, config.data_dir, config.keys_dir)
        books = await asyncio.to_thread(open_books, config)
    finally:
        os.close(lock)
    return {
        "why": why,
        "log": books.signer.origin.removeprefix(ORIGIN_PREFIX),
        "from": None if lost is None else {"log": lost.last.log, "size": lost.last.size},
        "aside": aside,
        "vkey": "" if lost is None else reopening.vkey_of(config.keys_dir, lost),
        "left_behind": {} if lost is None else lost.left_behind,
        "withdrawn": {} if lost is None else lost.withdrawn.counts,
        "unread": [] if lost is None else list(lost.withdrawn.unread),
    }


def _loss(config: Config) -> tuple[str, Lost | None]:
    if reopening.is_unfinished(config.data_dir, config.keys_dir):
        return "it was begun before, and not finished", None
    why = _why_closed(config)
    try:
        own = _own_vkeys(config)
        return why, reopening.examine(config.data_dir, config.keys_dir, own, wall_us())
    except NothingKnown as err:
        raise OperationRefused(
            f"nobody can say which log this was: {err}",
            "a new log has to name the one that it continues",
            "begin anew: move data_dir and keys_dir away, then: customhouse serve",
            Exit.INVALID,
        ) from err


def _why_closed(config: Config) -> str:
    if config.keys_dir.is_dir():
        keys.refuse_readable(config.keys_dir)
    try:
        open_books(config)
    except _LOSSES as err:
        return str(err)
    raise OperationRefused(
        "nothing is wrong with this log",
        "a new one would forget who may knock, what was approved, and what was spent",
        "use it: customhouse serve",
        Exit.CONFLICT,
    )


def _own_vkeys(config: Config) -> list[Vkey]:
    """The key that is there, under the names of the logs that are spoken of."""
    try:
        pem = (config.keys_dir / keys.LOG_KEY).read_bytes()
        public = keys.signing_key(pem).public_key().public_bytes_raw()
    except (FileNotFoundError, keys.KeyDamaged):
        return []
    return [Vkey(one, public) for one in reopening.origins(config.data_dir, config.keys_dir)]


async def _write(config: Config, lost: Lost, author: str, reason: str) -> None:
    """The new log: an open that names the old one, who did it, what stays withdrawn, and a close."""
    path = await asyncio.to_thread(_prepared, config)
    house_keys = keys.load_or_create(config.keys_dir, log_is_empty=True)
    log_id = secrets.token_hex(16)
    signer = Signer(house_keys.signing, ORIGIN_PREFIX + log_id)
    writer, pseudonyms = Writer(path, signer, house_keys.payload), Pseudonyms()
    log = Log(writer, pseudonyms, wall_us)
    writer.start(asyncio.get_running_loop(), Frontier())
    log.resume(0, 0)
    opened = entries.Open(
        i=0, t=log.stamp(), log=log_id, key=signer.vkey.id, meter=ESTIMATOR, prior=lost.last
    )
    try:
        await log.put(opened)
        await put_change(log, pseudonyms, "log.reopen", author, prior=lost.last.root, note=reason)
        await asyncio.gather(
            *(
                put_change(
                    log,
                    pseudonyms,
                    withdrawal.what,
                    author,
                    subject=withdrawal.subject,
                    note=f"taken over from log {lost.last.log}",
                    effects=(withdrawal.effect,),
                )
                for withdrawal in (everybodys_tokens(log.stamp()), *lost.withdrawn.all)
            )
        )
        await log.put(entries.Close(i=log.next_leaf, t=log.stamp()))
    finally:
        await asyncio.to_thread(writer.stop)


def _prepared(config: Config) -> Path:
    path = reopening.clear(config.data_dir)
    engine.prepare(path)
    for name in (keys.LOG_KEY, keys.PAYLOAD_KEY, keys.STATE_KEY, keys.TOKEN_KEY):
        file = config.keys_dir / name
        if file.exists() and not _is_key(file):
            file.replace(file.with_name(f"{name}.damaged"))
    return path


def _is_key(path: Path) -> bool:
    content = path.read_bytes()
    if path.name not in (keys.LOG_KEY, keys.TOKEN_KEY):
        return len(content) == keys.SECRET_BYTES
    try:
        return bool(keys.signing_key(content))
    except keys.KeyDamaged:
        return False
