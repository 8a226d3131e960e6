"""The entry with which a client reaches a gateway, in the client's own words.

The key is never in it: over HTTP the entry refers to a variable of the environment in the client's
own way; with a key in a file, or for a client that only starts programs, it starts
`customhouse bridge`, which reads the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.config.clients import Client, Syntax, read_document, server_entries
from gateway.config.error import ConfigError
from gateway.config.jsontext import Unchanged, with_item, with_value, without_value
from gateway.config.tomltext import with_table, without_table

INPUT = "customhouse-key"
_INPUTS = "inputs"
_ASKED = {
    "type": "promptString",
    "id": INPUT,
    "description": "Key of an agent at the Customhouse gateway",
    "password": True,
}


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway that a client is to reach."""

    url: str
    key: str  # a reference: env:NAME or file:PATH
    bridge: Sequence[str]  # the program and arguments that start `customhouse bridge`


@dataclass(frozen=True, slots=True)
class Entry:
    """One server in a client's file, and what else the file needs for it."""

    table: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)  # key of the file -> item of a list


def entry_for(client: Client | None, target: Target) -> Entry:
    """The entry for *client*; None stands for any other client that knows `mcpServers`.

    Raises: ConfigError: the client can neither refer to a variable nor find one, or would find one
    where none is meant.
    """
    kind, _, name = target.key.partition(":")
    if "$" in "".join([target.url, name, *target.bridge]):
        raise ConfigError(
            "a dollar sign cannot stand in a client's file",
            "clients fill in what stands behind it, each in its own way",
            "give the key's file, the program or the URL another name",
        )
    if client is None:
        return Entry(_http("url", target.url, f"${{{name}}}") if kind == "env" else _bridge(target))
    if kind == "file":
        return Entry(_typed(client, "stdio", _bridge(target)))
    if not client.url_key:
        raise ConfigError(
            f"{client.title} has no way to refer to a variable",
            "the key would have to stand in its file, for everybody who reads that",
            "keep the key in a file of mode 600, and say: --key file:PATH",
        )
    if client.syntax is Syntax.TOML:
        return Entry({client.url_key: target.url, "bearer_token_env_var": name})
    if client.name == "vscode":  # it asks once, and keeps the answer where it keeps secrets
        table = _http(client.url_key, target.url, f"${{input:{INPUT}}}")
        return Entry(_typed(client, "http", table), {_INPUTS: _ASKED})
    table = _http(client.url_key, target.url, client.reference.format(name))
    return Entry(_typed(client, "http", table))


def with_entry(text: str, client: Client, keys: Sequence[str], name: str, entry: Entry) -> str:
    """The client's file with *entry* as its server *name*. Raises: Unchanged."""
    try:
        for key, item in entry.beside.items():
            text = _with_item(text, client, key, item)
        document = _reader(client)(text) if text.strip() else {}
        if server_entries(document, tuple(keys)).get(name) == entry.table:
            return text
        if client.syntax is Syntax.TOML:
            return with_table(text, (*keys, name), entry.table)
        return with_value(text, (*keys, name), dict(entry.table), _reader(client))
    except (ConfigError, ValueError, RecursionError) as err:
        raise _unchanged(err) from err


def without_entry(text: str, client: Client, keys: Sequence[str], name: str) -> str:
    """The client's file without its server *name*, which is there. Raises: Unchanged."""
    try:
        if client.syntax is Syntax.TOML:
            return without_table(text, (*keys, name))
        return without_value(text, (*keys, name), _reader(client))
    except (ConfigError, ValueError, RecursionError, KeyError) as err:
        raise _unchanged(err) from err


def snippet(client: Client | None, keys: Sequence[str], name: str, entry: Entry) -> str:
    """A file that holds nothing else, for people who write it themselves."""
    if client is not None and client.syntax is Syntax.TOML:
        return with_table("", (*keys, name), entry.table)
    inner: Any = dict(entry.table)
    for key in reversed((*keys, name)):
        inner = {key: inner}
    beside = {key: [item] for key, item in entry.beside.items()}
    return json.dumps({**beside, **inner}, indent=2, ensure_ascii=False) + "\n"


def _http(url_key: str, url: str, key: str) -> dict[str, Any]:
    return {url_key: url, "headers": {"Authorization": f"Bearer {key}"}}


def _bridge(target: Target) -> dict[str, Any]:
    program, *words = target.bridge
    return {"command": program, "args": [*words, "--url", target.url, "--key", target.key]}


def _typed(client: Client, kind: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, **table} if client.typed else dict(table)


def _with_item(text: str, client: Client, key: str, item: Mapping[str, Any]) -> str:
    """*item* in the list at *key*, unless it is there. Raises: Unchanged: another has its id."""
    read = _reader(client)
    there = read(text).get(key, []) if text.strip() else []
    items = there if isinstance(there, list) else []
    if item in items:
        return text
    if any(isinstance(one, dict) and one.get("id") == item["id"] for one in items):
        raise Unchanged(f"it asks for {item['id']} in a way of its own")  # perhaps by a program
    return with_item(text, (key,), dict(item), read)


def _reader(client: Client) -> Any:
    return lambda text: read_document(text.removeprefix("\ufeff"), client.syntax)


def _unchanged(err: Exception) -> Unchanged:
    if isinstance(err, Unchanged):
        return err
    return Unchanged(err.what if isinstance(err, ConfigError) else "it cannot be read")
