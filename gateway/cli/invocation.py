"""One command as it was called: which house it is about, and how it reads and changes it."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from gateway.cli.elsewhere import Elsewhere
from gateway.cli.screen import Screen
from gateway.domain.operator import Exit, OperationRefused

if TYPE_CHECKING:  # nothing of the house is imported before it is needed
    from gateway.app.operations.reading import Reading
    from gateway.cli.remote import Remote
    from gateway.config import Config
    from gateway.store.trail import Trail

FILE = "customhouse.toml"
FILE_VARIABLE = "CUSTOMHOUSE_CONFIG"
# Of commands that take qualifiers: `-agent:hal` is one, and no -h.
QUALIFIED = {"ignore_unknown_options": True, "help_option_names": ["--help"]}
Command = TypeVar("Command", bound=Callable[..., Any])


class Invocation:
    """What every command gets first."""

    def __init__(self, file: Path | None, screen: Screen, remote: Remote | None = None) -> None:
        self.file = file
        self.screen = screen
        self.remote = remote  # None: the gateway of this machine
        self._is_said_alone = False

    @functools.cached_property
    def config(self) -> Config:
        """The configuration: the file that was named, else the one in this folder, else defaults."""
        from gateway.config import load

        self._refuse_elsewhere()
        return load(self.found_file(), os.environ)

    def found_file(self) -> Path | None:
        named = os.environ.get(FILE_VARIABLE)
        if self.file is not None:
            return self.file
        if named:
            return Path(named)
        return Path(FILE) if Path(FILE).exists() else None

    def change(self, operation: str, /, **args: Any) -> Any:
        """Have an operation done, by the server if one runs, else here."""
        from gateway.cli.reach import perform

        given = {key: value for key, value in args.items() if value not in (None, (), {})}
        if self.remote is not None:
            return self.remote.change(operation, given)
        self._refuse_founding()
        return perform(self.config, os.environ, operation, given, self._say_alone)

    def _say_alone(self) -> None:
        """Once for a command: whoever meant a gateway that runs is to see that it meant another."""
        if not self._is_said_alone:
            self.screen.note(f"no gateway runs here; writing to {self.config.data_dir}")
        self._is_said_alone = True

    def _refuse_elsewhere(self) -> None:
        """Whoever asks about another machine is not to be told of this one."""
        if self.remote is not None:
            from gateway.cli.remote import not_remote

            raise not_remote()

    def _refuse_founding(self) -> None:
        """A folder that somebody strayed into must not become a gateway by a command like any other."""
        if self.config.file is None and not self.config.data_dir.exists():
            raise OperationRefused(
                f"there is no gateway here: neither {FILE} nor {self.config.data_dir}",
                "the command would found one in this folder",
                "go to its folder, name its file with --config, or begin one: customhouse init",
                Exit.INVALID,
            )

    def reading(self) -> Reading:
        """The house from outside."""
        from gateway.app.operations.reading import read_house

        return read_house(self.config)

    @contextmanager
    def trail(self) -> Iterator[Trail]:
        """The log, for reading."""
        from gateway.store.trail import opened

        with opened(self.config.data_dir) as trail:
            yield trail

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only if a person, or --yes, says so."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise OperationRefused(
                "nobody is there to ask",
                "this needs a person's yes, and standard input is not a terminal",
                "say --yes when you have seen it",
                Exit.USAGE,
            )
        if not click.confirm(question, default=False, err=True):
            self.screen.note("nothing was changed")
            end(Exit.NO)


def end(exit_code: Exit) -> NoReturn:
    """End the command with *exit_code*; everything is said."""
    raise click.exceptions.Exit(int(exit_code))


def now_us() -> int:
    return time.time_ns() // 1000


def common(command: Command) -> Command:
    """The options that every command has; the command gets an Invocation instead of them."""

    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help=f"The configuration file (default: ${FILE_VARIABLE}, else ./{FILE}).",
    )
    @click.option("--json", "as_json", is_flag=True, help="Write JSON.")
    @functools.wraps(command)
    def called(file: Path | None, as_json: bool, **given: Any) -> Any:
        remote = _remote(file)
        return command(Invocation(file, Screen(as_json=as_json), remote), **given)

    return called  # type: ignore[return-value]  # the same command, with two options more


def _remote(file: Path | None) -> Remote | None:
    ctx = click.get_current_context()
    elsewhere = ctx.find_object(Elsewhere) or Elsewhere()
    _, *words = ctx.command_path.split()
    return elsewhere.remote(" ".join(words), file)


def changing(command: Command) -> Command:
    """The options of commands that change something."""
    return click.option("--reason", default="", help="Why, for the log.")(command)
