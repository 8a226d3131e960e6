"""What is declared of messages between agents, looked at before one is delivered.

rules = { max_bytes = 65536, depth = 4, data = ["public"], skills = ["quote"], schema = "file:quote.json" }

A message says of which class its data is in its metadata; one that does not say is `internal`:

    "metadata": {"io.customhouse/data-class": "public"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gateway.domain.a2a import DATA_CLASS, SKILL, members_of
from gateway.domain.arguments import Validator
from gateway.domain.model import Call

DEFAULT_CLASS = "internal"


@dataclass(frozen=True, slots=True)
class MessageRules:
    """What one peer may be sent, and may answer."""

    max_bytes: int = 65_536  # of a message as it is sent, and of an answer or event as it comes
    depth: int = 4  # agents that a message may have come through
    data: frozenset[str] = frozenset()  # classes of data that may go there; empty: of whichever
    skills: frozenset[str] = frozenset({"*"})  # globs; unless it is "*", a message must name one
    validate: Validator | None = field(default=None, compare=False, repr=False)  # of data parts


@dataclass(frozen=True, slots=True)
class Sent:
    """One message, as far as rules look at it."""

    n_bytes: int
    skill: str  # "" when it names none
    data_class: Any  # as it was said, of whichever type
    data: tuple[Any, ...]  # the content of its data parts
    depth: int  # agents that it came through


def message_in(call: Call, params: Mapping[str, Any], n_bytes: int) -> Sent:
    """The message in the decoded *params* of SendMessage, whose raw text has *n_bytes*."""
    message = members_of(params.get("message"))
    metadata = members_of(message.get("metadata"))
    skill, parts = metadata.get(SKILL), message.get("parts")
    parts = [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []
    return Sent(
        n_bytes,
        skill if isinstance(skill, str) else "",
        metadata.get(DATA_CLASS, DEFAULT_CLASS),
        tuple(one["data"] for one in parts if "data" in one),
        len(call.principal.actors),
    )


def message_of_tool(call: Call) -> Sent:
    """The message that a tools/call of a skill is made into; its class is said in `_meta`."""
    raw = call.meta.get(DATA_CLASS)
    data = call.arguments.get("data")
    n_bytes = len(call.params.get("arguments", b""))
    said = _said(raw) if raw is not None else DEFAULT_CLASS
    given = () if data is None else (data,)
    return Sent(n_bytes, call.name, said, given, len(call.principal.actors))


def problem_of(rules: MessageRules, sent: Sent) -> str | None:
    """Which rule *sent* breaks, in one sentence without anything it holds; None when none."""
    if rules.max_bytes and sent.n_bytes > rules.max_bytes:
        return f"the message has {sent.n_bytes} bytes, more than {rules.max_bytes}"
    if rules.skills and not any(fnmatchcase(sent.skill, glob) for glob in rules.skills):
        return "the message must name one of the skills that may be asked"
    is_text = isinstance(sent.data_class, str)
    if rules.data and not (is_text and sent.data_class in rules.data):
        allowed = ", ".join(sorted(rules.data))
        return f"data of this class may not go to this agent; classes that may: {allowed}"
    if rules.depth and sent.depth > rules.depth:
        return f"the message came through {sent.depth} agents, more than {rules.depth}"
    return _unfit(rules, sent)


def _unfit(rules: MessageRules, sent: Sent) -> str | None:
    if rules.validate is None:
        return None
    for place, one in enumerate(sent.data, 1):
        if not isinstance(one, dict):
            return f"data part {place} is not an object, which the declared schema asks for"
        problem = rules.validate(one)
        if problem:
            return f"data part {place} does not fit the declared schema: {problem}"
    return None


def _said(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
