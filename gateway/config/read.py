"""From raw tables to values: every key known, every value of its kind, every rule between them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.config.examples import example_of
from gateway.config.keys import LIMITS, SECTIONS, TOP, Key
from gateway.config.source import KeyPath, Source
from gateway.config.values import (
    Agent,
    Config,
    Issuer,
    Model,
    OpenApi,
    Peer,
    Rules,
    Server,
    Setting,
    Sharing,
    Team,
    Tenant,
)
from gateway.domain.budget import Limits
from gateway.domain.names import is_name

DEFAULT_TENANT = "default"
_STRICT = "an unknown key would be a setting that silently does nothing"
_UNDERSTOOD = "nothing opens before every value is understood"
_CHILD_ONLY = ("env", "cwd")
_URL_ONLY = ("auth", "sign")
_SHARED_ONLY = ("cache", "openapi")


@dataclass(slots=True)
class Reader:
    """Reads one source, and notes the effective value and origin of each key on the way."""

    source: Source
    settings: list[Setting] = field(default_factory=list)

    def config(self) -> Config:
        """Raises: ConfigError: the first thing that is wrong."""
        self._known((), self.source.tables, [*TOP, *SECTIONS])
        top = self._values((), self.source.tables, TOP)
        servers = {name: self.server(name) for name in self._names("servers")}
        agents = {name: self._values(("agents", name)) for name in self._names("agents")}
        teams = {name: self._values(("teams", name)) for name in self._names("teams")}
        tenants = {name: self._values(("tenants", name)) for name in self._names("tenants")}
        issuers = {name: self._values(("issuers", name)) for name in self._names("issuers")}
        homes = self._homes({"agents": agents, "issuers": issuers}, teams)
        return Config(
            **top,
            servers=servers,
            agents={name: self._agent(values, homes) for name, values in agents.items()},
            teams={
                name: Team(homes.get(name, DEFAULT_TENANT), _limits(values))
                for name, values in teams.items()
            },
            tenants={name: Tenant(_limits(values)) for name, values in tenants.items()},
            toolsets={
                name: self._values(("toolsets", name))["tools"] for name in self._names("toolsets")
            },
            issuers={name: self._issuer(name, values, homes) for name, values in issuers.items()},
            models={name: self._model(name) for name in self._names("models")},
            peers={name: self._peer(name) for name in self._names("peers")},
            file=self.source.file,
            settings=tuple(self.settings),
        )

    def _names(self, section: str) -> list[str]:
        """The names in a section. No two may differ only in "-" and "_": nobody sees that."""
        table = self._table((section,), self.source.tables.get(section, {}))
        seen: dict[str, str] = {}
        for name in table:
            path = (section, name)
            if not is_name(name):
                raise self.source.error(
                    path,
                    f"{ascii(name)[:60]} is not a name",
                    "names are 1 to 32 of a-z, 0-9, _ and -, so that none looks like another",
                    "choose such a name",
                )
            alike = seen.setdefault(name.replace("-", "_"), name)
            if alike != name:
                raise self.source.error(
                    path,
                    f"{name} and {alike} differ only in - and _",
                    "people and environment variables cannot tell them apart",
                    "rename one of them",
                )
        return list(table)

    def _values(
        self,
        path: KeyPath,
        table: Any = None,
        keys: Mapping[str, Key] | None = None,
        also: Iterable[str] = (),
    ) -> dict[str, Any]:
        """The checked values of one table; keys without a value are left out."""
        if keys is None:
            keys = SECTIONS[path[0]]
            table = self._table(path, self.source.tables[path[0]][path[1]])
            self._known(path, table, [*keys, *also])
        values: dict[str, Any] = {}
        for key, (parse, default) in keys.items():
            raw = table.get(key, default)
            if raw is None:
                continue
            try:
                values[key] = self._anchored(parse(raw))
            except ValueError as err:
                fix = _example(path, key, default)
                raise self.source.error((*path, key), str(err), _UNDERSTOOD, fix) from err
            self._note((*path, key), raw, given=key in table)
        return values

    def server(self, name: str) -> Server:
        path = ("servers", name)
        values = self._values(path, also=["limits"])
        ways = [key for key in ("command", "url", "python") if key in values]
        if len(ways) != 1:
            raise self.source.error(
                path,
                f"a server has exactly one of command, url and python, not {len(ways)}",
                "it says how the server is reached",
                "keep one of them",
            )
        given = self.source.tables["servers"][name]
        if "openapi" in given and ways != ["url"]:
            raise self.source.error(
                (*path, "openapi"),
                "openapi has no meaning without url",
                "url is the base below which the operations of the document are",
                "give the url too, or remove openapi",
            )
        stray = [key for key in _CHILD_ONLY if ways == ["url"] and key in given]
        stray += [key for key in _URL_ONLY if ways != ["url"] and key in given]
        if stray:
            raise self.source.error(
                (*path, stray[0]),
                f"{stray[0]} has no meaning for a server with {ways[0]}",
                "env and cwd are for child processes, auth and sign are for a url",
                "give the child its secret in env" if stray[0] == "auth" else "remove it",
            )
        self._check_session(path, values["session"], given)
        limits: dict[str, Any] = {}
        if "limits" in given:
            table = self._table((*path, "limits"), given["limits"])
            self._known((*path, "limits"), table, LIMITS)
            limits = self._values((*path, "limits"), table, LIMITS)
        self._add_prefix(path, values)
        return Server(**values, limits=_limits(limits))

    def _model(self, name: str) -> Model:
        path = ("models", name)
        values = self._values(path)
        self._wanted(path, values, "url", "it is where its provider is")
        self._wanted(path, values, "model", "it says what the provider calls it")
        terms = values.pop("model")
        return Model(**_without_limits(values), terms=terms, limits=_limits(values))

    def _peer(self, name: str) -> Peer:
        path = ("peers", name)
        values = self._values(path)
        self._wanted(path, values, "url", "it is where its card is")
        self._add_prefix(path, values)
        return Peer(**_without_limits(values), limits=_limits(values))

    def _wanted(self, path: KeyPath, values: Mapping[str, Any], key: str, why: str) -> None:
        if key not in values:
            one = path[0].removesuffix("s")
            raise self.source.error(
                path, f"the {one} {path[1]} has no {key}", why, f"add {key} = ..."
            )

    def _add_prefix(self, path: KeyPath, values: dict[str, Any]) -> None:
        if "prefix" not in values:
            values["prefix"] = path[1]
            self._note((*path, "prefix"), path[1], given=False)

    def _check_session(self, path: KeyPath, session: Sharing, given: Mapping[str, Any]) -> None:
        stray = [key for key in _SHARED_ONLY if key in given]
        if session is Sharing.PER_CALLER and stray:
            raise self.source.error(
                (*path, stray[0]),
                f'{stray[0]} has no meaning with session = "per-caller"',
                "what comes of a caller's own session is nobody else's, and not all servers have one",
                "remove one of the two",
            )
        if given.get("sign") and "cache" in given:
            raise self.source.error(
                (*path, "cache"),
                "cache has no meaning with sign",
                "a server that is told who calls may answer each differently",
                "remove one of the two",
            )

    def _agent(self, values: Mapping[str, Any], homes: Mapping[str, str]) -> Agent:
        team = values.get("team", "")
        return Agent(
            tenant=values.get("tenant") or homes.get(team, DEFAULT_TENANT),
            team=team,
            roles=values["roles"],
            key=values.get("key", ""),
            jwks=values.get("jwks", ""),
            limits=_limits(values),
        )

    def _issuer(self, name: str, values: Mapping[str, Any], homes: Mapping[str, str]) -> Issuer:
        if "url" not in values:
            raise self.source.error(
                ("issuers", name),
                f"the issuer {name} has no url",
                "it is the identifier that tokens carry, and where the keys are found",
                'add url = "https://..."',
            )
        home = homes.get(values.get("team", ""), DEFAULT_TENANT)
        return Issuer(**{**values, "tenant": values.get("tenant", home)})

    def _homes(
        self,
        members: Mapping[str, Mapping[str, Mapping[str, Any]]],
        teams: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, str]:
        """Team -> tenant, as the team or its members say. One that says nothing is in "default"."""
        homes = {name: team["tenant"] for name, team in teams.items() if "tenant" in team}
        for section, name, member in ((s, n, m) for s in members for n, m in members[s].items()):
            team, tenant = member.get("team"), member.get("tenant")
            if team and tenant and homes.setdefault(team, tenant) != tenant:
                one = section.removesuffix("s")
                raise self.source.error(
                    (section, name, "tenant"),
                    f"{one} {name} is in tenant {tenant}, its team {team} in {homes[team]}",
                    "a team belongs to one tenant, or its budget would join two",
                    f"give the {one} another team, or the team's tenant",
                )
        return homes

    # -- pieces -----------------------------------------------------------------------------------

    def _table(self, path: KeyPath, raw: Any) -> dict[str, Any]:
        if isinstance(raw, dict):
            return raw
        raise self.source.error(
            path, "expected a table", "its keys are read one by one", f"write [{'.'.join(path)}]"
        )

    def _known(self, path: KeyPath, table: Mapping[str, Any], keys: Iterable[str]) -> None:
        known = list(keys)
        for key in table:
            if key not in known:
                raise self.source.error(
                    (*path, key),
                    f"there is no key {ascii(key)[:60]} here",
                    _STRICT,
                    _meant(key, known),
                )

    def _anchored(self, value: Any) -> Any:
        """Paths, also those in references, as they are whatever the current folder becomes."""
        base = self.source.base
        if isinstance(value, Path):
            return (base / value).absolute()
        if isinstance(value, str) and value.startswith("file:"):
            return f"file:{base / Path(value.removeprefix('file:')).expanduser()}"
        if isinstance(value, dict):
            return {key: self._anchored(item) for key, item in value.items()}
        if isinstance(value, Rules) and value.schema:
            return replace(value, schema=(base / value.schema).absolute())
        if isinstance(value, OpenApi) and "://" not in value.document:
            path = base / Path(value.document).expanduser()
            return replace(value, document=str(path.absolute()))
        return value

    def _note(self, path: KeyPath, raw: Any, *, given: bool) -> None:
        if path[-1] in ("url", "openapi") and isinstance(raw, str) and "?" in raw:
            raw = raw.partition("?")[0] + "?..."  # some put a secret there
        origin = self.source.origin(path) if given else "default"
        self.settings.append(Setting(".".join(path), _toml(raw), origin))


def _example(path: KeyPath, key: str, default: Any) -> str:
    """How *key* of the table at *path* could be written."""
    shown = example_of(path[0] if path else "", key) or ("" if default is None else _toml(default))
    return f"for example: {key} = {shown}" if shown else f"correct the value of {key}"


def _meant(key: str, known: list[str]) -> str:
    """What to write instead of *key*, as far as one can guess."""
    if key in TOP:
        return f"{key} stands at the top of the file, before the first [section]"
    for section, keys in SECTIONS.items():
        if key in keys:
            return f"{key} is a key of [{section}.NAME]; known here are: {', '.join(known)}"
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(known)}"


def _limits(values: Mapping[str, Any]) -> Limits | None:
    if "rate" in values or "budget" in values:
        return Limits(values.get("rate"), values.get("budget", {}))
    return None


def _without_limits(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in LIMITS}


def _toml(raw: Any) -> str:
    """*raw* as it would stand in the file."""
    if isinstance(raw, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in raw.items()) + "}"
    if isinstance(raw, list):
        return "[" + ", ".join(_toml(item) for item in raw) + "]"
    return json.dumps(raw)
