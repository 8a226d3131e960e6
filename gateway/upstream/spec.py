"""What one upstream is: values that the composition builds from the configuration, secrets resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MEBIBYTE = 1_048_576


@dataclass(frozen=True, slots=True)
class HttpTransport:
    """A Streamable HTTP server (2026-07-28) at *url*."""

    url: str
    # The whole value of the Authorization header ("Bearer ..."), resolved from its reference.
    auth_header_value: str = field(default="", repr=False)
    auth_missing: bool = False  # a reference was configured and gave nothing: refuse, never go bare
    allow_private: bool = False  # the operator's own file names this server: loopback is meant
    ca_file: str = ""  # trust these certificates instead of the system's
    max_connections: int = 64


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


Transport = HttpTransport | StdioTransport | PythonTransport


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
