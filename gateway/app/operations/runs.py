"""Runs as the log has them: who took part, what they did, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.app.stops import STOP_RUN
from gateway.audit import entry as entries
from gateway.store.trail import Slice, Trail

MAX_RUNS = 1_000  # in one list
MAX_STEPS = 10_000  # of one run that are shown
_CALLS = ("intent", "refused", "single")
_ANY = ('"run":"r',)

Called = entries.Intent | entries.Refused | entries.Single


@dataclass(slots=True)
class _Sum:
    first_us: int = 0
    last_us: int = 0
    calls: int = 0
    refused: int = 0
    under_way: int = 0
    tokens: int = 0
    cost: int = 0
    agents: set[str] = field(default_factory=set)
    tenant: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "agents": sorted(self.agents),
            "calls": self.calls,
            "under_way": self.under_way,
            "refused": self.refused,
            "tokens": self.tokens,
            "cost": self.cost,
        }


def run_rows(trail: Trail, since_us: int) -> list[dict[str, Any]]:
    """The runs that did anything since *since_us*, whichever did so last first."""
    sums: dict[str, _Sum] = {}
    for entry in trail.newest_first(Slice(since_us, kinds=_CALLS, containing=(_ANY,))):
        if not isinstance(entry, Called) or not entry.run:
            continue
        if entry.run not in sums and len(sums) >= MAX_RUNS:
            continue
        _add(trail, sums.setdefault(entry.run, _Sum()), entry)
    stopped = _stopped(trail)
    return [{"run": run, "stopped": run in stopped, **s.as_json()} for run, s in sums.items()]


def run_shown(trail: Trail, run: str) -> dict[str, Any] | None:
    """The run that entries call *run*: its sums, and its steps in order. None: there is none."""
    whole, steps = _Sum(), list[dict[str, Any]]()
    for entry in trail.oldest_first(Slice(kinds=_CALLS, containing=((f'"run":"{run}"',),))):
        if not isinstance(entry, Called) or entry.run != run:
            continue
        step = _add(trail, whole, entry)
        if len(steps) < MAX_STEPS:
            steps.append(step)
    if not steps:
        return None
    is_stopped = run in _stopped(trail)
    left_out = whole.calls + whole.refused - len(steps)
    sums = whole.as_json()
    return {"run": run, "stopped": is_stopped, **sums, "steps": steps, "left_out": left_out}


def knows_run(trail: Trail, run: str) -> bool:
    """Whether any call is entered of the run that entries call *run*."""
    wanted = Slice(kinds=_CALLS, containing=((f'"run":"{run}"',),))
    return any(
        isinstance(entry, Called) and entry.run == run for entry in trail.newest_first(wanted)
    )


def _stopped(trail: Trail) -> set[str]:
    wanted = Slice(kinds=("change",), containing=((f'"what":"{STOP_RUN}"',),))
    return {
        entry.subject
        for entry in trail.newest_first(wanted)
        if isinstance(entry, entries.Change) and entry.what == STOP_RUN
    }


def _add(trail: Trail, whole: _Sum, entry: Called) -> dict[str, Any]:
    """One step of a run, counted."""
    agent, actors = trail.name(entry.who), [trail.name(one) for one in entry.actors]
    whole.tenant = whole.tenant or trail.name(entry.tenant)
    whole.agents.update((agent, *actors))
    whole.first_us = min(whole.first_us or entry.t, entry.t)
    whole.last_us = max(whole.last_us, entry.t)
    step: dict[str, Any] = {
        "at_us": entry.t,
        "agent": agent,
        "actors": actors,
        "method": entry.method,
        "object": _object(trail, entry),
        "call": entry.call,
        "entry": entry.i,
    }
    if isinstance(entry, entries.Refused):
        whole.refused += 1
        return {**step, "outcome": f"refused: {entry.code}", "tokens": 0, "cost": 0}
    whole.calls += 1
    if isinstance(entry, entries.Single):
        outcome = "replayed" if entry.replays else "answered here"
        return {**step, "outcome": outcome, "tokens": 0, "cost": 0}
    step |= {"parent": entry.parent, "rule": entry.rule, "approval": entry.approval}
    ended = trail.outcome_of(entry)
    if ended is None:
        whole.under_way += 1
        return {
            **step,
            "outcome": "under way",
            "tokens": entry.hold.tokens,
            "cost": entry.hold.cost,
        }
    used = ended.used
    whole.tokens += used.tokens
    whole.cost += used.cost
    said = f"{ended.status}: {ended.code}" if ended.code else str(ended.status)
    return {**step, "outcome": said, "tokens": used.tokens, "cost": used.cost}


def _object(trail: Trail, entry: Called) -> str:
    """What the account of the tool stands for: its tenant, then the object."""
    account = trail.name(entry.acc[3]) if len(entry.acc) > 3 else ""
    named = account.partition(" ")[2]
    return named or f"{entry.kind or '-'}/{trail.name(entry.server) or '-'}"
