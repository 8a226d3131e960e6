"""How definitions are shown to the person who is to approve them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from gateway.cli.escape import visible
from gateway.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, Screen

AROUND = 3  # unchanged lines shown around a change
WORDS_AROUND = 4

MAX_EQUAL_PAIRS = 20_000
_KEY = re.compile(r' *(?:"(?:[^"\\]|\\.)*": )?')

Opcode = tuple[str, int, int, int, int]  # as difflib has it: tag, i1, i2, j1, j2
Line = tuple[str, str]  # mark, text: " " unchanged, "-" old, "+" new, "~" the words that differ


def pretty(body: Any) -> list[str]:
    """The lines of a definition, the same for the same definition, with nothing hidden in them."""
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False)
    return [visible(line) for line in text.split("\n")]


def differences(old: Any, new: Any) -> list[Line]:
    """Line by line what changed, and below each changed line which of its words did."""
    before, after = pretty(old), pretty(new)
    lines: list[Line] = []
    for group in compared(before, after, AROUND):
        if lines:
            lines.append((" ", "..."))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [(" ", text) for text in before[i1:i2]]
                continue
            lines += [("-", text) for text in before[i1:i2]]
            lines += [("+", text) for text in after[j1:j2]]
            lines += [
                ("~", words)
                for old_line, new_line in _paired(before[i1:i2], after[j1:j2])
                if (words := _words(old_line, new_line))
            ]
    return lines


def show_lines(screen: Screen, lines: Sequence[Line]) -> None:
    styles = {"-": RED, "+": GREEN, "~": YELLOW, " ": ""}
    for mark, text in lines:
        screen.line(f"{mark} {text}", styles[mark])


def show_definition(screen: Screen, row: dict[str, Any]) -> None:
    """One definition as models would get it, with the digest that an approval is for."""
    show_heading(screen, row)
    for line in pretty(row["body"]):
        screen.line(f"  {line}")


def show_heading(screen: Screen, row: dict[str, Any]) -> None:
    screen.line(f"{_object(row)}  {_standing(row)}", BOLD)
    if row["reason"]:
        screen.line(f"  why: {row['reason']}", YELLOW)
    if row["wire_name"] != row["name"]:
        screen.line(f"  on /mcp: {row['wire_name']}", DIM)
    screen.line(f"  digest: {row['digest']}", DIM)
    if row["approved_digest"] and row["approved_digest"] != row["digest"]:
        screen.line(f"  approved: {row['approved_digest']}", DIM)
    show_flags(screen, row)


def definition_table(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    screen.table(
        ("OBJECT", "ON /mcp", "STATE", "DIGEST", "WHY"),
        [
            (
                _object(row),
                row["wire_name"] if row["wire_name"] != row["name"] else "",
                _standing(row),
                row["digest"][:12],
                row.get("not_in_lock") or row["reason"],
            )
            for row in rows
        ],
    )


def _standing(row: dict[str, Any]) -> str:
    if row.get("not_in_lock"):
        return f"{row['approval']}, not in the lock"
    return "gone" if row["gone"] else str(row["approval"])


def show_flags(screen: Screen, row: dict[str, Any]) -> None:
    for flag in row["flags"]:
        screen.line(f"  ! {flag['flag']} at {flag['at'] or '/'}: {flag['says']}", RED)


def show_flagged(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    """After many definitions, once more those that have a flag: the others have scrolled away."""
    flagged = [row for row in rows if row["flags"]]
    if len(rows) < 2 or not flagged:
        return
    screen.line(f"{len(flagged)} of these {len(rows)} are flagged:", YELLOW)
    for row in flagged:
        ids = dict.fromkeys(flag["flag"] for flag in row["flags"])
        screen.line(f"  ! {_object(row)}: {', '.join(ids)}", RED)


def compared(before: Sequence[str], after: Sequence[str], around: int) -> list[list[Opcode]]:
    """Groups of changes between two sequences, with *around* unchanged items on both sides.

    Comparing takes time with the number of equal pairs, and who is compared chooses it: with too
    many, all between the first and the last difference is one change.
    """
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    rest = shorter - start
    same = next((n for n in range(rest) if before[-1 - n] != after[-1 - n]), rest)
    if start == len(before) == len(after):
        return []
    edge, tail = max(0, start - around), max(0, same - around)
    old, new = before[edge : len(before) - tail], after[edge : len(after) - tail]
    if _equal_pairs(old, new) <= MAX_EQUAL_PAIRS:
        matcher = SequenceMatcher(None, old, new, autojunk=False)
        groups = [list(group) for group in matcher.get_grouped_opcodes(around)]
    else:
        lead, trail = start - edge, same - tail
        groups = [
            [
                ("equal", 0, lead, 0, lead),
                ("replace", lead, len(old) - trail, lead, len(new) - trail),
                ("equal", len(old) - trail, len(old), len(new) - trail, len(new)),
            ]
        ]
    return [
        [(tag, i1 + edge, i2 + edge, j1 + edge, j2 + edge) for tag, i1, i2, j1, j2 in group]
        for group in groups
    ]


def _equal_pairs(before: Sequence[str], after: Sequence[str]) -> int:
    times = Counter(after)
    return sum(count * times[item] for item, count in Counter(before).items())


def _changed_words(group: Sequence[Opcode]) -> int:
    return sum(i2 - i1 + j2 - j1 for tag, i1, i2, j1, j2 in group if tag != "equal")


def _object(row: dict[str, Any]) -> str:
    """What a definition is called; the one without a name is what a server says of itself."""
    said = str(row["object"])
    return f"{said} (instructions)" if row["kind"] == "server" else said


def _paired(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The lines that take each other's place: those of the same key, else in their order."""
    waiting: dict[str, list[str]] = {}
    for line in reversed(old):
        waiting.setdefault(_key(line), []).append(line)
    for line in new:
        same = waiting.get(_key(line))
        if same:
            yield same.pop(), line


def _key(line: str) -> str:
    """The indentation of *line*, and its key if it has one: `  "description": `."""
    found = _KEY.match(line)
    return found[0] if found else ""


def _words(old: str, new: str) -> str:
    """The words that differ, [-old-] {+new+}, with a few around them; "" when nearly all do."""
    before, after = old.split(" "), new.split(" ")
    parts: list[str] = []
    groups = compared(before, after, WORDS_AROUND)
    if 2 * sum(map(_changed_words, groups)) > len(before) + len(after):
        return ""
    for group in groups:
        words: list[str] = []
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                words += before[i1:i2]
                continue
            words += [f"[-{' '.join(before[i1:i2])}-]"] if i2 > i1 else []
            words += [f"{{+{' '.join(after[j1:j2])}+}}"] if j2 > j1 else []
        parts.append(" ".join(words).strip())
    return " ... ".join(parts)
