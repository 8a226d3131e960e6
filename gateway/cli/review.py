"""How definitions are shown to the person who is to approve them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from gateway.cli.escape import visible
from gateway.cli.screen import BOLD, DIM, GREEN, RED, YELLOW, Screen

AROUND = 3  # unchanged lines shown around a change
WORDS_AROUND = 4

Line = tuple[str, str]  # mark, text: " " unchanged, "-" old, "+" new, "~" the words that differ


def pretty(body: Any) -> list[str]:
    """The lines of a definition, the same for the same definition, with nothing hidden in them."""
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False)
    return [visible(line) for line in text.split("\n")]


def differences(old: Any, new: Any) -> list[Line]:
    """Line by line what changed, and below each changed line which of its words did."""
    before, after = pretty(old), pretty(new)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    lines: list[Line] = []
    for group in matcher.get_grouped_opcodes(AROUND):
        if lines:
            lines.append((" ", "..."))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [(" ", text) for text in before[i1:i2]]
                continue
            lines += [("-", text) for text in before[i1:i2]]
            lines += [("+", text) for text in after[j1:j2]]
            pairs = zip(before[i1:i2], after[j1:j2], strict=False)
            lines += [
                ("~", words)
                for old_line, new_line in pairs
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
    state = "gone" if row["gone"] else row["approval"]
    screen.line(f"{_object(row)}  {state}", BOLD)
    if row["reason"]:
        screen.line(f"  why: {row['reason']}", YELLOW)
    if row["wire_name"] != row["name"]:
        screen.line(f"  on /mcp: {row['wire_name']}", DIM)
    screen.line(f"  digest: {row['digest']}", DIM)
    if row["approved_digest"] and row["approved_digest"] != row["digest"]:
        screen.line(f"  approved: {row['approved_digest']}", DIM)


def definition_table(screen: Screen, rows: Sequence[dict[str, Any]]) -> None:
    screen.table(
        ("OBJECT", "ON /mcp", "STATE", "DIGEST", "WHY"),
        [
            (
                _object(row),
                row["wire_name"] if row["wire_name"] != row["name"] else "",
                "gone" if row["gone"] else row["approval"],
                row["digest"][:12],
                row["reason"],
            )
            for row in rows
        ],
    )


def _object(row: dict[str, Any]) -> str:
    """What a definition is called; the one without a name is what a server says of itself."""
    said = str(row["object"])
    return f"{said} (instructions)" if row["kind"] == "server" else said


def _words(old: str, new: str) -> str:
    """The words that differ, [-old-] {+new+}, with a few around them; "" when nearly all do."""
    before, after = old.split(" "), new.split(" ")
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < 0.5:
        return ""
    parts: list[str] = []
    for group in matcher.get_grouped_opcodes(WORDS_AROUND):
        words: list[str] = []
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                words += before[i1:i2]
                continue
            words += [f"[-{' '.join(before[i1:i2])}-]"] if i2 > i1 else []
            words += [f"{{+{' '.join(after[j1:j2])}+}}"] if j2 > j1 else []
        parts.append(" ".join(words).strip())
    return " ... ".join(parts)
