"""What ties calls together: how far a run may go, and whether it goes in circles.

What a run spends is counted in purses, like all else, and survives a restart. How often it made the
same call, and which call caused which, is known of this process only, and of a bounded number.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.domain import refusal as no
from gateway.domain.budget import Limits, Purses
from gateway.domain.model import Act, Call, CallClass, Principal
from gateway.domain.refusal import Refused
from gateway.domain.run import RunLimits, run_account
from gateway.domain.window import LIFE, WINDOWS

_WHOLE_LIFE = WINDOWS[LIFE]
RUN_LEVEL = 4  # of the accounts of a call
MAX_KNOWN = 20_000  # calls, and kinds of call, that are remembered


class _Known(NamedTuple):
    """A call of a run that may cause others."""

    account: str
    depth: int


class Runs:
    def __init__(self, limits: RunLimits, purses: Callable[[], Purses]) -> None:
        self._bounds = limits
        self._purses = purses
        self._seen: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.stopped: set[str] = set()  # accounts
        self.limits = Limits(
            budgets={
                (meter, _WHOLE_LIFE): amount
                for meter, amount in (
                    ("tokens", limits.tokens),
                    ("calls", limits.calls),
                    ("cost", limits.cost),
                )
                if amount
            }
        )

    def is_stopped(self, tenant: str, run: str) -> bool:
        return bool(self.stopped) and bool(run) and run_account(tenant, run) in self.stopped

    def caused(self, call: Call) -> bool:
        """Whether the parent that *call* names is known, and of the same run."""
        known = self._known.get(call.parent)
        return known is not None and known.account == run_account(call.principal.tenant, call.run)

    def problem(self, call: Call, accounts: Sequence[str], now_us: int) -> Refused | None:
        """Why *call* may not be made within its run, whatever its budget says; None when it may.

        That it was stopped is said before all else: only that keeps back what was answered before.
        """
        if call.run and accounts[RUN_LEVEL] in self.stopped:
            return Refused(no.RUN_STOPPED, call.id)
        depth, bounds = self._depth(call), self._bounds
        if bounds.depth and depth > bounds.depth:
            return _limit(call, "depth", bounds.depth)
        if not call.run:
            return None
        account = accounts[RUN_LEVEL]
        return self._outgrown(call, account, now_us) or self._circles(call, account)

    def began(self, call: Call, accounts: Sequence[str]) -> None:
        """Remember that *call* was admitted."""
        if not call.run:
            return
        account = accounts[RUN_LEVEL]
        self._known[call.id] = _Known(account, self._depth(call))
        _bound(self._known)
        if _repeats(call):
            same = account, _same(call)
            self._seen[same] = self._seen.pop(same, 0) + 1
            _bound(self._seen)

    def _outgrown(self, call: Call, account: str, now_us: int) -> Refused | None:
        life, bounds = self._purses().life(account, now_us), self._bounds
        if life is None:
            return None
        began_us, n_open = life
        if bounds.wall_s and now_us - began_us >= bounds.wall_s * 1_000_000:
            return _limit(call, "wall_s", bounds.wall_s)
        opens = call.round == 1 and call.weight is CallClass.FULL
        if bounds.fan_out and opens and n_open >= bounds.fan_out:
            return _limit(call, "fan_out", bounds.fan_out)
        return None

    def _circles(self, call: Call, account: str) -> Refused | None:
        most = self._bounds.repeats
        if most and _repeats(call) and self._seen.get((account, _same(call)), 0) >= most:
            return Refused(no.LOOP, call.id, {"limit": most})
        return None

    def _depth(self, call: Call) -> int:
        """How far *call* is from whoever began: by who acts for whom, and by what caused what."""
        known = self._known.get(call.parent) if call.run and call.parent else None
        deeper = int(call.round == 1)  # a later round goes on where its call is
        caused = known.depth + deeper if known is not None else 0
        return max(len(call.principal.actors), caused)


def grant_limits(principal: Principal) -> tuple[Limits | None, ...]:
    """Of each account that `gateway.store.particulars` gives a grant with a budget."""
    return tuple(
        Limits(budgets={(meter, _WHOLE_LIFE): amount for meter, amount in grant.budget})
        for grant in principal.grants
        if grant.budget
    )


def _limit(call: Call, scope: str, limit: int) -> Refused:
    return Refused(no.RUN_LIMIT, call.id, {"scope": scope, "limit": limit})


def _repeats(call: Call) -> bool:
    """Whether doing it again is doing the same again: rounds and streams go on with something."""
    return call.round == 1 and call.act in (Act.CALL, Act.READ, Act.GET)


def _same(call: Call) -> bytes:
    said = [call.object, call.method, call.arguments or call.name]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).digest()


def _bound(known: OrderedDict[str, _Known] | OrderedDict[tuple[str, bytes], int]) -> None:
    if len(known) > MAX_KNOWN:
        known.popitem(last=False)
