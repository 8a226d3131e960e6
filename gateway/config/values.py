"""The configuration as frozen values, complete and checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from gateway.domain.asking import DEFAULT_REQUESTS
from gateway.domain.budget import Limits
from gateway.domain.model import ModelTerms
from gateway.domain.run import RunLimits
from gateway.domain.toolset import Toolset

PEER_PREFIX = "a2a_"  # before the prefix of a peer, on the wire
PerTool = tuple[tuple[str, int], ...]
"""(glob, number) in order: the first that matches a tool holds. The last glob is always "*"."""


def of_tool(per_tool: PerTool, tool: str) -> int:
    return next(number for glob, number in per_tool if fnmatchcase(tool, glob))


class Approve(StrEnum):
    """What happens to a definition that is seen for the first time."""

    ASK = "ask"  # a person approves it
    FIRST_SEEN = "first-seen"  # it is approved as it is; later changes are quarantined all the same


class Sharing(StrEnum):
    """Whose a session with a server is."""

    SHARED = "shared"  # of all callers: the server can ask nobody anything
    PER_CALLER = "per-caller"


@dataclass(frozen=True, slots=True)
class Listen:
    host: str
    port: int  # 0: any free one

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class OpenApi:
    """The document that says which operations there are below the server's URL."""

    document: str  # a path or a URL
    writes: bool = False  # also operations that are not GET


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server: exactly one of *command*, *url* and *python* is set."""

    prefix: str
    max_result_tokens: PerTool
    price: PerTool  # integer micro-units per call
    cache: PerTool  # seconds for which a result of a tool that only reads answers equal calls
    max_result_bytes: int
    timeout_s: float
    command: tuple[str, ...] = ()
    url: str = ""
    python: str = ""  # the module, without "python:"
    env: Mapping[str, str] = field(default_factory=dict)  # name -> value or reference
    cwd: Path | None = None
    openapi: OpenApi | None = None  # *url* is not an MCP server: its operations become tools
    auth: str = ""  # a reference; goes out as a bearer token
    tools: tuple[str, ...] = ("*",)  # globs of the tools that are taken in
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()  # glob -> tags; all that match add up
    approve: Approve = Approve.ASK
    session: Sharing = Sharing.SHARED
    requests: frozenset[str] = DEFAULT_REQUESTS  # what it may ask its callers
    sign: bool = False  # each request to it says, signed, which call it carries
    limits: Limits | None = None  # of each of its tools, per tenant

    @property
    def references(self) -> tuple[str, ...]:
        """Where secrets may be referred to."""
        return (self.auth, *self.env.values())


@dataclass(frozen=True, slots=True)
class Model:
    """One model of a provider that speaks like OpenAI's."""

    url: str  # below it are chat/completions and the others
    terms: ModelTerms
    max_result_tokens: int  # imposed on a request that asks for no other
    cache: int  # seconds for which the answer to a deterministic request answers equal ones
    max_result_bytes: int
    timeout_s: float
    auth: str = ""  # a reference; goes out as a bearer token
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limits: Limits | None = None  # per tenant
    sign: ClassVar[bool] = False

    @property
    def references(self) -> tuple[str, ...]:
        return (self.auth,)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a message to a peer is held to before it is delivered."""

    max_bytes: int = 65_536  # 0: as many as of any request
    depth: int = 4  # agents that it may have come through; 0: any number
    data: tuple[str, ...] = ()  # classes of data that may go there; (): of whichever
    skills: tuple[str, ...] = ("*",)  # globs of those that may be asked
    schema: Path | None = None  # JSON Schema of its data


@dataclass(frozen=True, slots=True)
class Peer:
    """One agent that speaks A2A, by the URL of its card."""

    url: str
    prefix: str
    max_result_tokens: PerTool
    price: PerTool
    max_result_bytes: int
    timeout_s: float
    auth: str = ""
    jwks: str = ""  # file:PATH or a URL: the card is signed by one of these keys
    rules: Rules = Rules()
    tools: tuple[str, ...] = ("*",)  # globs of the skills that are taken in
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    approve: Approve = Approve.ASK
    limits: Limits | None = None  # of each of its skills, per tenant
    sign: ClassVar[bool] = False

    @property
    def references(self) -> tuple[str, ...]:
        return (self.auth,)


Upstream = Server | Model | Peer


@dataclass(frozen=True, slots=True)
class Agent:
    tenant: str
    team: str = ""
    roles: tuple[str, ...] = ()
    key: str = ""  # a reference; "" when its keys are issued by command
    jwks: str = ""  # file:PATH of its public keys, with which it can prove itself
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens that are believed here, and what those are worth."""

    url: str  # its identifier, to the letter
    algorithms: tuple[str, ...]
    roles: tuple[tuple[str, str, str], ...]  # claim, value of it, the role that this gives
    tenant: str
    team: str = ""
    audience: str = ""  # whom its tokens must be for; "" for the URL of the endpoint
    jwks: str = ""  # where its keys are; "" for where its metadata says


@dataclass(frozen=True, slots=True)
class Team:
    tenant: str
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    limits: Limits | None = None


class Setting(NamedTuple):
    """One effective value: what `config show` prints. Secrets appear as their references."""

    key: str  # servers.docs.url
    value: str  # as TOML
    origin: str  # default | customhouse.toml:12 | CUSTOMHOUSE__SERVERS__DOCS__URL


@dataclass(frozen=True, slots=True)
class Config:
    listen: Listen
    data_dir: Path
    keys_dir: Path
    policies: Path
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    log_level: Literal["debug", "info", "warning", "error"]
    servers: Mapping[str, Server]
    agents: Mapping[str, Agent]
    teams: Mapping[str, Team]
    tenants: Mapping[str, Tenant]
    toolsets: Mapping[str, Toolset]
    issuers: Mapping[str, Issuer] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    runs: RunLimits = field(default_factory=RunLimits)  # of each run
    public_url: str = ""  # of this gateway as clients see it; "" for where it listens
    two_person_policy: bool = False  # what one person proposes, another one has to approve
    file: Path | None = None
    warnings: tuple[str, ...] = ()  # worth a person's look, not worth staying closed
    settings: tuple[Setting, ...] = ()

    @property
    def upstreams(self) -> dict[str, Upstream]:
        """All that is declared to be behind the border; no two have one name."""
        return {**self.servers, **self.models, **self.peers}

    @property
    def proved_roles(self) -> frozenset[str]:
        """The roles that tokens give: no agent is called like one of them."""
        return frozenset(role for one in self.issuers.values() for *_, role in one.roles)

    @property
    def signs_as(self) -> str:
        """Whom signed calls are from, and where their keys are; "" when nobody could say."""
        if self.public_url:
            return self.public_url
        can_be_reached = self.listen.is_loopback and self.listen.port
        return f"http://{self.listen}" if can_be_reached else ""

    def show(self) -> tuple[Setting, ...]:
        """Every effective value with where it came from, in the order of the file format."""
        return self.settings
