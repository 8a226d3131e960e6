"""What a person should look at twice before a definition is approved: flags, never verdicts.

    instruction  /description  asks for silence: "do not mention this to the user"

Phrases are English ones. A text without a flag is not a harmless text: nobody is spared reading it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from gateway.domain.freetext import pointer, takes_free_text
from gateway.domain.names import as_read
from gateway.domain.unseen import hidden_in, is_unseen

INVISIBLE, BIDIRECTIONAL = "invisible", "bidirectional"
INSTRUCTION, NAMES_TOOL = "instruction", "names_tool"
FREE_TEXT, WRITES = "free_text", "writes"
FLAGS = (INVISIBLE, BIDIRECTIONAL, INSTRUCTION, NAMES_TOOL, FREE_TEXT, WRITES)
MAX_FLAGS = 40  # of one definition: whoever has forty is read in full anyway
MAX_QUOTED_CHARS = 60
_NEAR_CHARS = 12

# What turns the direction of what follows: U+202E makes "exe.txt" of "txt.exe".
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BLANKS = re.compile(r"\s+")
# Names may hold dots, and sentences end in them: both readings are tried.
_TOKENS = (re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"), re.compile(r"[a-z0-9_-]+"))
_WORD = re.compile(r"[a-z]+")
_CALLED_SO = re.compile(r"(?:tool|function)s? ?$")
_IS_CALLED = re.compile(r" ?\(| (?:tool|function)\b")
_QUOTES = "\"'`"

# Each is held against text in lower case, with one blank between words and Latin letters only.
_PHRASES: Sequence[tuple[str, re.Pattern[str]]] = tuple(
    (says, re.compile(pattern))
    for says, pattern in (
        (
            "sets other instructions aside",
            r"\b(?:ignore|disregard|forget|override|bypass|supersede)s?\b.{0,40}"
            r"\b(?:instruction|prompt|rule|polic|guideline|restriction|safeguard)",
        ),
        (
            "asks for silence",
            r"\b(?:do not|don.?t|never|without|avoid)\b.{0,20}"
            r"\b(?:tell|mention|inform|reveal|disclos|show|notify|ask|alert|explain)(?:e|ing|s)?\b"
            r".{0,30}\b(?:user|human|person|anyone|anybody|operator|customer)",
        ),
        ("asks for silence", r"\b(?:secretly|silently|covertly|discreetly|behind the scenes)\b"),
        ("is marked like a prompt", r"</?(?:important|system|instructions?|assistant|secret)\b"),
        ("is marked like a prompt", r"\[/?(?:inst|system|important)\]|<\|"),
        ("speaks of the prompt", r"\bsystem (?:prompt|message)"),
        (
            "speaks to the model",
            r"\b(?:you|assistants?|agents?|models?|llms?) "
            r"(?:must|shall|have to|are required to|are now|will always)\b",
        ),
        ("speaks to the model", r"\b(?:from now on|new instructions|act as|pretend)\b"),
        (
            "wants to come before other tools",
            r"\b(?:before|after|prior to|whenever|instead of)\b.{0,30}"
            r"\b(?:any|every|all|each|other|another)\b.{0,30}\b(?:tools?|functions?|action)\b",
        ),
        ("wants to come before other tools", r"\balways (?:call|use|invoke|run|start with)\b"),
        (
            "asks for what was said elsewhere",
            r"\b(?:pass|send|put|include|provide|append|copy|add|write|forward|attach)\b.{0,60}"
            r"\b(?:conversation|chat history|previous messages|reasoning|system prompt)",
        ),
        (
            "names files that hold secrets",
            r"\.ssh\b|\bid_(?:rsa|ed25519|ecdsa)\b|\.aws/|\.env\b|\.netrc\b|\.npmrc\b|\.kube/"
            r"|/etc/(?:passwd|shadow)\b|\bmcp\.json\b|\bclaude_desktop_config",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look: which of FLAGS, where in the definition, and what of it."""

    id: str
    at: str  # JSON pointer
    says: str  # holds words of the server; whoever shows it makes it visible

    def as_json(self) -> dict[str, str]:
        return {"flag": self.id, "at": self.at, "says": self.says}


def flags(
    body: bytes, approved: bytes, own: str, tools: Mapping[str, Sequence[str]]
) -> tuple[Flag, ...]:
    """The flags of a definition, at most MAX_FLAGS.

    *approved* is the body that a person saw before, b"" for none; *own* the object of the
    definition, *tools* what `tools_by_name` made of all tools.
    """
    new: Any = json.loads(body)
    found: list[Flag] = []
    for at, text, is_key in _texts(new):
        read = _as_read(text)
        found += _of_text(at, text, read)
        if not is_key and at != "/name":
            found += _of_names(at, read, own, tools)
    if approved:
        old: Any = json.loads(approved)
        found += _of_change(old, new)
    return tuple(sorted(found, key=lambda flag: (FLAGS.index(flag.id), flag.at))[:MAX_FLAGS])


def tools_by_name(named: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(name, object) of every tool, also under its wire name -> objects by the name as it is read."""
    tools: dict[str, list[str]] = {}
    for name, object_name in named:
        tools.setdefault(as_read(name), []).append(object_name)
    return tools


def _as_read(text: str) -> str:
    """What is left of *text* for a model that reads over what is hidden in it."""
    if hidden_in(text):
        text = "".join(c for c in text if c.isspace() or not is_unseen(c))
    return _BLANKS.sub(" ", as_read(text))


def _of_text(at: str, text: str, read: str) -> Iterator[Flag]:
    hidden = hidden_in(text)
    if hidden:
        yield Flag(INVISIBLE, at, f"holds U+{ord(hidden):04X}, which is not drawn")
    turning = next((c for c in text if c in _TURNS), "")
    if turning:
        yield Flag(BIDIRECTIONAL, at, f"holds U+{ord(turning):04X}, which turns the text around")
    for says, pattern in _PHRASES:
        match = pattern.search(read)
        if match:
            yield Flag(INSTRUCTION, at, f'{says}: "{match[0][:MAX_QUOTED_CHARS]}"')


def _of_names(at: str, read: str, own: str, tools: Mapping[str, Sequence[str]]) -> Iterator[Flag]:
    """The tools that a text names. A plain word is a name only where it stands like one."""
    told: set[str] = set()
    for token in chain.from_iterable(tokens.finditer(read) for tokens in _TOKENS):
        owners = tools.get(token[0], ())
        if not owners or own in owners or owners[0] in told:
            continue
        if _WORD.fullmatch(token[0]) and not _stands_like_a_name(read, token):
            continue
        told.add(owners[0])
        yield Flag(NAMES_TOOL, at, f"names {owners[0]}")


def _stands_like_a_name(read: str, token: re.Match[str]) -> bool:
    """`add`, "add", add(...), the add tool, the tool add."""
    start, end = token.span()
    before, after = read[max(0, start - _NEAR_CHARS) : start], read[end : end + _NEAR_CHARS]
    if before and before[-1] in _QUOTES and after[:1] == before[-1]:
        return True
    return bool(_IS_CALLED.match(after) or _CALLED_SO.search(before))


def _of_change(old: Any, new: Any) -> Iterator[Flag]:
    """What the new definition may do, or take, that the approved one did not."""
    for at in sorted(takes_free_text(_schema(new)) - takes_free_text(_schema(old))):
        yield Flag(FREE_TEXT, f"/inputSchema{at}", "takes free text, and did not before")
    for hint, harmless, says in (
        ("readOnlyHint", True, "said that it only reads, and does not say so any more"),
        ("destructiveHint", False, "said that it destroys nothing, and does not say so any more"),
    ):
        if _hint(old, hint) is harmless and _hint(new, hint) is not harmless:
            yield Flag(WRITES, f"/annotations/{hint}", says)


def _schema(definition: Any) -> Any:
    return definition.get("inputSchema") if isinstance(definition, dict) else None


def _hint(definition: Any, name: str) -> Any:
    said = definition.get("annotations") if isinstance(definition, dict) else None
    return said.get(name) if isinstance(said, dict) else None


def _texts(value: Any) -> Iterator[tuple[str, str, bool]]:
    """Every string in *value*, with its pointer and whether it is a key.

    Without recursion, and with pointers of bounded length: depth and keys are the server's choice.
    """
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        at, item = pending.pop()
        if isinstance(item, str):
            yield at, item, False
        elif isinstance(item, dict):
            for key, inner in item.items():
                below = pointer(at, key)
                yield below, key, True
                pending.append((below, inner))
        elif isinstance(item, list):
            pending += ((pointer(at, str(n)), inner) for n, inner in enumerate(item))
