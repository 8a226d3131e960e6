"""The MCP registry's server.json: one server, and the ways to run or reach it.

    {"name": "io.github.someone/weather", "version": "1.2.0",
     "packages": [{"registryType": "npm", "identifier": "@someone/weather", "version": "1.2.0", ...}],
     "remotes": [{"type": "streamable-http", "url": "https://weather.example.com/mcp"}]}

A package runs pinned to its exact version. The first way that works here is taken; another one can
be asked for by its name. The first release of the format wrote snake_case; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.config.sources.candidate import Candidate, Findings, Ground, fit_name
from gateway.config.sources.entries import finished
from gateway.config.sources.loaders import CHOOSES_CODE, chooses_code
from gateway.config.sources.references import (
    Dialect,
    is_plain,
    is_plain_url,
    is_secret_name,
    secret_argument,
)

MAX_WAYS = 20
_NPM = re.compile(r"(@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*", re.IGNORECASE)
_PYPI = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_EXACT = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,63}")
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_CAMEL = re.compile(r"_([a-z])")
_STATES = ("deprecated", "deleted")
# What is started, and how it writes an exact version. Containers have no home here: see `_package`.
_RUNNERS = {"npm": ("npx", "-y", "@"), "pypi": ("uvx", "", "@")}


@dataclass(slots=True)
class Way:
    """One package or remote while it is read."""

    dialect: Dialect
    table: dict[str, Any] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    # -- packages -------------------------------------------------------------------------------

    def package(self, package: Mapping[str, Any]) -> None:
        kind = str(package.get("registryType") or package.get("registryName") or "").lower()
        transport = package.get("transport")
        spoken = transport.get("type", "stdio") if isinstance(transport, dict) else "stdio"
        if kind not in _RUNNERS:
            said = "a container image" if kind in ("oci", "docker") else f"of kind {kind!a:.20}"
            self.findings.refuse(
                f"the package is {said}, and the gateway starts npm and pypi packages only"
            )
        elif spoken != "stdio":
            self.findings.refuse(
                "the package starts an HTTP server of its own; start it, add its URL"
            )
        else:
            self._command(kind, package)

    def _command(self, kind: str, package: Mapping[str, Any]) -> None:
        identifier, version = str(package.get("identifier")), str(package.get("version"))
        if "identifier" not in package:
            identifier = str(package.get("name"))
        shape = _NPM if kind == "npm" else _PYPI
        if not shape.fullmatch(identifier):
            self.findings.refuse("the package has no identifier that its registry could know")
            return
        if not _EXACT.fullmatch(version):
            self.findings.refuse(
                "the package names no exact version: what runs could change any day"
            )
            return
        runner, flag, sign = _RUNNERS[kind]
        words = [runner, *([flag] if flag else [])]
        words += self._arguments(package.get("runtimeArguments"), drop=flag)
        words.append(f"{identifier}{sign}{version}")
        words += self._arguments(package.get("packageArguments"))
        if secret_argument(words) >= 0:
            self.findings.refuse("an argument of the package looks like a secret")
        self.table["command"] = words
        self._environment(package.get("environmentVariables"))

    def _arguments(self, given: Any, drop: str = "") -> list[str]:
        words: list[str] = []
        for argument in _tables(given):
            name = str(argument.get("name") or "")
            if name and name == drop:
                continue
            value = self._value(
                argument, f"argument {name or argument.get('valueHint') or ''}".rstrip()
            )
            if argument.get("type") == "named" and name:
                # A named argument without any value is a switch.
                words += [name] if not value else [name, value]
            elif value:
                words.append(value)
        return words

    def _value(self, given: Mapping[str, Any], what: str) -> str:
        """What stands where no reference can; "" when it may be left away."""
        value = given.get("value", given.get("default"))
        if given.get("isSecret"):
            self.findings.refuse(f"{what} is a secret, and only env and auth can refer to one")
        elif value is not None and (text := self._filled(str(value), given)) is not None:
            return text
        elif given.get("isRequired") or value is not None:
            self.findings.refuse(f"{what} has to be chosen: add it by hand, after --")
        elif given.get("type") == "positional" or "valueHint" in given:
            self.findings.note(f"{what} was left away: it may be given by hand")
        return ""

    def _filled(self, text: str, given: Mapping[str, Any]) -> str | None:
        """*text* with its {variables} where they have defaults; None where one has none."""
        variables = given.get("variables")
        known = variables if isinstance(variables, dict) else {}

        def value(place: re.Match[str]) -> str:
            one = known.get(place[1])
            one = _camel(one) if isinstance(one, dict) else {}
            default = one.get("value", one.get("default"))
            if default is None or one.get("isSecret"):
                raise KeyError(place[1])
            return str(default)

        try:
            return _TEMPLATE.sub(value, text)
        except KeyError:
            return None

    def _environment(self, given: Any) -> None:
        env: dict[str, str] = {}
        for variable in _tables(given):
            key = str(variable.get("name") or "")
            value = variable.get("value", variable.get("default"))
            text = self._filled(str(value), variable) if value is not None else None
            secret = bool(variable.get("isSecret")) or is_secret_name(key)
            if text is not None and chooses_code(key):
                self.findings.note(CHOOSES_CODE.format(key))
            if text is not None and not secret and is_plain(text):
                env[key] = text
            elif secret or variable.get("isRequired") or value is not None:
                env[key] = f"env:{self.dialect.variable_for(key)}"
                needed = "" if variable.get("isRequired") else ", or take it out of env"
                self.findings.note(f"set {self.dialect.variable_for(key)} for the gateway{needed}")
            else:
                self.findings.note(f"{key} was left away: it may be given with --env")
        if env:
            self.table["env"] = env

    # -- remotes --------------------------------------------------------------------------------

    def remote(self, remote: Mapping[str, Any]) -> None:
        kind = str(remote.get("type") or remote.get("transportType") or "")
        if kind not in ("streamable-http", "streamable", "sse"):
            self.findings.refuse(f"its transport {kind!a:.20} is not one that the gateway speaks")
            return
        if kind == "sse":
            self.findings.note("it speaks HTTP+SSE, the transport of 2024")
        url = self._filled(str(remote.get("url") or ""), remote)
        if url is None:
            self.findings.refuse("a part of its URL has to be chosen: add the URL by hand")
        elif not is_plain_url(url):
            self.findings.refuse("a part of its URL looks like a secret, and URLs are stored")
        else:
            self.table["url"] = url
            self._headers(remote.get("headers"))

    def _headers(self, given: Any) -> None:
        for header in _tables(given):
            name = str(header.get("name") or "")
            value = str(header.get("value") or header.get("default") or "")
            if name.lower() == "authorization" and (
                not value or value.lower().startswith("bearer")
            ):
                variable = self.dialect.variable_for("TOKEN")
                self.table["auth"] = f"env:{variable}"
                self.findings.note(
                    f"set {variable} for the gateway: the token alone, without Bearer"
                )
            elif header.get("isRequired") or value:
                self.findings.refuse(
                    f"it is sent the header {name!a:.40}, and the gateway sends a bearer token only"
                )
            else:
                self.findings.note(f"the header {name!a:.40} was left away")


def registry_candidates(document: Mapping[str, Any], ground: Ground) -> list[Candidate]:
    """The ways of one server.json; at most one of them is taken unless another is named."""
    published = document.get("_meta")
    inner = document.get("server")
    if isinstance(inner, dict):  # as the registry's own interface answers
        document = inner
    record = _camel({key: value for key, value in document.items() if key != "_meta"})
    called = str(record.get("name") or "")
    name = fit_name(called.rpartition("/")[2])
    found = [
        *(("packages", one) for one in _tables(record.get("packages"))),
        *(("remotes", one) for one in _tables(record.get("remotes"))),
    ][:MAX_WAYS]
    state = _state(record, published, document.get("_meta"))
    candidates: list[Candidate] = []
    for place, one in found:
        way = Way(Dialect(name or "server", ground))
        (way.package if place == "packages" else way.remote)(one)
        if state == "deleted":
            way.findings.refuse("the registry says that it was deleted")
        elif state:
            way.findings.note(f"the registry says that it is {state}")
        if any(earlier.name == name for earlier in candidates):
            way.findings.hold("another way to the same server; it is taken when you name it")
        found_so = finished(called, name, way.table, way.findings, ground)
        if found_so.left_out:
            found_so = replace(found_so, name=_other_name(name, one, candidates))
        candidates.append(found_so)
    return candidates


def _other_name(name: str, way: Mapping[str, Any], earlier: list[Candidate]) -> str:
    kind = fit_name(str(way.get("registryType") or way.get("type") or "other"))
    kind = kind.removeprefix("streamable-")[:8]
    names = {candidate.name for candidate in earlier}
    tries = (f"{name[:20]}-{kind}{n}".strip("-") for n in ["", *range(2, MAX_WAYS + 2)])
    return next(one for one in tries if one not in names)


def _state(record: Mapping[str, Any], *metas: Any) -> str:
    official = "io.modelcontextprotocol.registry/official"
    said = [record.get("status")]
    for meta in metas:
        inner = meta.get(official) if isinstance(meta, dict) else None
        said.append(inner.get("status") if isinstance(inner, dict) else None)
    return next((state for state in _STATES if state in said), "")


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return (
        [_camel(one) for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    )


def _camel(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same with its own keys in camelCase."""
    return {_CAMEL.sub(lambda place: place[1].upper(), key): one for key, one in table.items()}
