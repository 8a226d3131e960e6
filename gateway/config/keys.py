"""Every key there is: the file has these and no others. At most forty kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from gateway.config import issuers, kinds, terms
from gateway.domain.run import RunLimits

MEBIBYTE = 1_048_576
_DAY_S = 86_400
_DEFAULT_RESULT_TOKENS = 25_000
_DEFAULT_COMPLETION_TOKENS = 4_096


class Key(NamedTuple):
    """How a key is read, and what the file would say if it said nothing (None: really nothing)."""

    parse: kinds.Parse
    default: Any = None


TOP: Mapping[str, Key] = {
    "listen": Key(kinds.listen, "127.0.0.1:8080"),
    "data_dir": Key(kinds.folder, "./data"),
    "keys_dir": Key(kinds.folder, "./keys"),
    "policies": Key(kinds.folder, "./policies"),
    "two_person_policy": Key(kinds.yes_or_no, False),
    "allowed_hosts": Key(kinds.hosts, []),
    "allowed_origins": Key(kinds.origins, []),
    "log_level": Key(kinds.log_level, "info"),
    "public_url": Key(issuers.public_url),  # where it listens, when it is not given
    "runs": Key(terms.runs, asdict(RunLimits())),
}
LIMITS: Mapping[str, Key] = {
    "rate": Key(kinds.rate),
    "budget": Key(kinds.budget),
}
SERVER: Mapping[str, Key] = {
    "command": Key(kinds.command),
    "url": Key(kinds.url),
    "openapi": Key(kinds.openapi),
    "python": Key(kinds.module),
    "env": Key(kinds.environment, {}),
    "cwd": Key(kinds.folder),
    "auth": Key(kinds.reference),
    "tools": Key(kinds.texts, ["*"]),
    "tags": Key(kinds.tags, {}),
    "approve": Key(kinds.approve, "ask"),
    "prefix": Key(kinds.name),  # the server's name, when it is not given
    "timeout_s": Key(kinds.seconds, 60),
    "max_result_tokens": Key(
        kinds.per_tool(1, 10_000_000, _DEFAULT_RESULT_TOKENS), _DEFAULT_RESULT_TOKENS
    ),
    "max_result_bytes": Key(kinds.integer(1024, 1024 * MEBIBYTE), 16 * MEBIBYTE),
    "price": Key(kinds.per_tool(0, terms.MAX_AMOUNT, 0), 0),
    "cache": Key(kinds.per_tool(0, _DAY_S, 0), 0),
    "session": Key(kinds.session, "shared"),
    "requests": Key(kinds.requests, ["elicitation"]),
    "sign": Key(kinds.yes_or_no, False),
}
MODEL: Mapping[str, Key] = {
    "url": Key(kinds.url),
    "auth": SERVER["auth"],
    "model": Key(terms.model),
    "tags": SERVER["tags"],
    "timeout_s": SERVER["timeout_s"],
    "max_result_tokens": Key(kinds.integer(1, 10_000_000), _DEFAULT_COMPLETION_TOKENS),
    "max_result_bytes": SERVER["max_result_bytes"],
    "cache": Key(kinds.integer(0, _DAY_S), 0),
    **LIMITS,
}
PEER: Mapping[str, Key] = {
    "url": Key(kinds.url),
    "jwks": Key(terms.key_set),
    "rules": Key(terms.rules, {}),
    **{
        key: SERVER[key]
        for key in (
            *("auth", "tools", "tags", "approve", "prefix", "timeout_s"),
            *("max_result_tokens", "max_result_bytes", "price"),
        )
    },
    **LIMITS,
}
AGENT: Mapping[str, Key] = {
    "team": Key(kinds.name),
    "tenant": Key(kinds.name),  # its team's tenant, else "default"
    "roles": Key(kinds.names, []),
    "key": Key(kinds.reference),
    "jwks": Key(terms.key_file),
    **LIMITS,
}
TEAM: Mapping[str, Key] = {"tenant": Key(kinds.name), **LIMITS}
TENANT: Mapping[str, Key] = LIMITS
ISSUER: Mapping[str, Key] = {
    "url": Key(issuers.identifier),
    "audience": Key(kinds.text),  # the URL of the endpoint, when it is not given
    "jwks": Key(issuers.key_set),  # what the issuer's metadata says, when it is not given
    "algorithms": Key(issuers.algorithms, ["RS256", "ES256", "EdDSA", "Ed25519"]),
    "roles": Key(issuers.worth, {}),
    "tenant": Key(kinds.name),
    "team": Key(kinds.name),
}
TOOLSET: Mapping[str, Key] = {"tools": Key(kinds.bundle, [])}

SECTIONS: Mapping[str, Mapping[str, Key]] = {
    "servers": SERVER,
    "models": MODEL,
    "peers": PEER,
    "agents": AGENT,
    "issuers": ISSUER,
    "teams": TEAM,
    "tenants": TENANT,
    "toolsets": TOOLSET,
}
