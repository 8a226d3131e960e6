"""What somebody meant who typed a command that there is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType

import click

# Words that people bring along, and what they are called here: the first that the group has.
_CALLED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "accept": ("approve",),
        "allow": ("approve", "grant"),
        "assign": ("grant",),
        "create": ("add", "issue", "init"),
        "delete": ("remove", "revoke"),
        "describe": ("show",),
        "get": ("show",),
        "ls": ("list",),
        "new": ("add", "issue", "init"),
        "pause": ("suspend", "disable"),
        "register": ("add",),
        "reject": ("deny",),
        "revoke": ("withdraw", "deny"),
        "rm": ("remove", "revoke"),
        "start": ("resume", "enable", "serve"),
        "status": ("doctor", "show", "list"),
        "stop": ("suspend", "disable", "freeze"),
        "validate": ("check", "verify"),
    }
)
# What takes something away is offered for its word above and for a slip of the finger, never because
# another word looks a little like it.
_TAKING = frozenset({"deny", "disable", "erase", "freeze", "remove", "reopen", "revoke", "stop"})
_SLIP, _LIKE = 0.8, 0.7
_OF_SERVERS = frozenset({"approve", "show", "test"})  # they are for models and peers as well


def in_our_words(err: click.UsageError) -> click.UsageError:
    """*err* as it is, or with what was meant in place of what only looks alike."""
    group = err.ctx.command if err.ctx is not None else None
    if not isinstance(err, click.NoSuchCommand) or not isinstance(group, click.Group):
        return err
    word, ctx = err.command_name, err.ctx
    said = f"No such command {word!r}."
    if group.name in ("model", "peer") and word in _OF_SERVERS:
        said += f" It is the same as for servers: customhouse server {word}"
    elif ctx is not None and (close := _meant(word, group.list_commands(ctx))):
        said += f" Did you mean {close!r}?"
    return click.NoSuchCommand(word, said, ctx=ctx)


def _meant(word: str, there: Iterable[str]) -> str:
    """The one of *there* that was meant by *word*; "" when nobody can tell."""
    names = list(there)
    called = [name for name in _CALLED.get(word, ()) if name in names]
    harmless = [name for name in names if name not in _TAKING]
    alike = get_close_matches(word, names, n=1, cutoff=_SLIP)
    return next(iter([*called, *alike, *get_close_matches(word, harmless, 1, _LIKE)]), "")
