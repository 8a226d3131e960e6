"""Refusals are entries, too: singly up to a point, then folded, so that noise cannot fill the log."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.audit import entry as entries
from gateway.domain.model import Call, Decision, Principal
from gateway.domain.refusal import DISK_LOW, Refused
from gateway.store.log import Log, commit_to
from gateway.store.particulars import Particulars, named
from gateway.store.pseudonyms import ADDRESS, SUBJECT, Pseudonyms

SINGLY_PER_MINUTE = 600
MAX_KEPT_BYTES = 1_024
MINUTE_US = 60_000_000
STRANGERS_US = 10_000_000  # their folds are written this often, so that a flood of them is slow
MAX_ADDRESSES = 64  # folded apart in that time; the rest of the strangers share one fold
OTHERS = "others"


@dataclass(slots=True)
class _Fold:
    codes: dict[str, int] = field(default_factory=dict)
    first_us: int = 0
    last_us: int = 0
    count: int = 0
    digest: bytes = b""

    def add(self, code: str, now_us: int) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self.first_us = self.first_us or now_us
        self.last_us = now_us
        self.count += 1
        self.digest = hashlib.sha256(self.digest + f"{code} {now_us}\n".encode()).digest()


class Refusals:
    """Writes refusals of principals singly up to 600 a minute; folds the rest, and all strangers'."""

    def __init__(self, log: Log, pseudonyms: Pseudonyms) -> None:
        self._log = log
        self._pseudonyms = pseudonyms
        self._particulars = Particulars(pseudonyms)
        self._minute = 0
        self._written: dict[str, int] = {}  # subject -> entries in this minute
        self._folds: dict[tuple[str, str], _Fold] = {}  # (kind, name)
        self._strangers_us = 0

    def of_call(
        self, call: Call, decision: Decision | None, refused: Refused, now_us: int
    ) -> asyncio.Future[None] | None:
        """Enter the refusal of *call*; None when it was folded into a later entry."""
        who = call.principal
        if refused.refusal is DISK_LOW:
            self._fold(SUBJECT, who.subject, refused.refusal.id, now_us)  # they must not fill it up
            return None
        if not self._may_write_singly(who, refused.refusal.id, now_us):
            return None
        content = named(call)
        commitment, kept = commit_to(content)
        if call.parent or len(content) > MAX_KEPT_BYTES:
            # Committed to, not kept: refused calls must not fill the disk, and the entry of what a
            # call caused does not name it, so that nobody could find it to erase it.
            kept = b""
        entry = entries.Refused(
            i=self._log.next_leaf,
            t=now_us,
            code=refused.refusal.id,
            args=commitment,
            acc=self._particulars.accounts(call) if call.definition is not None else (),
            rule=decision.rule if decision else -1,
            conds=dict(decision.conditions) if decision else {},
            policy=decision.policy_version if decision else "",
            actors=self._particulars.actors(who),
            detail=plain_detail(refused.detail),
            **{**self._particulars.of_call(call), "method": plain(call.method)},
        )
        return self._log.put(entry, call.id, kept)

    def of_request(
        self, refused: Refused, principal: Principal | None, address: str, method: str, now_us: int
    ) -> asyncio.Future[None] | None:
        """Enter a refusal that came before there was a call; strangers always fold."""
        if principal is None:
            self._fold(ADDRESS, address, refused.refusal.id, now_us)
            return None
        if not self._may_write_singly(principal, refused.refusal.id, now_us):
            return None
        entry = entries.Refused(
            i=self._log.next_leaf,
            t=now_us,
            call=refused.call_id,
            code=refused.refusal.id,
            method=plain(method),
            actors=self._particulars.actors(principal),
            detail=plain_detail(refused.detail),
            **self._particulars.of_principal(principal),
        )
        return self._log.put(entry, refused.call_id)

    def flush(self, now_us: int) -> None:
        """Write what was folded: one entry per subject at each flush, per address every 10 s."""
        due = {SUBJECT} if now_us - self._strangers_us < STRANGERS_US else {SUBJECT, ADDRESS}
        if ADDRESS in due:
            self._strangers_us = now_us
        folds = {key: fold for key, fold in self._folds.items() if key[0] in due}
        self._folds = {key: fold for key, fold in self._folds.items() if key[0] not in due}
        for (kind, name), fold in folds.items():
            # An address is not kept in memory: it may be one of millions.
            naming = self._pseudonyms.of if kind == SUBJECT else self._pseudonyms.once
            pseudonym = naming(kind, name)
            entry = entries.Folded(
                i=self._log.next_leaf,
                t=now_us,
                codes=fold.codes,
                first=fold.first_us,
                last=fold.last_us,
                count=fold.count,
                digest=fold.digest.hex(),
                who=pseudonym if kind == SUBJECT else "",
                address=pseudonym if kind == ADDRESS else "",
            )
            self._log.put(entry)

    def flush_all(self, now_us: int) -> None:
        """Write every fold: the house is closing."""
        self._strangers_us = 0
        self.flush(now_us)

    def _may_write_singly(self, who: Principal, code: str, now_us: int) -> bool:
        minute = now_us // MINUTE_US
        if minute != self._minute:
            self._minute, self._written = minute, {}
        written = self._written.get(who.subject, 0)
        if written >= SINGLY_PER_MINUTE:
            self._fold(SUBJECT, who.subject, code, now_us)
            return False
        self._written[who.subject] = written + 1
        return True

    def _fold(self, kind: str, name: str, code: str, now_us: int) -> None:
        if kind == ADDRESS:
            name = _network(name)
            known = sum(key[0] == ADDRESS for key in self._folds)
            if (kind, name) not in self._folds and known >= MAX_ADDRESSES:
                name = OTHERS
        self._folds.setdefault((kind, name), _Fold()).add(code, now_us)


def _network(address: str) -> str:
    """Whom an address stands for: an IPv6 caller has its whole /64 to choose from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return OTHERS
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def plain(text: str, longest: int = 200) -> str:
    """What may stand in a leaf: printable ASCII without double quotes and backslashes, bounded."""
    text = text[:longest].replace('"', "'")
    return "".join(c if " " <= c <= "~" and c != "\\" else "?" for c in text)


def plain_detail(detail: Mapping[str, str | int]) -> dict[str, int | str]:
    return {
        plain(key, 40): plain(value) if isinstance(value, str) else max(0, value)
        for key, value in detail.items()
    }
