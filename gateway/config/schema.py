"""The configuration file as JSON Schema 2020-12: for editors, and for checks before there is a gateway.

Made from the keys themselves, so that it knows all of them and no others. It says of each value
what can be said without reading: what two keys mean together, `customhouse config check` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config import issuers, kinds, terms
from gateway.config.keys import LIMITS, SECTIONS, TOP, Key
from gateway.config.values import Approve, Sharing
from gateway.domain.algorithms import SORT_OF
from gateway.domain.asking import KINDS
from gateway.domain.budget import METERS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = "^[a-z0-9][a-z0-9_-]{0,31}$"
WAYS = ("command", "url", "python")  # how a server is reached: one of them
_TEXT: Schema = {"type": "string", "minLength": 1}
_HOST = r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?"
_BUDGET: Schema = {"type": "string", "pattern": "^[0-9]+[kMG]?/(?:min|minute|day|month)$"}


def _pattern(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _list(item: Schema, *, least: int = 0) -> Schema:
    listed: Schema = {"type": "array", "items": item}
    return {**listed, "minItems": least} if least else listed


def _table(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


_URL = _pattern(r"^https?://[!-~]+$")
_KEY_FILE = _pattern("^file:.+$")
_NAMED = _pattern(NAME)
_OF_KIND: Mapping[kinds.Parse, Schema] = {
    kinds.text: _TEXT,
    kinds.name: _NAMED,
    kinds.texts: _list(_TEXT),
    kinds.names: _list(_NAMED),
    kinds.command: _list(_TEXT, least=1),
    kinds.seconds: {"type": "number", "minimum": 0.1, "maximum": 3600},
    kinds.listen: _pattern(r"^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$"),
    kinds.folder: _TEXT,
    kinds.yes_or_no: {"type": "boolean"},
    kinds.hosts: _list(_pattern(f"^{_HOST}$")),
    kinds.origins: _list(_pattern(f"^https?://{_HOST}$")),
    kinds.log_level: {"enum": ["debug", "info", "warning", "error"]},
    kinds.url: _URL,
    kinds.openapi: {
        "anyOf": [
            _TEXT,
            {
                "type": "object",
                "properties": {"document": _TEXT, "writes": {"type": "boolean"}},
                "required": ["document"],
                "additionalProperties": False,
            },
        ]
    },
    kinds.module: _pattern(r"^(?:python:)?[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$"),
    kinds.reference: _pattern(r"^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"),
    kinds.bundle: _list(_TEXT, least=1),
    kinds.session: {"enum": [str(one) for one in Sharing]},
    kinds.requests: _list({"enum": sorted(KINDS)}),
    kinds.environment: {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"type": "string"},
    },
    kinds.tags: _table(_list(_pattern("^[a-z0-9][a-z0-9_]{0,31}$"))),
    kinds.approve: {"enum": [str(one) for one in Approve]},
    terms.size: {"enum": list(terms.SIZES)},
    terms.schema_file: _KEY_FILE,
    kinds.rate: _pattern("^[0-9]+/(?:s|sec|min|hour|h)$"),
    kinds.budget: {
        "type": "object",
        "propertyNames": {"enum": list(METERS)},
        "additionalProperties": {"anyOf": [_BUDGET, _list(_BUDGET)]},
    },
    issuers.identifier: _URL,
    issuers.key_set: _URL,
    terms.key_file: _KEY_FILE,
    terms.key_set: {"anyOf": [_URL, _KEY_FILE]},
    issuers.public_url: _pattern(r"^https?://[!-~]+$"),
    issuers.algorithms: _list({"enum": sorted(SORT_OF)}, least=1),
    issuers.worth: {
        "type": "object",
        "propertyNames": {"pattern": ":"},
        "additionalProperties": _NAMED,
    },
}

_TABLES: Mapping[kinds.Parse, tuple[Mapping[str, tuple[kinds.Parse, str]], list[str]]] = {
    terms.model: (terms.MODEL, ["id"]),
    terms.rules: (terms.RULES, []),
    terms.runs: (terms.RUNS, []),
}


def schema() -> Schema:
    """The schema of customhouse.toml."""
    servers = _entry(SECTIONS["servers"])
    servers["properties"]["limits"] = _entry(LIMITS)
    servers["oneOf"] = [{"required": [way]} for way in WAYS]
    servers["dependentRequired"] = {"openapi": ["url"]}
    sections = {name: _entry(keys) for name, keys in SECTIONS.items()} | {"servers": servers}
    sections["models"]["required"] = ["url", "model"]
    sections["peers"]["required"] = ["url"]
    return {
        "$schema": DIALECT,
        "title": "customhouse.toml",
        **_entry(TOP),
        "properties": {
            **{key: of_key(one) for key, one in TOP.items()},
            **{name: _section(entry) for name, entry in sections.items()},
        },
    }


def of_key(key: Key) -> Schema:
    """What the file may say for *key*.

    Raises: KeyError: its kind has no schema yet.
    """
    if key.parse in _TABLES:
        said = _small(*_TABLES[key.parse])
    elif key.parse in kinds.BOUNDS:
        said = _whole(kinds.BOUNDS[key.parse])
    elif key.parse in kinds.PER_TOOL:
        number = _whole(kinds.PER_TOOL[key.parse])
        said = {"anyOf": [number, _table(number)]}
    else:
        said = dict(_OF_KIND[key.parse])
    return said if key.default is None or _is_wanted(key) else {**said, "default": key.default}


def _small(keys: Mapping[str, tuple[kinds.Parse, str]], wanted: list[str]) -> Schema:
    entry = _entry({name: Key(parse) for name, (parse, _) in keys.items()})
    return {**entry, "required": wanted} if wanted else entry


def _is_wanted(key: Key) -> bool:
    """Its default is one that it does not take: the file has to say it."""
    return bool(key.default == [] and _OF_KIND.get(key.parse, {}).get("minItems", 0) > 0)


def _whole(bounds: tuple[int, int]) -> Schema:
    lowest, highest = bounds
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _entry(keys: Mapping[str, Key]) -> Schema:
    entry: Schema = {
        "type": "object",
        "properties": {name: of_key(key) for name, key in keys.items()},
        "additionalProperties": False,
    }
    wanted = [name for name, key in keys.items() if _is_wanted(key)]
    return {**entry, "required": wanted} if wanted else entry


def _section(entry: Schema) -> Schema:
    return {
        "type": "object",
        "propertyNames": {"pattern": NAME},
        "additionalProperties": entry,
    }
