"""A group whose commands are imported when they are used, and not to show what there is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click


class Late(NamedTuple):
    """Where a command is, and what the list says of it."""

    place: str  # module:attribute
    summary: str


class LazyGroup(click.Group):
    """A group of *late* commands, by name."""

    def __init__(self, *args: Any, late: Mapping[str, Late], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        late = self._late.get(cmd_name)
        if late is None:
            return None
        module, _, attribute = late.place.partition(":")
        command = getattr(import_module(module), attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, late.summary) for name, late in self._late.items()])
