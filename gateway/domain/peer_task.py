"""A task of another agent, as the border keeps it: whose it is, and which call made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

from gateway.domain.model import Principal

_ID = re.compile(r"[\x21-\x7e]{1,256}")


class Owner(NamedTuple):
    """Whoever made a task, and acting for whom: nobody else has it."""

    tenant: str
    subject: str
    actors: tuple[str, ...]

    @classmethod
    def of(cls, principal: Principal) -> Self:
        return cls(principal.tenant, principal.subject, principal.actors)


@dataclass(frozen=True, slots=True)
class PeerTask:
    id: str  # as its owner knows it
    peer: str
    upstream_id: str  # as the peer knows it
    context: str
    upstream_context: str
    owner: Owner
    skill: str  # "*": the message that made it named none
    policy_version: str  # that let it be made
    call_id: str  # of the call that made it
    state: str  # the newest that was noted: those in which somebody has to act, and the last
    created_us: int
    updated_us: int


class Taken(Exception):
    """What a peer calls so is somebody else's."""


def is_id(text: object) -> bool:
    """Whether it can be the id of a task or of a context."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None
