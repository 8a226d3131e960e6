"""What one upstream is: values that the composition builds from the configuration, secrets resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.domain.asking import DEFAULT_REQUESTS
from gateway.domain.message_rules import MessageRules
from gateway.domain.model import ModelTerms
from gateway.upstream.signature import CallSigner

MEBIBYTE = 1_048_576


@dataclass(frozen=True, slots=True)
class HttpTransport:
    """An MCP server at *url*, of whichever revision."""

    url: str
    # The whole value of the Authorization header ("Bearer ..."), resolved from its reference.
    auth_header_value: str = field(default="", repr=False)
    auth_missing: bool = False  # a reference was configured and gave nothing: refuse, never go bare
    allow_private: bool = False  # the operator's own file names this server: loopback is meant
    ca_file: str = ""  # trust these certificates instead of the system's
    max_connections: int = 64
    signer: CallSigner | None = field(default=None, repr=False)  # of every request to it


@dataclass(frozen=True, slots=True)
class StdioTransport:
    """A child process that speaks MCP over its standard input and output."""

    command: tuple[str, ...]
    # Added to the allow-listed environment (PATH, HOME, LANG, ...); values may be secrets.
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    auth_missing: bool = False  # a reference in env gave nothing


@dataclass(frozen=True, slots=True)
class PythonTransport:
    """The public functions of a Python module, served from a child process of ours."""

    module: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    auth_missing: bool = False


@dataclass(frozen=True, slots=True)
class OpenApiTransport:
    """A REST API, whose *document* says which operations there are."""

    # Its url is the base of all paths; auth_header_value is the bare credential, for the document
    # says which header it goes in.
    api: HttpTransport
    document: HttpTransport | str  # a URL, fetched without a credential; or a path
    writes: bool = False  # also operations that are not GET


@dataclass(frozen=True, slots=True)
class ModelTransport:
    """A provider's API that speaks like OpenAI's, of which one model is offered."""

    api: HttpTransport  # its url is the base: chat/completions and the others are below it
    terms: ModelTerms
    max_result_tokens: int = 4_096  # imposed on a request that asks for no other


@dataclass(frozen=True, slots=True)
class PeerTransport:
    """Another agent that speaks A2A, known by its card."""

    card: HttpTransport  # its credential is for the agent; the card itself is public
    jwks: HttpTransport | str = ""  # who may sign the card: a URL, or a path; "": nobody has to
    rules: MessageRules = field(default_factory=MessageRules)


Transport = (
    HttpTransport
    | StdioTransport
    | PythonTransport
    | OpenApiTransport
    | ModelTransport
    | PeerTransport
)


class Offer(NamedTuple):
    """What the session of one caller is opened with; one that callers share offers nothing."""

    capabilities: bytes  # what the caller can be asked: canonical JSON
    is_handshake: bool  # the caller's era: the server is spoken to in it, if it has both


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One upstream and the bounds it is held to."""

    name: str
    transport: Transport
    timeout_s: float = 60.0  # of one call, from invoke to its last byte
    max_result_bytes: int = 16 * MEBIBYTE  # of one message; more cuts the exchange
    listing_timeout_s: float = 30.0  # of all pages together
    breaker_failures: int = 5  # in a row: then calls fail at once
    breaker_open_s: float = 10.0  # until one call may probe
    start_timeout_s: float = 30.0  # of a child process, until it has negotiated
    per_caller: bool = False  # no two callers share a session with it
    requests: frozenset[str] = DEFAULT_REQUESTS  # what it may ask its callers
