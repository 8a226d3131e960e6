"""The language in which the log is searched: qualifiers, as people know them from code hosts.

    agent:report-bot code:rate_limited,over_budget since:2026-11-22 -server:time object:tool/docs/*

Every qualifier has to hold; values with commas between them are alternatives, `*` at the end means
"begins with", and `-` in front means "not". A run is named by its id, or by what entries call it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final

from gateway.domain.operator import OperationRefused, usage
from gateway.domain.run import is_run_account, is_run_id
from gateway.domain.window import us_of

# Qualifier -> what it is held against in a described entry.
FIELDS: Final[Mapping[str, str]] = {
    "agent": "agent",
    "actor": "actors",
    "tenant": "tenant",
    "team": "team",
    "server": "server",
    "tool": "object",
    "object": "object",
    "kind": "kind",
    "status": "status",
    "code": "code",
    "method": "method",
    "act": "act",
    "call": "call",
    "parent": "parent",
    "rule": "rule",
    "policy": "policy",
    "what": "what",
    "author": "author",
    "subject": "subject",
    "address": "address",
    "by": "by",
    "run": "run",
    "chain": "chain",
    "approval": "approval",
}
TIMES: Final = ("since", "until")
_AGO = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_ANY = "*"
_RUNS_LIKE = re.compile(r"(r[0-9a-f]{0,16})?\*")
_FIX = "for example: agent:report-bot code:rate_limited since:2026-11-22"


@dataclass(frozen=True, slots=True)
class Term:
    """One qualifier: the field is one of the values, or is not."""

    field: str
    values: tuple[str, ...]
    negated: bool = False

    def holds(self, found: Sequence[str]) -> bool:
        hit = any(_fits(wanted, value) for wanted in self.values for value in found)
        return hit is not self.negated


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the log: every term, within [since, until)."""

    terms: tuple[Term, ...] = ()
    since_us: int = 0
    until_us: int = 10**16
    text: str = ""

    def exact(self, field: str) -> tuple[str, ...] | None:
        """The values that *field* must have one of; None when it may have any."""
        for term in self.terms:
            open_ended = any(value.endswith(_ANY) for value in term.values)
            if term.field == field and not term.negated and not open_ended:
                return term.values
        return None


def parse(words: Sequence[str], now_us: int) -> Query:
    """Raises: OperationRefused (usage): a word is not a qualifier, or its value makes no sense."""
    terms: list[Term] = []
    since_us, until_us = 0, 10**16
    for word in words:
        negated = word.startswith("-")
        key, colon, value = word.removeprefix("-").partition(":")
        if not colon or not value:
            raise usage(f"{word!a:.60} is not a qualifier", _FIX)
        if key in TIMES:
            first_us, end_us = moment(value, now_us)
            if negated:
                raise usage(f"{word!a:.60} cannot be negated", "use since: and until:")
            since_us = first_us if key == "since" else since_us
            until_us = end_us if key == "until" else until_us
        else:
            terms.append(_term(key, value, negated=negated))
    return Query(tuple(terms), since_us, until_us, " ".join(words))


def moment(text: str, now_us: int) -> tuple[int, int]:
    """The span that *text* names: [first, end) in microseconds. "7d" means since 7 days ago.

    Raises: OperationRefused (usage).
    """
    ago = _AGO.fullmatch(text)
    if ago:
        at_us = max(0, now_us - int(ago[1]) * _UNITS_S[ago[2]] * 1_000_000)
        return at_us, at_us
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise usage(
            f"{text!a:.40} is not a time",
            "say 2026-11-22, 2026-11-22T10:30Z (UTC unless it says otherwise), or 90m, 24h, 7d",
        ) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    first_us = us_of(at)
    day = timedelta(days=1) // timedelta(microseconds=1)
    return first_us, first_us + (day if len(text) == len("2026-11-22") else 1)


def _term(key: str, value: str, *, negated: bool) -> Term:
    if key not in FIELDS:
        raise _unknown(key)
    values = tuple(part for part in value.split(",") if part)
    if not values:
        raise usage(f"{key}: needs a value", _FIX)
    if key == "tool":
        values = tuple(v if v.startswith("tool/") else f"tool/{v}" for v in values)
    if key == "run":
        _demand_runs(values)
    if key == "kind":
        values = tuple("call" if v in ("intent", "outcome") else v for v in values)
    return Term(FIELDS[key], values, negated)


def _demand_runs(values: Sequence[str]) -> None:
    """Raises: OperationRefused (usage): one of them can be no run."""
    for value in values:
        if not (is_run_account(value) or is_run_id(value) or _RUNS_LIKE.fullmatch(value)):
            raise usage(
                f"run:{value!a:.80} names no run",
                "say its whole id, of which entries hold a digest, or that digest (r3f2a...)",
            )


def _unknown(key: str) -> OperationRefused:
    known = [*FIELDS, *TIMES]
    close = get_close_matches(key, known, n=1)
    fix = f"did you mean {close[0]}:?" if close else f"known are: {', '.join(known)}"
    return usage(f"there is no qualifier {key!a:.40}", fix)


def _fits(wanted: str, value: str) -> bool:
    if wanted.endswith(_ANY):
        return value.startswith(wanted[:-1])
    return value == wanted
