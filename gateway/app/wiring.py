"""From what the configuration says to the values each room is built with; secrets are resolved here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from gateway.config import (
    Approve,
    Config,
    ConfigError,
    Model,
    OpenApi,
    Peer,
    Rules,
    Server,
    Sharing,
    Upstream,
    agent_keys,
    resolve,
    server_from,
)
from gateway.config.values import PEER_PREFIX
from gateway.domain.arguments import Validator, compile_schema
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import Kind
from gateway.store.identity import Agent, Identity, NameTaken
from gateway.store.pins import Terms
from gateway.upstream.signature import CallSigner
from gateway.upstream.spec import (
    HttpTransport,
    ModelTransport,
    OpenApiTransport,
    PeerTransport,
    PythonTransport,
    ServerSpec,
    StdioTransport,
    Transport,
)


def declared_agents(
    config: Config, environ: Mapping[str, str]
) -> Iterator[tuple[Agent, str | None]]:
    """Every agent of the file, with its key where the file refers to one. Raises: ConfigError."""
    keys = agent_keys(config, environ)
    for name, agent in config.agents.items():
        declared = Agent(name, agent.tenant, agent.team, agent.roles, agent.limits)
        yield declared, keys.get(name)


def refuse_shared_names(config: Config, identity: Identity) -> None:
    """Raises: NameTaken: an agent is called like a role that tokens give, and would be worth it."""
    for name in sorted(config.proved_roles & identity.agents.keys()):
        raise NameTaken(f"{name!r} is an agent, and a role that tokens of an issuer give")


def all_servers(config: Config, registered: Mapping[str, str]) -> dict[str, Upstream]:
    """All that is declared, and the *registered* servers (name -> stored table).

    Raises: NameTaken: a server is both. ConfigError: a stored one cannot be read.
    """
    servers = config.upstreams
    for name, spec in registered.items():
        if name in servers:
            raise NameTaken(f"server {name!r} is both declared and registered")
        servers[name] = registered_server(name, spec, config)
    return servers


def registered_server(name: str, spec: str, config: Config) -> Server:
    """A server from its stored table, read like one of the file. Raises: ConfigError."""
    base = config.file.parent if config.file else Path.cwd()
    server = server_from(name, json.loads(spec), base)
    if server.sign and not config.signs_as:
        raise ConfigError(
            f"calls to {name} are to be signed, and there is no public_url",
            "the server checks whose signature it is, and fetches the keys from there",
            'add public_url = "https://..." to the configuration, as the server reaches this gateway',
        )
    return server


def server_terms(server: Upstream) -> Terms:
    if isinstance(server, Model):
        return _model_terms(server)
    if isinstance(server, Peer):
        return _peer_terms(server)
    return Terms(
        prefix=server.prefix,
        first_seen=server.approve is Approve.FIRST_SEEN,
        tools=server.tools,
        tags=server.tags,
        prices=server.price,
        cache_s=server.cache,
        result_tokens=server.max_result_tokens,
        limits=server.limits,
        requests=server.requests,
    )


def _model_terms(model: Model) -> Terms:
    """Who declares a model says all there is to know of it: nothing is left for a person to see."""
    return Terms(
        prefix="",
        first_seen=True,
        tags=model.tags,
        cache_s=(("*", model.cache),),
        result_tokens=(("*", model.max_result_tokens),),
        limits=model.limits,
        requests=frozenset(),
        kind=Kind.MODEL,
        model=model.terms,
    )


def _peer_terms(peer: Peer) -> Terms:
    return Terms(
        prefix=PEER_PREFIX + peer.prefix,
        first_seen=peer.approve is Approve.FIRST_SEEN,
        tools=peer.tools,
        tags=peer.tags,
        prices=peer.price,
        result_tokens=peer.max_result_tokens,
        limits=peer.limits,
        kind=Kind.PEER,
        rules=message_rules(peer.rules),
    )


def server_specs(
    config: Config, environ: Mapping[str, str], servers: Mapping[str, Upstream], signer: CallSigner
) -> list[ServerSpec]:
    return [
        server_spec(name, server, environ, signer, declared=name in config.upstreams)
        for name, server in servers.items()
    ]


def server_spec(
    name: str, server: Upstream, environ: Mapping[str, str], signer: CallSigner, *, declared: bool
) -> ServerSpec:
    """What the upstream room needs; a secret that is missing refuses calls, it never goes bare."""
    if not isinstance(server, Server):
        return ServerSpec(
            name=name,
            transport=_elsewhere(server, environ),
            timeout_s=server.timeout_s,
            max_result_bytes=server.max_result_bytes,
        )
    return ServerSpec(
        name=name,
        transport=_transport(server, environ, signer if server.sign else None, declared=declared),
        timeout_s=server.timeout_s,
        per_caller=server.session is Sharing.PER_CALLER,
        requests=server.requests,
        max_result_bytes=server.max_result_bytes,
    )


def _transport(
    server: Server, environ: Mapping[str, str], signer: CallSigner | None, *, declared: bool
) -> Transport:
    if server.openapi is not None:
        return _open_api(server, server.openapi, environ, signer, declared=declared)
    if server.url:
        private = declared or is_plainly_local(server.url)
        return replace(
            _bearing(server.url, server.auth, environ), allow_private=private, signer=signer
        )
    env, missing = _environment(server.env, environ)
    cwd = str(server.cwd) if server.cwd else ""
    if server.python:
        return PythonTransport(module=server.python, env=env, cwd=cwd, auth_missing=missing)
    return StdioTransport(command=server.command, env=env, cwd=cwd, auth_missing=missing)


def _elsewhere(upstream: Model | Peer, environ: Mapping[str, str]) -> Transport:
    place = _bearing(upstream.url, upstream.auth, environ)
    if isinstance(upstream, Model):
        return ModelTransport(place, upstream.terms, upstream.max_result_tokens)
    jwks: HttpTransport | str = upstream.jwks.removeprefix("file:")
    if "://" in upstream.jwks:
        jwks = HttpTransport(upstream.jwks, allow_private=True)
    return PeerTransport(place, jwks, message_rules(upstream.rules))


def message_rules(rules: Rules) -> MessageRules:
    """Raises: ConfigError: the schema is not there, or cannot be used."""
    return MessageRules(
        rules.max_bytes,
        rules.depth,
        frozenset(rules.data),
        frozenset(rules.skills),
        _compiled(rules.schema) if rules.schema else None,
    )


def _compiled(file: Path) -> Validator:
    try:
        return compile_schema(json.loads(file.read_bytes()))
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else str(err)
        raise ConfigError(
            f"the schema of messages {file} cannot be used",
            why or type(err).__name__,
            "name a file with a JSON Schema, or leave `schema` out of the rules",
        ) from err


def _bearing(url: str, auth: str, environ: Mapping[str, str]) -> HttpTransport:
    """What the operator's own file names, wherever it is."""
    token, missing = _secret(auth, environ)
    return HttpTransport(
        url=url,
        auth_header_value=f"Bearer {token}" if token else "",
        auth_missing=missing,
        allow_private=True,
    )


def _open_api(
    server: Server,
    openapi: OpenApi,
    environ: Mapping[str, str],
    signer: CallSigner | None,
    *,
    declared: bool,
) -> OpenApiTransport:
    token, missing = _secret(server.auth, environ)
    local = declared or is_plainly_local(server.url)
    api = HttpTransport(server.url, token, missing, allow_private=local, signer=signer)
    document: HttpTransport | str = openapi.document
    if "://" in openapi.document:
        near = declared or is_plainly_local(openapi.document)
        document = HttpTransport(openapi.document, allow_private=near)
    return OpenApiTransport(api, document, openapi.writes)


def _secret(reference: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    if not reference:
        return "", False
    try:
        return resolve(reference, environ), False
    except ConfigError:
        return "", True


def _environment(
    declared: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[dict[str, str], bool]:
    env, missing = {}, False
    for name, value in declared.items():
        if not value.startswith(("env:", "file:")):
            env[name] = value
            continue
        env[name], absent = _secret(value, environ)
        missing = missing or absent
    return env, missing


def is_plainly_local(url: str) -> bool:
    """The operator typed this machine's own address; a name could turn out to be anything."""
    return (urlsplit(url).hostname or "") in ("127.0.0.1", "::1", "localhost")
