"""Asking a policy about everybody: who can, and what would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.app.operations.asking import (
    USUAL_ACT,
    Question,
    in_full,
    is_absent,
    like_it,
    named_call,
    unserved,
    with_meant,
)
from gateway.app.operations.reading import Reading
from gateway.domain.model import Act, Approval, Call, Definition, Kind, Principal
from gateway.policy.compare import NO, Change, changes, standing
from gateway.policy.snapshot import Snapshot

_ASKED_KINDS = (Kind.TOOL, Kind.PROMPT, Kind.RESOURCE, Kind.TEMPLATE, Kind.MODEL)
_METRICS = Definition("", Kind.ADMIN, "metrics", "", b"", "", Approval.APPROVED)


@dataclass(frozen=True, slots=True)
class Able:
    """One agent that may do it, or may under conditions."""

    agent: str
    tenant: str
    answer: str  # "yes", or "if ..., unless ..."
    by: str  # the deciding rule, with its place

    def as_json(self) -> dict[str, Any]:
        return {"agent": self.agent, "tenant": self.tenant, "answer": self.answer, "by": self.by}


def who_can(
    reading: Reading, snapshot: Snapshot, name: str, act: str
) -> tuple[Sequence[Able], str]:
    """Every agent that is not refused *act* on *name* whatever it says; and why nobody could, if
    that is not for policy to say. Raises: OperationRefused.
    """
    question = Question("", in_full(reading, name), act)
    call = named_call(reading, question, Principal("", ""))
    stopped = unserved(reading, call)
    if is_absent(call):
        stopped = with_meant(stopped, like_it(reading, call))
    return ([] if stopped else list(_able(reading, snapshot, call))), stopped


def _able(reading: Reading, snapshot: Snapshot, call: Call) -> Iterator[Able]:
    thing = call.definition or Definition(
        call.server, call.kind, call.name, "", b"", "", Approval.APPROVED
    )
    for principal in principals(reading):
        found = standing(snapshot, principal, call.act, thing)
        if found.answer != NO:
            rule = snapshot.rules[found.rule]
            by = f"{rule.place} ({rule.text})"
            yield Able(principal.subject, principal.tenant, found.answer, by)


def differences(reading: Reading, before: Snapshot, after: Snapshot) -> list[Change]:
    """What agents that there are may do with what there is, and how it would change."""
    catalogue = reading.registry.catalogue
    listed = [d for kind in _ASKED_KINDS for d in catalogue.listing(kind)]
    things = [(USUAL_ACT[d.kind], d) for d in listed]
    return list(changes(before, after, principals(reading), [*things, (Act.READ, _METRICS)]))


def principals(reading: Reading) -> Iterator[Principal]:
    """Every agent that is let in, by name."""
    for name, agent in sorted(reading.identity.agents.items()):
        if not agent.disabled:
            yield Principal(agent.tenant, name, agent.team)
