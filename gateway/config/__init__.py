"""customhouse.toml: read strictly, checked as a whole, every value with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config.error import ConfigError
from gateway.config.read import Reader
from gateway.config.secrets import check_key, exposed_file, resolve
from gateway.config.source import Source, read_source
from gateway.config.values import (
    PEER_PREFIX,
    Agent,
    Approve,
    Config,
    Issuer,
    Listen,
    Model,
    OpenApi,
    Peer,
    Rules,
    Server,
    Sharing,
    Upstream,
    of_tool,
)

__all__ = [
    "Agent",
    "Approve",
    "Config",
    "ConfigError",
    "Issuer",
    "Listen",
    "Model",
    "OpenApi",
    "Peer",
    "Rules",
    "Server",
    "Sharing",
    "Upstream",
    "agent_keys",
    "check_exposure",
    "load",
    "of_tool",
    "resolve",
    "server_from",
]


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """The whole configuration; with no *path* the defaults, and the environment over either.

    Secrets are not looked up: a command that needs none works where they are not at hand.
    Raises: ConfigError: the first thing that is wrong; nothing is half read.
    """
    source = read_source(path, environ)
    config = Reader(source).config()
    for where, what, why, fix in _contradictions(config, named="policies" in source.tables):
        raise source.error(where, what, why, fix)
    return replace(config, warnings=tuple(_warnings(config)))


def server_from(name: str, table: Mapping[str, Any], base: Path) -> Server:
    """One server from a table of the same keys that did not come from a file.

    Raises: ConfigError.
    """
    return Reader(Source(None, base, {"servers": {name: dict(table)}})).server(name)


def agent_keys(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """Agent -> its API key, for those that the configuration gives one.

    Raises: ConfigError: a key is missing, can be guessed, or belongs to two agents.
    """
    keys: dict[str, str] = {}
    owners: dict[str, str] = {}
    for name, agent in config.agents.items():
        if agent.key:
            keys[name] = _key_of(name, agent, environ)
            check_key(name, agent.key, keys[name])
            other = owners.setdefault(keys[name], name)
            if other != name:
                raise ConfigError(
                    f"agents {other} and {name} have the same key",
                    "a key says who calls; this one would say either",
                    f"give {name} a key of its own",
                )
    return keys


def _key_of(name: str, agent: Agent, environ: Mapping[str, str]) -> str:
    try:
        return resolve(agent.key, environ)
    except ConfigError as err:
        raise ConfigError(f"agent {name}: {err.what}", err.why, err.fix, err.where) from err


def check_exposure(config: Config, issued_keys: int) -> None:
    """Refuse to listen beyond this machine while nobody can authenticate.

    *issued_keys*: live keys in the registry, which the configuration does not know.
    Raises: ConfigError.
    """
    own = config.agents.values()
    if config.listen.is_loopback or issued_keys or any(one.key or one.jwks for one in own):
        return
    if config.issuers:
        return
    raise ConfigError(
        f"{config.listen} can be reached from other machines, and no agent has a key",
        "a border that nobody can be identified at is not to be exposed",
        "listen on 127.0.0.1, give an agent a `key`, run: customhouse key issue AGENT, or name"
        " an issuer of tokens in [issuers.NAME]",
        "listen",
    )


_UNENCRYPTED = "the credential crosses the network unencrypted (use https)"
_ADDED = ("/chat/completions", "/completions", "/responses", "/embeddings")
_NO_CARD = "it leads to no card (most agents have theirs at /.well-known/agent-card.json)"
_Contradiction = tuple[tuple[str, ...], str, str, str]  # where, what, why, fix


def _contradictions(config: Config, *, named: bool) -> Iterator[_Contradiction]:
    """What is right key by key and wrong together; *named*: the policies folder was asked for."""
    data_dir, keys_dir = config.data_dir.resolve(), config.keys_dir.resolve()
    if keys_dir.is_relative_to(data_dir) or data_dir.is_relative_to(keys_dir):
        yield (
            ("keys_dir",),
            "keys_dir and data_dir lie in one another",
            "a copy of the data would carry the keys that seal and sign it",
            "choose two folders side by side",
        )
    if named and not config.policies.is_dir():
        yield (
            ("policies",),
            f"there is no folder {config.policies}",
            "everything would be denied, which is not what naming a folder asks for",
            "correct the path, or remove the key",
        )
    yield from _about_names(config)
    roles = {role: name for name, agent in config.agents.items() for role in agent.roles}
    for role in sorted(roles.keys() & config.agents.keys()):
        yield (
            ("agents", roles[role], "roles"),
            f"{role} is an agent and a role",
            "policy names both in one place, so the agent would have the role without being given it",
            "rename one of them",
        )
    yield from _about_signing(config)
    yield from _about_issuers(config)


def _about_names(config: Config) -> Iterator[_Contradiction]:
    """One name is one upstream, one prefix the tools of one."""
    known: dict[str, tuple[str, str]] = {}
    for section, name in ((section, name) for section, one in _behind(config) for name in one):
        other = known.setdefault(name.replace("-", "_"), (section, name))
        if other != (section, name):
            yield (
                (section, name),
                f"{section}.{name} and {'.'.join(other)} have the same name",
                "policy, the log and commands name what is behind the border by it alone",
                "rename one of them",
            )
    prefixes: dict[str, str] = {}
    wired = [("servers", name, server.prefix) for name, server in config.servers.items()]
    wired += [("peers", name, PEER_PREFIX + peer.prefix) for name, peer in config.peers.items()]
    for section, name, prefix in wired:
        alike = prefixes.setdefault(prefix.replace("-", "_"), name)
        if alike != name:
            yield (
                (section, name, "prefix"),
                f"{section} {alike} and {name} have the same prefix",
                "their tools could not be told apart on /mcp",
                "give one of them another prefix",
            )


def _about_signing(config: Config) -> Iterator[_Contradiction]:
    signing = [name for name, server in config.servers.items() if server.sign]
    if signing and not config.signs_as:
        yield (
            ("servers", signing[0], "sign"),
            "calls are to be signed, and there is no public_url",
            "servers check whose signature it is, and fetch the keys from there",
            'add public_url = "https://..." as servers reach this gateway',
        )


def _about_issuers(config: Config) -> Iterator[_Contradiction]:
    known: dict[str, str] = {}
    for name, issuer in config.issuers.items():
        other = known.setdefault(issuer.url, name)
        if other != name:
            yield (
                ("issuers", name, "url"),
                f"issuers {other} and {name} are the same one",
                "a token of it could be worth either",
                "make one of the two, or tell them apart by their roles",
            )
        for role in sorted({role for *_, role in issuer.roles} & config.agents.keys()):
            yield (
                ("issuers", name, "roles"),
                f"{role} is an agent, and a role that tokens give",
                "policy names both in one place, so tokens would have the rights of the agent",
                "rename one of them",
            )
    if config.issuers and not config.public_url and not config.listen.is_loopback:
        yield (
            ("public_url",),
            "there are issuers, and no public_url",
            "it is what tokens are made for, and where clients learn of the issuers",
            'add public_url = "https://..." as clients reach this gateway',
        )


def _warnings(config: Config) -> Iterator[str]:
    for name, agent in config.agents.items():
        if exposed := exposed_file(agent.key):
            yield f"agents.{name}.key: {exposed}"
    for section, behind in _behind(config):
        for name, one in behind.items():
            for reference in one.references:
                if exposed := exposed_file(reference):
                    yield f"{section}.{name}: {exposed}"
            if one.auth and _in_the_clear(one.url):
                yield f"{section}.{name}.url: {_UNENCRYPTED}"
    yield from _about_urls(config)


def _about_urls(config: Config) -> Iterator[str]:
    """URLs that lead past what is meant, whoever is there."""
    for name, model in config.models.items():
        path = urlsplit(model.url).path.rstrip("/")
        if ending := next((end for end in _ADDED if path.endswith(end)), ""):
            yield f"models.{name}.url: {ending} is added to it for each call (leave it out)"
    for name, peer in config.peers.items():
        if not urlsplit(peer.url).path.strip("/"):
            yield f"peers.{name}.url: {_NO_CARD}"


def _behind(config: Config) -> tuple[tuple[str, Mapping[str, Upstream]], ...]:
    """By section of the file, all that is behind the border."""
    return ("servers", config.servers), ("models", config.models), ("peers", config.peers)


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_here(parts.hostname or "")


def _is_here(host: str) -> bool:
    return Listen(host, 0).is_loopback
