"""Where output goes: data to standard output, remarks to standard error, JSON when it is asked for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from gateway.cli.escape import visible, visible_lines
from gateway.domain.operator import AS_IT_IS, OperationRefused

BOLD, RED, GREEN, YELLOW, DIM = "1", "31", "32", "33", "2"


class Screen:
    """One command's output."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    @property
    def is_terminal(self) -> bool:
        return sys.stdout.isatty() and not self.as_json

    def value(self, value: Any) -> None:
        """The data of the command, for programs."""
        click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))

    def whole(self, value: Any) -> None:
        """All that the command says: where JSON was asked for, it ends here."""
        if self.as_json:
            self.value(value)
            raise click.exceptions.Exit(0)

    def json_line(self, value: Any) -> None:
        """One of many values, as they come."""
        click.echo(json.dumps(value))

    def line(self, text: str = "", style: str = "") -> None:
        """One line of data. What servers or callers wrote cannot reach the terminal as it is."""
        click.echo(self._styled(visible(text), style))

    def text(self, text: str) -> None:
        """Several lines of data."""
        click.echo(visible_lines(text))

    def note(self, text: str) -> None:
        """A remark for the person; never a part of the data."""
        click.echo(visible_lines(text), err=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, unfolded: int = 1
    ) -> None:
        """A table on a terminal; else a line for each row below one of headings, tabs between.

        Without rows nothing is written there. The first *unfolded* columns are never broken into
        several lines.
        """
        shown = [[visible(cell) for cell in row] for row in rows]
        if not self.is_terminal:
            for row in [columns, *shown] if shown else []:
                click.echo("\t".join(row))
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        plain = "NO_COLOR" in os.environ
        drawn = Table(box=None, pad_edge=False, header_style="" if plain else "bold")
        for place, column in enumerate(columns):
            drawn.add_column(column, overflow="fold", no_wrap=place < unfolded)
        for row in shown:
            drawn.add_row(*(Text(cell) for cell in row))  # Text: brackets in it are no markup
        Console(no_color=plain).print(drawn)

    def _styled(self, text: str, style: str) -> str:
        if not style or not self.is_terminal or "NO_COLOR" in os.environ:
            return text
        return f"\x1b[{style}m{text}\x1b[0m"


def show_refused(no: OperationRefused, *, as_json: bool) -> None:
    """What, why, and how to mend it, on standard error."""
    if as_json:
        click.echo(json.dumps({"error": no.as_json()}), err=True)
        return
    click.echo(f"error: {visible_lines(no.what)}", err=True)
    click.echo(visible_lines(reasons(no)), err=True)


def reasons(no: OperationRefused) -> str:
    """Why, when there is more to say than what was said, and how to mend it."""
    why = "" if no.why == AS_IT_IS else f"  why: {no.why}\n"
    return f"{why}  fix: {no.fix}"
