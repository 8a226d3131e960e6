"""Which gateway a command speaks to as a client, at which endpoint, and with whose key."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from gateway.domain.names import is_name
from gateway.domain.operator import Exit, OperationRefused, usage

if TYPE_CHECKING:
    from gateway.cli.border import Border
    from gateway.cli.invocation import Invocation

URL_VARIABLE, KEY_VARIABLE = "CUSTOMHOUSE_URL", "CUSTOMHOUSE_KEY"
# The same as /mcp, without a word of OAuth: some clients would rather sign in than send a key.
PATH = "/token/mcp"
SEARCH = "/search"
_BEFORE_SEARCH = re.compile(r"/mcp(/[st]/[^/?#]+)?$")
_ENDPOINT_OF_ONE = re.compile(r"(?P<all>.*/mcp)/(?P<mark>[st])/(?P<name>[^/?#]+)(?:/search)?")
Command = TypeVar("Command", bound=Callable[..., Any])


def reaching(command: Command) -> Command:
    """The options that say which gateway; the command gets `place` and `key`."""

    @click.option("--url", help=f"Of the gateway (default: ${URL_VARIABLE}, else as configured).")
    @click.option("--server", help="Only this server, under its own names.")
    @click.option("--toolset", help="Only this toolset.")
    @click.option("--search", is_flag=True, help="As two tools that find and call all others.")
    @click.option(
        "--key",
        default=f"env:{KEY_VARIABLE}",
        show_default=True,
        help="The agent's key, by reference: env:NAME or file:PATH.",
    )
    @functools.wraps(command)
    def called(*args: Any, url: str, server: str, toolset: str, search: bool, **given: Any) -> Any:
        tail = SEARCH if search else None
        place = {"url": url, "server": server, "toolset": toolset, "search": tail}
        return command(*args, place=place, **given)

    return called  # type: ignore[return-value]  # the same command, with options in one


def endpoint_url(on: Invocation, place: Mapping[str, str | None]) -> str:
    """The URL of the endpoint. Raises: OperationRefused (usage): it cannot be one."""
    url, tail = _spanned(on, place), place["search"]
    if not tail or url.endswith(tail):
        return url
    if not _BEFORE_SEARCH.search(url):
        raise usage("--search belongs behind the URL of an endpoint", "say one that ends in /mcp")
    return url + tail


def _spanned(on: Invocation, place: Mapping[str, str | None]) -> str:
    url = place["url"] or os.environ.get(URL_VARIABLE) or _configured(on)
    if not urlsplit(url).path.strip("/"):
        url = url.rstrip("/") + PATH
    if place["server"] and place["toolset"]:
        raise usage("--server and --toolset are two endpoints", "say one of them")
    for option, mark in (("server", "s"), ("toolset", "t")):
        name = place[option]
        if name and not is_name(name):
            raise usage(
                f"{name!a:.60} is not the name of a {option}", "see: customhouse server list"
            )
        if name and not url.endswith("/mcp"):
            raise usage(
                f"--{option} belongs behind a URL that ends in /mcp", "leave one of them out"
            )
        if name:
            return f"{url}/{mark}/{name}"
    return url


def border_of(on: Invocation, place: Mapping[str, str | None], key: str) -> Border:
    """The gateway at *place*, with the key that *key* refers to. Raises: OperationRefused."""
    return _border(on, endpoint_url(on, place), key_behind(key))


def url_for_file(on: Invocation, place: Mapping[str, str | None]) -> str:
    """The URL of the endpoint, as it may stand in a client's file. Raises: OperationRefused (usage).

    Many people read such files, and clients fill in what stands behind a dollar sign.
    """
    from gateway.config.sources.references import is_plain_url

    url = _border(on, endpoint_url(on, place), "").url
    if "$" in url or not (is_plain_url(url) or is_plain_url(_without_known_name(on, url))):
        raise usage("a part of the URL looks like a secret, or like a variable", "say it without")
    return url


def _without_known_name(on: Invocation, url: str) -> str:
    """The endpoint of all, if *url* is that of one server or toolset that this gateway has."""
    one = _ENDPOINT_OF_ONE.fullmatch(url)
    if one is None:
        return url
    house = on.reading()
    known = house.servers if one["mark"] == "s" else house.config.toolsets
    return one["all"] if one["name"] in known else url


def _border(on: Invocation, url: str, key: str) -> Border:
    from gateway.cli.border import Border

    border = Border(url, key)
    if border.in_clear:
        on.screen.note(f"warning: the key goes to {border.url} in clear: use https")
    return border


def key_behind(reference: str) -> str:
    """Raises: OperationRefused (invalid): it refers to nothing, or to what is no key."""
    from gateway.config.error import ConfigError
    from gateway.config.secrets import resolve

    try:
        key = resolve(plain_reference(reference), os.environ)
    except ConfigError as err:
        why = err.why if reference.startswith("file:") else "the gateway is asked with it"
        fix = "give an agent's key, --key env:NAME or file:PATH; make one: customhouse key issue AGENT"
        raise OperationRefused(err.what, why, fix, Exit.INVALID) from err
    if not key.isascii() or " " in key:
        raise OperationRefused(
            f"{reference} does not hold a key",
            "a key is plain characters without blanks",
            "make one: customhouse key issue AGENT",
            Exit.INVALID,
        )
    return key


def plain_reference(reference: str) -> str:
    """*reference* with the whole path of its file, whoever reads it from wherever.

    Raises: OperationRefused (usage): it is none; perhaps it is the key, so it is not repeated.
    """
    from gateway.config.secrets import is_reference

    if not is_reference(reference):
        raise usage("--key takes a reference", "say --key env:NAME or --key file:PATH")
    kind, _, name = reference.partition(":")
    return f"file:{Path(name).expanduser().absolute()}" if kind == "file" else reference


def _configured(on: Invocation) -> str:
    """Where the gateway of this folder is for its clients."""
    config = on.config
    if config.public_url:
        return config.public_url
    host, port = config.listen.host, config.listen.port
    if not port:
        raise usage("the configuration leaves the port open", "say where it is with --url")
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - read, not bound
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
