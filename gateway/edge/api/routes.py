"""Every route of the API: what it is for, what right it takes, and what it reads and answers.

The document of the API, the reading of requests and the rights to hand out all come from this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final

from gateway.domain.approval import MAX_CALLS
from gateway.domain.model import Act
from gateway.edge.api import shapes
from gateway.edge.api.shapes import DIGEST, TEXT, Shape, listing, record

PREFIX: Final = "/api/v1"
MAX_WORDS: Final = 32

# What a part of a path may be; anything else is no path of ours, whatever it decodes to.
PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "name": "[a-z0-9][a-z0-9_-]{0,31}",
        "id": "[A-Za-z0-9:_-]{1,128}",
        "call": "[0-9A-HJKMNP-TV-Z]{26}",
        "digest": "[0-9a-f]{64}",
        "approval": "A-[0-9A-HJKMNP-TV-Z]{8}",
    }
)


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter; *words*: it may be repeated, and is a list."""

    about: str
    shape: Shape = field(default_factory=lambda: _text(200))
    required: bool = False
    words: bool = False


class Queue(Enum):
    """Where a request waits its turn."""

    CHANGES = auto()
    LOOKS = auto()
    SEARCHES = auto()  # and other looks that may take seconds
    PROOFS = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """*of_house*: about what all tenants share, so that a right in one of them is not enough."""

    verb: str
    path: str  # behind PREFIX
    operation: str
    noun: str  # of admin/<noun>
    act: Act
    about: str
    answer: Shape
    of_house: bool = True
    queue: Queue = Queue.LOOKS
    query: Mapping[str, Param] = field(default_factory=dict)
    body: Shape | None = None
    paged: bool = False
    guard: str = ""  # the path of the resource whose ETag a change has to name
    status: int = 200

    @property
    def pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", self.path)
        named = [
            f"(?P<{part}>{PARTS[part]})" if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        ]
        return re.compile(PREFIX + "".join(named), re.ASCII)

    @property
    def parameters(self) -> Mapping[str, Param]:
        """Those of the query, with those that every list has."""
        return {**self.query, **PAGING} if self.paged else self.query


def _text(longest: int) -> Shape:
    return {"type": "string", "minLength": 1, "maxLength": longest}


def _body(optional: Shape | None = None, /, **members: Shape) -> Shape:
    reason = {"reason": {"type": "string", "maxLength": 4096, "description": "Why, for the log."}}
    return record({**(optional or {}), **reason}, **members) | {"additionalProperties": False}


def _look(path: str, operation: str, noun: str, about: str, answer: Shape, **more: Any) -> Route:
    return Route("GET", path, operation, noun, Act.READ, about, answer, **more)


def _list(path: str, operation: str, noun: str, about: str, of: Shape, **more: Any) -> Route:
    return _look(path, operation, noun, about, listing(of), paged=True, **more)


def _change(path: str, operation: str, noun: str, about: str, answer: Shape, **more: Any) -> Route:
    more.setdefault("body", _body())
    return Route(
        "POST", path, operation, noun, Act.ADMIN, about, answer, queue=Queue.CHANGES, **more
    )


PAGING: Final[Mapping[str, Param]] = MappingProxyType(
    {
        "limit": Param("How many at most.", {"type": "integer", "minimum": 1, "maximum": 1000}),
        "cursor": Param("The `next` of the page before.", _text(1024)),
    }
)
_DEFINED = shapes.one_of("tool", "prompt", "resource", "template", "server")
_SEEN = {
    "type": "array",
    "minItems": 1,
    "maxItems": 10_000,
    "items": {"type": "array", "prefixItems": [_DEFINED, TEXT, DIGEST], "minItems": 3, "maxItems": 3},
    "description": "[kind, name, digest] of each definition that was looked at.",
}  # fmt: skip

ROUTES: Final = (
    _look("/health", "house.health", "health", "How the gateway is doing.", shapes.HEALTH),
    _list("/servers", "server.list", "servers", "Every server behind the border.", shapes.SERVER),
    _look("/servers/{name}", "server.show", "servers", "One server.", shapes.SERVER),
    _change(
        "/servers/{name}/suspend", "server.suspend", "servers",
        "Let no further call through to it.", shapes.SWITCHED, guard="/servers/{name}",
    ),
    _change(
        "/servers/{name}/resume", "server.resume", "servers",
        "Let calls through to it again.", shapes.SWITCHED, guard="/servers/{name}",
    ),
    _change(
        "/servers/{name}/approve", "server.approve", "approvals",
        "Approve what it proposes, if each is what was seen; all of it or nothing.",
        shapes.SERVER_APPROVED, body=_body(seen=_SEEN),
    ),
    _list(
        "/definitions", "definition.list", "tools",
        "What servers offer, with its state of review.", shapes.DEFINITION,
        query={
            "server": Param("Of this server only."),
            "approval": Param("In this state only.", shapes.one_of("proposed", "approved", "quarantined")),
        },
    ),
    _look(
        "/definition", "definition.show", "tools",
        "One definition with its body, and what of it is flagged.", shapes.DEFINITION_SHOWN,
        query={"object": Param("Such as tool/docs/search.", _text(4096), required=True)},
    ),
    _change(
        "/definition/approve", "tool.approve", "approvals",
        "Approve one definition, in any state, if it is what was seen.", shapes.APPROVED,
        body=_body({"name": {"type": "string", "maxLength": 4096}}, kind=_DEFINED, server=_text(32), digest=DIGEST),
    ),
    _list("/agents", "agent.list", "agents", "Who may knock.", shapes.AGENT, of_house=False),
    _look("/agents/{name}", "agent.show", "agents", "One agent.", shapes.AGENT, of_house=False),
    _list(
        "/keys", "key.list", "keys", "Keys of agents, without the secrets.", shapes.KEY,
        of_house=False, query={"agent": Param("Of this agent only.")},
    ),
    _change(
        "/keys", "key.issue", "keys",
        "Make a key: the answer is the only place where it is seen. No key is made for an agent that"
        " has a right of administration, and with a key made here nobody administers, ever.",
        shapes.KEY_MADE, of_house=False, status=201,
        body=_body({"days": {"type": "integer", "minimum": 0, "maximum": 3650, "description": "0: for ever."}}, agent=_text(32)),
    ),
    _change(
        "/keys/{id}/revoke", "key.revoke", "keys",
        "Make a key worthless, everywhere and from now on. A right in one tenant is not enough for"
        " the key of an agent that has a right of administration.",
        shapes.KEY_REVOKED, of_house=False,
    ),
    _look("/policy", "policy.show", "policy", "Which policy is in force.", shapes.POLICY),
    _list(
        "/policy/findings", "policy.check", "policy",
        "What is wrong or doubtful in the policy folder as it is.", shapes.FINDING, queue=Queue.SEARCHES,
    ),
    _look(
        "/policy/explain", "policy.explain", "policy",
        "Whether an agent may do something, and why. Rates and budgets are not asked.",
        shapes.EXPLANATION, of_house=False, queue=Queue.SEARCHES,
        query={
            "agent": Param("Who would do it.", required=True),
            "object": Param("Such as tool/docs/search.", _text(4096), required=True),
            "act": Param("Default: the usual one for the object."),
            "arguments": Param("JSON, for conditions on arguments.", _text(16_384)),
            "at": Param("When; default: now."),
        },
    ),
    _change(
        "/policy/apply", "policy.apply", "policy",
        "Put the policy folder in force: all of it, or nothing.", shapes.POLICY_APPLIED,
        guard="/policy",
        body=record({"only": DIGEST | {"description": "The version that the folder has to hold."}})
        | {"additionalProperties": False},
    ),
    _list(
        "/policy/proposals", "policy.pending", "policy",
        "Policies that wait for a second person.", shapes.PROPOSAL,
    ),
    _look(
        "/policy/proposals/{digest}", "policy.proposal", "policy",
        "One of them, and which files and rules it would change.", shapes.PROPOSAL_SHOWN,
        queue=Queue.SEARCHES,
    ),
    _change(
        "/policy/proposals/{digest}/approve", "policy.approve", "approvals",
        "Put in force what somebody else proposed, and the asker has seen.",
        shapes.POLICY_APPLIED, guard="/policy/proposals/{digest}",
    ),
    _list(
        "/approvals", "approval.list", "approvals",
        "Calls that wait for an approval, or for being made with one.", shapes.APPROVAL, of_house=False,
    ),
    _look(
        "/approvals/{approval}", "approval.show", "approvals", "One of them.", shapes.APPROVAL,
        of_house=False,
    ),
    _look(
        "/approvals/{approval}/arguments", "approval.arguments", "approvals",
        "The same with its arguments and the rule that asks for it: for whoever has a role that it"
        " waits for. Each look is an entry.",
        shapes.APPROVAL_SHOWN, of_house=False, queue=Queue.SEARCHES,
    ),
    _change(
        "/approvals/{approval}/approve", "approval.approve", "approvals",
        "Let just this call be made, once; or with `calls` so many of its run, whatever their"
        " arguments. Takes the role, too, and nobody approves what they asked for.",
        shapes.APPROVAL, of_house=False, guard="/approvals/{approval}",
        body=_body({"calls": {"type": "integer", "minimum": 1, "maximum": MAX_CALLS}}),
    ),
    _change(
        "/approvals/{approval}/deny", "approval.deny", "approvals",
        "Say no; the caller is told the reason.", shapes.APPROVAL, of_house=False,
        guard="/approvals/{approval}",
    ),
    _list(
        "/budgets", "budget.list", "budgets", "What limits have left.", shapes.BUDGET,
        of_house=False, query={"name": Param("Of this tenant, team, agent or tool only.")},
    ),
    _list(
        "/entries", "entry.list", "entries", "The log, the newest first.", shapes.ENTRY,
        of_house=False, queue=Queue.SEARCHES,
        query={"q": Param("A qualifier, as `audit query` has them: agent:report-bot.", _text(1024), words=True)},
    ),
    _look(
        "/calls/{call}", "call.show", "entries", "Everything the log says of one call.",
        shapes.CALL, of_house=False, queue=Queue.SEARCHES,
    ),
    _look(
        "/calls/{call}/payloads", "call.payloads", "payloads",
        "The same with arguments and results. Each look is an entry.", shapes.CALL,
        of_house=False, queue=Queue.SEARCHES,
    ),
    _look(
        "/calls/{call}/proof", "call.proof", "entries",
        "Proofs that its entries are in the signed log, to be verified without us.", shapes.PROOF,
        of_house=False, queue=Queue.PROOFS,
    ),
    _look(
        "/checkpoint", "checkpoint.show", "entries", "The newest signed head of the log.",
        shapes.CHECKPOINT, of_house=False,
    ),
)  # fmt: skip

BY_OPERATION: Final = MappingProxyType({route.operation: route for route in ROUTES})
RIGHTS: Final = tuple(dict.fromkeys((route.noun, route.act) for route in ROUTES))
_PATTERNS: Final = tuple((route.pattern, route) for route in ROUTES)


def routes_at(path: str) -> list[tuple[Route, Mapping[str, str]]]:
    """The routes of *path*, one for each verb, with the parts of the path; none: no such path."""
    found = ((pattern.fullmatch(path), route) for pattern, route in _PATTERNS)
    return [(route, match.groupdict()) for match, route in found if match]


def route_of(path: str) -> Route:
    """The look at *path*, as the table has it."""
    return next(route for route in ROUTES if route.path == path and route.verb == "GET")
