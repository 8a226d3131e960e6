"""The kinds of value a key may have: raw TOML in, a checked value out, or one sentence why not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config.secrets import is_reference
from gateway.config.values import Approve, Listen, OpenApi, PerTool, Sharing
from gateway.domain.asking import KINDS
from gateway.domain.budget import METERS, Budget
from gateway.domain.names import is_name
from gateway.domain.rate import Rate
from gateway.domain.toolset import Toolset

Parse = Callable[[Any], Any]
"""Raises: ValueError: one sentence that never repeats what may be a secret."""
BOUNDS: dict[Parse, tuple[int, int]] = {}  # of the whole numbers that a kind takes
PER_TOOL: dict[Parse, tuple[int, int]] = {}  # the same, where each tool may have its own


class Unfit(ValueError):
    """The value is not of its kind; the message says which kind that is."""


_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_NAME = re.compile(r"(?i)(^|_)(token|secret|password|passwd|key|credentials?|auth)(_|$)")
_TAG = re.compile(r"[a-z0-9][a-z0-9_]{0,31}")
_WORD = re.compile(r"[a-z][a-z0-9_.-]{0,23}")
_LOG_LEVELS = ("debug", "info", "warning", "error")


def text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw or not raw.isprintable():
        raise Unfit(f"expected a string, not {_kind(raw)}")
    return raw


def name(raw: Any) -> str:
    if not is_name(text(raw)):
        raise Unfit("expected a name: 1 to 32 of a-z, 0-9, _ and -, not beginning with _ or -")
    return str(raw)


def texts(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list):
        raise Unfit(f"expected a list of strings, not {_kind(raw)}{_listed(raw)}")
    return tuple(text(item) for item in raw)


def names(raw: Any) -> tuple[str, ...]:
    return tuple(name(item) for item in texts(raw))


def command(raw: Any) -> tuple[str, ...]:
    words = texts(raw)
    if not words:
        raise Unfit('expected a program and its arguments, such as ["mcp-server-time"]')
    return words


def integer(lowest: int, highest: int) -> Parse:
    def parse(raw: Any) -> int:
        if not isinstance(raw, int) or isinstance(raw, bool) or not lowest <= raw <= highest:
            raise Unfit(f"expected a whole number from {lowest} to {highest}")
        return raw

    BOUNDS[parse] = lowest, highest
    return parse


def seconds(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Unfit(f"expected a number of seconds, not {_word(raw) or _kind(raw)}")
    if not math.isfinite(raw) or not 0.1 <= raw <= 3600:
        raise Unfit("expected 0.1 to 3600 seconds")
    return float(raw)


def per_tool(lowest: int, highest: int, otherwise: int) -> Parse:
    """One number for all tools, or a table of globs; *otherwise* is for tools none of them fits."""
    number = integer(lowest, highest)

    def parse(raw: Any) -> PerTool:
        if not isinstance(raw, dict):
            return (("*", number(raw)),)
        rows = [(text(glob), number(value)) for glob, value in raw.items()]
        return (*rows, ("*", otherwise))

    PER_TOOL[parse] = lowest, highest
    return parse


def listen(raw: Any) -> Listen:
    host, colon, port = text(raw).rpartition(":")
    if not colon or not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise Unfit('expected an address and a port, such as "127.0.0.1:8080"')
    if int(port) > 65_535:
        raise Unfit("expected a port up to 65535")
    return Listen(host.strip("[]"), int(port))


def folder(raw: Any) -> Path:
    return Path(text(raw)).expanduser()


def hosts(raw: Any) -> tuple[str, ...]:
    for host in texts(raw):
        if not _HOST.fullmatch(host):
            raise Unfit('expected hosts as in a Host header, such as "tools.example.com"')
    return tuple(host.lower() for host in texts(raw))


def origins(raw: Any) -> tuple[str, ...]:
    for origin in texts(raw):
        scheme, mark, host = origin.partition("://")
        if scheme not in ("http", "https") or not mark or not _HOST.fullmatch(host):
            raise Unfit('expected origins such as "https://app.example.com", without a path')
    return tuple(origin.lower() for origin in texts(raw))


def yes_or_no(raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise Unfit(f"expected true or false, not {_kind(raw)}")
    return raw


def log_level(raw: Any) -> str:
    if raw not in _LOG_LEVELS:
        raise Unfit(f"expected one of {', '.join(_LOG_LEVELS)}")
    return str(raw)


def url(raw: Any) -> str:
    try:
        parts = urlsplit(text(raw))
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        usable = None
    if not usable or not str(raw).isascii() or " " in raw:
        raise Unfit('expected a URL such as "https://mcp.example.com/mcp"')
    if parts.username is not None or parts.password is not None:
        raise Unfit('a URL carries no user or password; use auth = "env:NAME"')
    if parts.fragment:
        raise Unfit("a URL of a server has no #fragment")
    return str(raw)


def openapi(raw: Any) -> OpenApi:
    """A path or a URL; or {document = ..., writes = true} for operations that are not GET, too."""
    table = {"document": raw} if isinstance(raw, str) else _table(raw)
    if not {"document"} <= table.keys() <= {"document", "writes"}:
        raise Unfit('expected a path, a URL, or {document = "...", writes = true}')
    writes = table.get("writes", False)
    if not isinstance(writes, bool):
        raise Unfit("expected true or false for writes")
    document = text(table["document"])
    return OpenApi(url(document) if "://" in document else document, writes)


def module(raw: Any) -> str:
    path = text(raw).removeprefix("python:")
    if not _MODULE.fullmatch(path):
        raise Unfit('expected a module such as "python:package.module"')
    return path


def reference(raw: Any) -> str:
    if not isinstance(raw, str) or not is_reference(raw):
        raise Unfit("a secret is given by reference only: env:NAME or file:PATH")
    return raw


def bundle(raw: Any) -> Toolset:
    items = texts(raw)
    if not items:
        raise Unfit('expected the tools that are in it, such as ["docs/search", "git/git_*"]')
    return Toolset.of(items)


def session(raw: Any) -> Sharing:
    try:
        return Sharing(raw)
    except ValueError:
        raise Unfit('expected "shared" or "per-caller"') from None


def requests(raw: Any) -> frozenset[str]:
    kinds = frozenset(texts(raw))
    if not kinds <= KINDS:
        raise Unfit(f"expected some of {', '.join(sorted(KINDS))}, or an empty list")
    return kinds


def environment(raw: Any) -> dict[str, str]:
    variables: dict[str, str] = {}
    for key, value in _table(raw).items():
        if not _VARIABLE.fullmatch(key):
            raise Unfit("expected names of environment variables")
        if not isinstance(value, str) or "\0" in value:
            raise Unfit(f"expected a string for {key}")
        if _SECRET_NAME.search(key) and not is_reference(value):
            raise Unfit(f"{key} is a secret by its name: give env:NAME or file:PATH")
        variables[key] = value
    return variables


def tags(raw: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    rows = tuple((text(glob), texts(words)) for glob, words in _table(raw).items())
    if not all(_TAG.fullmatch(word) for _, words in rows for word in words):
        raise Unfit('expected tags such as "file_read": a-z, 0-9 and _')
    return rows


def approve(raw: Any) -> Approve:
    try:
        return Approve(raw)
    except ValueError:
        raise Unfit(f"expected one of {', '.join(Approve)}") from None


def rate(raw: Any) -> Rate:
    return Rate.parse(text(raw))


def budget(raw: Any) -> dict[tuple[str, str], int]:
    """{tokens = "200k/day", calls = ["60/min", "1000/day"]}: several windows as a list."""
    limits: dict[tuple[str, str], int] = {}
    for meter, written in _table(raw).items():
        if meter not in METERS:
            raise Unfit(f"expected the meters {', '.join(METERS)}, not {ascii(meter)[:40]}")
        for one in written if isinstance(written, list) else [written]:
            if not isinstance(one, str):
                raise Unfit(f'expected of {meter} an amount such as "5k/day", not {_kind(one)}')
            amount, window = Budget.parse(text(one))
            if (meter, window) in limits:
                raise Unfit(f"{meter} per {window} is given twice")
            limits[meter, window] = amount
    return limits


def _table(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Unfit(f"expected a table, not {_kind(raw)}")
    return raw


def _listed(raw: Any) -> str:
    """How the value would stand in a list."""
    return f"; write [{_word(raw)}]" if _word(raw) else ""


def _word(raw: Any) -> str:
    """*raw* in quotes if it is a short plain word, as no secret is; else nothing."""
    return f'"{raw}"' if isinstance(raw, str) and _WORD.fullmatch(raw) else ""


_KINDS = {str: "a string", bool: "true or false", int: "a number", float: "a number"}


def _kind(raw: Any) -> str:
    """What *raw* is, never what it says: it could be a secret in the wrong place."""
    if raw == "":
        return "an empty one"
    if isinstance(raw, str):
        return "a string" if raw.isprintable() else "one with unprintable characters"
    return {**_KINDS, list: "a list", dict: "a table"}.get(type(raw), "a date")
