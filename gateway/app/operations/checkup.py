"""Looking at what lies on the disk: folders, keys, the log and what is remembered of it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from gateway.app.operations.diagnosis import Check, Patient, ok, problem, warning
from gateway.audit.checkpoint import Signer
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.store import keyring, keys, recovery
from gateway.store.engine import reading
from gateway.store.log import CLOCK_TOLERANCE_US
from gateway.store.recovery import LogShortened
from gateway.store.trail import database_of, opened

OLD_CHECKPOINT_S = 120.0  # a server publishes one a minute at least
_TRIES = 3  # what is remembered may grow between the look at the log and the look at it
_READ_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def folders(patient: Patient) -> Iterator[Check]:
    """Who may read and write what."""
    config = patient.config
    found = [
        *_too_open(
            config.keys_dir, _READ_BY_OTHERS, 700, "whoever reads the keys can sign the log"
        ),
        *_too_open(config.data_dir, _READ_BY_OTHERS, 700, "names stand in the database in clear"),
        *_too_open(config.policies, _WRITTEN_BY_OTHERS, 755, "whoever writes there decides"),
    ]
    if config.file is not None:
        found += _too_open(config.file, _WRITTEN_BY_OTHERS, 644, "it says whom to trust")
    if config.keys_dir.is_dir():
        for path in sorted(config.keys_dir.iterdir()):
            if path.is_file():
                found += _too_open(path, _READ_BY_OTHERS, 600, "it belongs to the gateway alone")
    yield from found or [ok("folders", "nobody else reads keys or data, or writes policy")]


def _too_open(path: Path, forbidden: int, mode: int, why: str) -> list[Check]:
    if not path.exists():
        return []
    now = stat.S_IMODE(path.stat().st_mode)
    if not now & forbidden:
        return []
    what = f"{path} has mode {now:o}"
    return [problem("folders", what, why, f"chmod {mode} {path}")]


def own_keys(patient: Patient) -> Iterator[Check]:
    """The keys of the house: there, whole, and those of this log."""
    config = patient.config
    if not config.keys_dir.is_dir():
        raise keys.KeysMissing(f"there is no folder {config.keys_dir}")
    with reading(database_of(config.data_dir)) as connection:
        log_id = recovery.log_id(connection)
    house_keys = keys.load_or_create(config.keys_dir, log_is_empty=False)
    vkey = str(Signer(house_keys.signing, ORIGIN_PREFIX + log_id).vkey)
    kept = config.keys_dir / keys.LOG_VKEY
    if not kept.exists() or kept.read_text().strip() != vkey:
        yield problem(
            "keys",
            f"{kept} is not the public half of {keys.LOG_KEY}",
            "whoever takes it from there verifies with another key",
            "it is written anew at the next start: customhouse serve",
        )
        return
    pending = [path.name for path in config.keys_dir.glob(f"*{keyring.NEXT}")]
    if pending and not patient.is_served:
        yield warning(
            "keys",
            f"a rotation was not finished: {', '.join(sorted(pending))}",
            "the gateway ended between the file and the entry",
            "it is finished, or taken back, at the next start: customhouse serve",
        )
        return
    yield ok("keys", f"whole, and those of log {log_id[:8]}")


def log_tail(patient: Patient) -> Iterator[Check]:
    """What a start would look at: the signed head, what is remembered, and the rows behind it."""
    config = patient.config
    for attempt in range(1, _TRIES + 1):
        try:
            size = recovery.verified_size(database_of(config.data_dir), config.keys_dir)
        except LogShortened:
            if attempt == _TRIES:
                raise
        else:
            break
    yield ok("log", f"{size} entries; the newest ones, and all changes, are what was signed")


def remembered(patient: Patient) -> Iterator[Check]:
    """How old the newest published checkpoint is."""
    with opened(patient.config.data_dir) as trail:
        at_us = trail.published_us()
    if not at_us:
        yield warning(
            "checkpoint",
            "no checkpoint was ever published",
            "without one nobody notices a log that was cut off",
            "serve: customhouse serve",
        )
        return
    age_s = max(0.0, (patient.now_us - at_us) / 1e6)
    if patient.is_served and age_s > OLD_CHECKPOINT_S:
        yield problem(
            "checkpoint",
            f"the newest is {age_s:.0f} s old, and a gateway runs",
            "one is published every minute, also when nothing happens",
            "look at the gateway's own log for checkpoint_not_published",
        )
        return
    yield ok("checkpoint", f"the newest is {age_s:.0f} s old; keep copies of it elsewhere")


def clock(patient: Patient) -> Iterator[Check]:
    """Whether the clock has gone back behind the log."""
    with opened(patient.config.data_dir) as trail:
        behind_us = trail.last_us() - patient.now_us
    if behind_us > CLOCK_TOLERANCE_US:
        yield problem(
            "clock",
            f"it is {behind_us / 1e6:.0f} s behind the newest entry",
            "the gateway admits nothing until it has caught up: entry times never go back",
            "set it right, and look at what sets it",
        )
        return
    yield ok("clock", "it is not behind the log")
