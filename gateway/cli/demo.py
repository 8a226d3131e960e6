"""customhouse demo: agents in front, real servers behind."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1)
def demo(arguments: tuple[str, ...]) -> NoReturn:
    """Watch agents call real tools through the border; then the log is proved and tampered with."""
    # A process of its own: the agents are clients, and know the gateway only from outside.
    os.execv(sys.executable, [sys.executable, "-m", "agents.apps.demo", *arguments])  # noqa: S606 - no shell is wanted
