"""The peers: how each is started with authentication on, and what it then does for a call.

Each is set up as its documentation says, with what would end the run switched off (a limit of 100
calls a minute, a refusal of loopback) and nothing that does the work of a call. Where a switch is
known that makes it cheaper, it is measured a second time with that.
"""

import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.bench.load import Target

HERE = Path(__file__).parent
SECRET = secrets.token_urlsafe(32)
_HOURS_S = 6 * 3600


@dataclass(frozen=True, slots=True)
class Site:
    """Where one peer is set up: its environment, a folder of its own, a port, and the upstream."""

    environment: Path
    folder: Path
    port: int
    upstream: str


@dataclass(frozen=True, slots=True)
class Start:
    """How a peer is started and asked; *register* tells it of the upstream once it answers."""

    command: tuple[str | Path, ...]
    path: str
    token: str
    tool: str = "echo"
    environ: Mapping[str, str] = field(default_factory=dict)
    register: Callable[[], None] | None = None

    def target(self, name: str, port: int) -> Target:
        """Where the load goes."""
        return Target(name, port, self.path, self.token, self.tool)


@dataclass(frozen=True, slots=True)
class Peer:
    """One line of the table."""

    name: str
    environment: str  # and the file of its requirements
    package: str
    does: str  # for each call, as it is set up here
    start: Callable[[Site], Start]


def _token(**claims: object) -> str:
    now_s = int(time.time())
    said = {"iat": now_s, "exp": now_s + _HOURS_S, **claims}
    return jwt.encode({"alg": "HS256"}, said, OctKey.import_key(SECRET))


def _fastmcp(*how: str) -> Callable[[Site], Start]:
    def start(site: Site) -> Start:
        python, program = site.environment / "bin" / "python", HERE / "fastmcp_proxy.py"
        command = (str(python), str(program), site.upstream, str(site.port), *how)
        token = _token(iss="bench", aud="bench", sub="bench", client_id="bench")
        environ = {"BENCH_SECRET": SECRET, "FASTMCP_CHECK_FOR_UPDATES": "off"}
        return Start(command, "/mcp", token, environ=environ)

    return start


_POLICY = """\
version: 1
audit: {{path: "{folder}/audit.jsonl"}}
upstreams:
  bench: {{transport: http, url: "{upstream}"}}
rate_limits:
  often: {{rate: 1000000, per: 1s}}
policies:
  bench:
    rules:
      - {{effect: deny, tools: ["forbidden_*"]}}
      - {{effect: allow, tools: ["tool_0*", "echo"], rate_limits: [often]}}
tokens:
  - {{name: bench, policy: bench, env: BENCH_SECRET}}
"""


def _policy_gateway(site: Site) -> Start:
    config = site.folder / "policy.yaml"
    config.write_text(_POLICY.format(folder=site.folder, upstream=site.upstream))
    program = site.environment / "bin" / "mcp-policy-gateway"
    command = (program, "run", "-c", config, "--transport", "http", "--port", str(site.port))
    return Start(command, "/mcp", SECRET, environ={"BENCH_SECRET": SECRET})


_ADMIN = "admin@example.com"


def _contextforge(**more: str) -> Callable[[Site], Start]:
    def start(site: Site) -> Start:
        program = site.environment / "bin" / "mcpgateway"
        password = f"{SECRET}-aA1!"
        environ = {
            "DATABASE_URL": f"sqlite:///{site.folder}/contextforge.db",
            "JWT_SECRET_KEY": SECRET,
            "AUTH_ENCRYPTION_SECRET": SECRET,
            "PLATFORM_ADMIN_EMAIL": _ADMIN,
            "PLATFORM_ADMIN_PASSWORD": password,
            "BASIC_AUTH_PASSWORD": password,
            "DEFAULT_USER_PASSWORD": password,
            "MCPGATEWAY_UI_ENABLED": "false",
            "RATE_LIMITING_ENABLED": "false",
            "SSRF_ALLOW_LOCALHOST": "true",
            **more,
        }
        user = {"email": _ADMIN, "full_name": "bench", "is_admin": True, "auth_provider": "cli"}
        token = _token(
            iss="mcpgateway",
            aud="mcpgateway-api",
            sub=_ADMIN,
            username=_ADMIN,
            jti=secrets.token_hex(16),
            user=user,
            teams=None,
        )
        command = (program, "--host", "127.0.0.1", "--port", str(site.port))

        def register() -> None:
            _register(site, token)

        return Start(command, "/mcp", token, "bench-echo", environ, register)

    return start


def _register(site: Site, token: str) -> None:
    """Tell ContextForge of the upstream; it is no fault when it knows.

    Raises: OSError, when it does not take it (yet).
    """
    said = {"name": "bench", "url": site.upstream, "transport": "STREAMABLEHTTP"}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    try:
        connection.request("POST", "/gateways", json.dumps(said), headers)
        answer = connection.getresponse()
        body = answer.read(300)
    except http.client.HTTPException as err:
        raise OSError(f"no answer to a registration: {err!r}") from err
    finally:
        connection.close()
    if answer.status not in (200, 201, 409):
        raise OSError(f"a registration was answered with {answer.status}: {body!r}")


_LITELLM = """\
general_settings: {{master_key: "sk-{secret}"}}
mcp_servers:
  bench: {{url: "{upstream}", transport: http}}
"""


def _litellm(site: Site) -> Start:
    config = site.folder / "litellm.yaml"
    config.write_text(_LITELLM.format(secret=SECRET, upstream=site.upstream))
    program = site.environment / "bin" / "litellm"
    at = ("--host", "127.0.0.1", "--port", str(site.port))
    command = (program, "--config", config, *at, "--telemetry", "False")
    # Otherwise it fetches a list of prices at start.
    environ = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Start(command, "/mcp", f"sk-{SECRET}", "bench-echo", environ)


PEERS = (
    Peer(
        "mcp-policy-gateway",
        "policygw",
        "mcp-policy-gateway",
        "token; the first rule that fits; one token bucket; one line in a hash-chained "
        "file, flushed but not made durable. No budgets",
        _policy_gateway,
    ),
    Peer(
        "FastMCP, one client",
        "fastmcp",
        "fastmcp",
        "JWT. No policy, limits or log. One connected client that all callers share: it warns that "
        "their contexts may mix",
        _fastmcp("kept"),
    ),
    Peer(
        "FastMCP",
        "fastmcp",
        "fastmcp",
        "JWT. No policy, limits or log. `create_proxy(URL)`: a new client for each request",
        _fastmcp(),
    ),
    Peer(
        "ContextForge, stateful",
        "contextforge",
        "mcp-contextforge-gateway",
        "as ContextForge, with `USE_STATEFUL_SESSIONS=true`: upstream sessions are kept",
        _contextforge(USE_STATEFUL_SESSIONS="true"),
    ),
    Peer(
        "ContextForge",
        "contextforge",
        "mcp-contextforge-gateway",
        "JWT, asked as its administrator; visibility and roles from SQLite. Its rate limiter off "
        "(100 calls a minute by default), its audit trail off (the default). No budgets",
        _contextforge(),
    ),
    Peer(
        "LiteLLM",
        "litellm",
        "litellm",
        "master key. Without a database, so no users, budgets or log of what was spent",
        _litellm,
    ),
)
