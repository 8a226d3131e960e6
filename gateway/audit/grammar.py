"""The canonical form of every kind of entry, as patterns that need nothing but the standard library.

The gateway writes entries with `gateway.audit.entry`; whoever verifies them reads them here, and a
test holds the two to each other. A pattern is the whole form: the fields in their one order, no
spaces, plain strings, whole numbers. What it matches is canonical, so nothing has to be parsed and
written again, which would be half the cost of verifying a log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from gateway.domain.model import Act, Kind, Status

MAX_BODY_BYTES = 65_535  # C2SP tlog-tiles: the length of an entry is a uint16

_PLAIN = rb"[ !#-\[\]-~]"  # printable ASCII without quote and backslash
_TEXT = rb'"' + _PLAIN + rb'*+"'
_SAID = rb'"' + _PLAIN + rb'++"'  # optional strings are left out, never empty
_COUNTED = rb"[1-9][0-9]{0,15}+"  # optional numbers are left out, never 0
_WHOLE = rb"(?:0|" + _COUNTED + rb")"


def _list(item: bytes) -> bytes:
    return rb"\[(?:" + item + rb"(?:," + item + rb")*+)?\]"


def _map(value: bytes) -> bytes:
    pair = _TEXT + b":" + value
    return rb"\{" + pair + rb"(?:," + pair + rb")*+\}"


def _one_of(values: type[Kind | Act | Status]) -> bytes:
    return rb'"(?:' + b"|".join(re.escape(str(one)).encode() for one in values) + rb')"'


_LIMIT = rb"\[" + _TEXT + b"," + _TEXT + b"," + _TEXT + b"," + _WHOLE + rb"\]"
_METERS = rb'\{"calls":(?P<calls>%b),"cost":(?P<cost>%b),"tokens":(?P<tokens>%b)\}' % (
    (_WHOLE,) * 3
)
_PRIOR = rb'\{"log":' + _TEXT + rb',"root":' + _TEXT + rb',"size":' + _WHOLE + rb"\}"
_FLAGS = _map(rb"(?:true|false)")
_ROW = rb'"o[0-9a-f]{16}":"[0-9a-f]{64}"'
_ROWS = rb"\{" + _ROW + rb"(?:," + _ROW + rb")*+\}"
_NAMES = _list(_TEXT)
_SOME = rb"\[" + _TEXT + rb"(?:," + _TEXT + rb")*+\]"  # optional lists are left out, never empty
_SOME_COUNTS = rb"\[" + _WHOLE + rb"(?:," + _WHOLE + rb")*+\]"
_ERASED = rb'\{"before":' + _WHOLE + rb',"names":' + _NAMES + rb',"payloads":' + _WHOLE + rb"\}"
_SIGNATURES = rb"\[" + _TEXT + b"," + _TEXT + rb"\]"
_ROTATION = rb'\{"next":' + _TEXT + rb',"old":' + _TEXT + rb',"signatures":' + _SIGNATURES + rb"\}"

Fields = Mapping[str, bytes]

# kind -> (fields that are always there, fields that may be left out)
_KINDS: Mapping[str, tuple[Fields, Fields]] = {
    "open": ({"log": _TEXT, "key": _TEXT, "meter": _TEXT}, {"from": _PRIOR}),
    "close": ({}, {}),
    "intent": (
        {
            "acc": _list(_TEXT),
            "act": _one_of(Act),
            "allow": rb"true",
            "args": _TEXT,
            "call": _TEXT,
            "cred": _TEXT,
            "hold": _METERS,
            "kind": _one_of(Kind),
            "limits": _list(_LIMIT),
            "meter": _TEXT,
            "method": _TEXT,
            "policy": _TEXT,
            "round": _WHOLE,
            "rule": rb"(?:-1|" + _WHOLE + rb")",
            "tenant": _TEXT,
            "who": _TEXT,
        },
        {
            "actors": _SOME,
            "approval": _SAID,
            "chain": _SOME,
            "conds": _FLAGS,
            "def": _SAID,
            "key": _SAID,
            "parent": _SAID,
            "run": _SAID,
            "server": _SAID,
            "team": _SAID,
            "trace": _SAID,
        },
    ),
    "outcome": (
        {
            "bytes": _WHOLE,
            "call": _TEXT,
            "intent": _WHOLE,
            "ms": _WHOLE,
            "status": _one_of(Status),
            "used": _METERS,
        },
        {
            "by": rb'"(?:recovery|drain)"',
            "code": _SAID,
            "count": _COUNTED,
            "result": _SAID,
            "said": _SOME_COUNTS,
        },
    ),
    "single": (
        {
            "acc": _list(_TEXT),
            "act": _one_of(Act),
            "call": _TEXT,
            "cred": _TEXT,
            "kind": _one_of(Kind),
            "method": _TEXT,
            "policy": _TEXT,
            "tenant": _TEXT,
            "who": _TEXT,
        },
        {
            "actors": _SOME,
            "chain": _SOME,
            "count": _COUNTED,
            "replays": _COUNTED,
            "run": _SAID,
            "server": _SAID,
            "team": _SAID,
        },
    ),
    "refused": (
        {"call": _TEXT, "code": _TEXT},
        {
            "acc": _SOME,
            "act": _one_of(Act),
            "actors": _SOME,
            "address": _SAID,
            "args": _SAID,
            "chain": _SOME,
            "conds": _FLAGS,
            "cred": _SAID,
            "detail": _map(rb"(?:" + _WHOLE + rb"|" + _TEXT + rb")"),
            "kind": _one_of(Kind),
            "method": _SAID,
            "policy": _SAID,
            "rule": _WHOLE,
            "run": _SAID,
            "server": _SAID,
            "team": _SAID,
            "tenant": _SAID,
            "who": _SAID,
        },
    ),
    "folded": (
        {
            "codes": rb"(?:\{\}|" + _map(_WHOLE) + rb")",
            "count": _WHOLE,
            "digest": _TEXT,
            "first": _WHOLE,
            "last": _WHOLE,
        },
        {"address": _SAID, "who": _SAID},
    ),
    "counters": ({"digest": _TEXT}, {}),
    "recovery": ({"reason": _TEXT, "tail": _WHOLE}, {}),
    "change": (
        {"author": _TEXT, "what": _TEXT},
        {
            "digest": _SAID,
            "erased": _ERASED,
            "note": _SAID,
            "prior": _SAID,
            "rotation": _ROTATION,
            "rows": _ROWS,
            "subject": _SAID,
        },
    ),
}

# What the verifier looks at beyond index, time and call, in the order in which `Line.taken` has it.
_TAKEN: Mapping[str, tuple[str, ...]] = {
    "open": ("key", "log"),
    "intent": ("acc", "limits", "tokens", "calls", "cost"),
    "outcome": ("intent", "tokens", "calls", "cost"),
    "counters": ("digest",),
    "recovery": ("reason",),
    "change": ("rows", "erased", "rotation"),
}
_MAPS = ("codes", "conds", "detail", "rows")  # with free keys, whose order has to be looked at
_OFTEN_BYTES = 512  # what is longer hardly comes twice
_CAUGHT = {"i", "t", "call", *(name for names in _TAKEN.values() for name in names), *_MAPS}


class Line(NamedTuple):
    """One canonical entry, as far as the verifier looks into it; strings without their quotes."""

    kind: str
    leaf: int
    at_us: int
    call: bytes
    taken: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Form:
    """The pattern of one kind, and the groups of it that are looked at."""

    kind: str
    match: Callable[[bytes], re.Match[bytes] | None]
    wanted: tuple[int, ...]  # i, t, call, then what is taken
    maps: tuple[int, ...]


def read(kind: bytes, body: bytes) -> Line | None:
    """Return what *body* says, or None where it is not a canonical entry of *kind*."""
    form = _FORMS.get(kind)
    match = form.match(body) if form is not None else None
    if form is None or match is None or len(body) > MAX_BODY_BYTES:
        return None
    for group in form.maps:
        if match[group] is not None and not _are_sorted(match[group]):
            return None
    index, at_us, call, *taken = match.group(*form.wanted)
    return Line(form.kind, int(index), int(at_us), call, taken)


def kind_of(body: bytes) -> bytes:
    """Return the kind that *body* claims to be of; empty where it claims none."""
    # From the right: after `k`, in sorted order, no field has keys that might be called k.
    _, found, rest = body.rpartition(b'"k":"')
    return rest.partition(b'"')[0] if found else b""


def _are_sorted(free: bytes) -> bool:
    """Return whether an object's keys are sorted, and each there only once."""
    return _seen_sorted(free) if len(free) <= _OFTEN_BYTES else _sorted(free)


@lru_cache(maxsize=1024)
def _seen_sorted(free: bytes) -> bool:
    return _sorted(free)


def _sorted(free: bytes) -> bool:
    keys = [key for key, _ in json.loads(free, object_pairs_hook=list)]
    return keys == sorted(set(keys))


def _form(kind: str, always: Fields, maybe: Fields) -> _Form:
    always = {**always, "i": _WHOLE, "k": b'"%b"' % kind.encode(), "t": _WHOLE, "v": b"1"}
    pattern = re.compile(_object({**maybe, **always}, frozenset(maybe)))
    groups = pattern.groupindex
    wanted = ("i", "t", "call", *_TAKEN.get(kind, ()))
    maps = tuple(groups[name] for name in _MAPS if name in groups)
    return _Form(kind, pattern.fullmatch, tuple(groups[name] for name in wanted), maps)


def _object(fields: Fields, maybe: frozenset[str]) -> bytes:
    """Return the pattern of an object whose *fields* are sorted; those in *maybe* may be absent."""
    form, comma_before = rb"\{", False
    for name in sorted(fields):
        pair = b'"%b":%b' % (name.encode(), _grouped(name, fields[name]))
        pair = b"," + pair if comma_before else pair
        if name in maybe:
            form += b"(?:%b)?+" % (pair if comma_before else pair + b",")
        else:
            form, comma_before = form + pair, True
    # Whoever reads asks for the call, and gets nothing where there is none.
    return form + rb"\}" + (b"" if "call" in fields else b"(?P<call>)")


def _grouped(name: str, value: bytes) -> bytes:
    if name not in _CAUGHT:
        return value
    if value == _TEXT:
        return b'"(?P<%b>%b*+)"' % (name.encode(), _PLAIN)
    return b"(?P<%b>%b)" % (name.encode(), value)


_FORMS = {kind.encode(): _form(kind, *fields) for kind, fields in _KINDS.items()}
KINDS = frozenset(_FORMS)
