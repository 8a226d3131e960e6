"""What the composition root hands to the edge: the few things it may ask of the rest of the house."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.domain.asking import Ask
from gateway.domain.catalogue import Catalogue
from gateway.domain.model import (
    Call,
    Decision,
    Definition,
    Outcome,
    Principal,
    Relay,
    Reply,
    Settlement,
    Stream,
)
from gateway.domain.refusal import Refusal, Refused
from gateway.domain.toolset import Toolset
from gateway.edge.api.desk import Desk
from gateway.edge.asks import Respondent
from gateway.edge.outlet import Counter, Outlet

if TYPE_CHECKING:  # it costs an import that a gateway without issuers need not make
    from gateway.edge.a2a.tasks import Tasks
    from gateway.edge.approvals.elicit import Elicitation
    from gateway.edge.oauth.resource import OAuth

Clock = Callable[[], int]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
LOOPBACK_ORIGINS = ("http://127.0.0.1", "http://localhost", "http://[::1]")


class Pipeline(Protocol):
    """The one way from a parsed call to its end. Every method may raise Refused, already logged."""

    async def govern(
        self,
        call: Call,
        relay: Relay,
        caller: Respondent | None = None,
        admitted: Callable[[Call], None] = ...,
    ) -> Reply:
        """FULL: both commits are durable when this returns. *caller*: whom the upstream may ask.

        *admitted* is told of the call as the log knows it, before anything is sent.
        """
        ...

    async def attend(self, call: Call, stream: Stream) -> Settlement:
        """FULL, of what no upstream answers: *stream* runs between the two commits."""
        ...

    async def question(self, call: Call, ask: Ask, caller: Respondent) -> Outcome:
        """What *caller* says to what the server of *call* asks: FULL, a call of its own under it."""
        ...

    async def enter(self, call: Call) -> None:
        """SINGLE: decided, rated, and its one entry is durable when this returns."""
        ...

    async def rate(self, call: Call) -> None:
        """FREE: rated, never written singly."""
        ...

    async def refuse(
        self, refusal: Refusal, principal: Principal | None, address: str, method: str
    ) -> str:
        """Log a refusal for which no call exists, and return the call id it is known by."""
        ...


class Snapshot(Protocol):
    @property
    def version(self) -> str: ...

    def visible(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        """Those the principal may see in lists, in their order."""
        ...

    def visible_to_role(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        """As `visible`, and the subject may be a role: what the rules alone say."""
        ...


class Policies(Protocol):
    @property
    def current(self) -> Snapshot: ...

    def decide(self, call: Call) -> Decision:
        """What the policy in force says of a call that is under way; `govern` asks by itself."""
        ...


class Identity(Protocol):
    def authenticate(self, token: str, now_us: int) -> Principal | None:
        """Who the credential proves, or None. In memory: called on every request."""
        ...

    def is_live(self, principal: Principal, now_us: int) -> bool:
        """Whether what was accepted of *principal* still is; asked while a request is open.

        Judged by what the principal carries: nothing that others do can make it forgotten.
        """
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of the door. A host or origin without a port stands for every port of it."""

    version: str = "0"
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    allowed_origins: tuple[str, ...] = LOOPBACK_ORIGINS
    max_body_bytes: int = 4 * 1024 * 1024
    body_deadline_s: float = 30.0
    watch_after_s: float = 0.05  # callers that leave earlier are noticed when they are answered
    liveness_period_s: float = 0.5  # how soon a revoked credential ends an open request
    ping_period_s: float = 15.0
    session_idle_s: float = 1800.0
    max_sessions: int = 10_000
    max_sessions_per_principal: int = 64  # over all endpoints
    max_streams_per_principal: int = 16
    stream_s: float = 3600.0  # then whoever listens asks again
    max_list_bytes: int = 16 * 1024 * 1024  # of the cache of list answers
    # Methods that do not take the way through the SDK.
    fast: frozenset[str] = frozenset({"tools/call", "tools/list", "subscriptions/listen"})


@dataclass(frozen=True, slots=True)
class House:
    """Everything the edge stands on; nothing in it is the edge's own."""

    pipeline: Pipeline
    policies: Policies
    catalogue: Callable[[], Catalogue]
    identity: Identity
    state_key: bytes = field(repr=False)  # 32 bytes: seals requestState
    clock: Clock = field(repr=False)
    toolsets: Mapping[str, Toolset] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    is_draining: Callable[[], bool] = lambda: False
    # Whether somebody stopped it: of a principal, a run ("": none) and a server ("": none).
    is_stopped: Callable[[Principal, str, str], bool] = lambda _who, _run, _server: False
    # Whether the parent that a call names is a call of the same run.
    is_caused: Callable[[Call], bool] = lambda _call: False
    # Whether nothing is known against calling a server now: else another one may be better.
    is_well: Callable[[str], bool] = lambda _server: True
    elicitation: Elicitation | None = None  # None: nobody can approve anything
    outlets: tuple[Outlet, ...] = ()  # what is behind the same door beside MCP
    counters: tuple[Counter, ...] = ()  # what sees to its own credentials
    peer_tasks: Tasks | None = None  # whose tasks are whose; None: there are no peers
    render_metrics: Callable[[], bytes] = lambda: b""
    # By which servers verify signed calls; None: no calls are signed.
    call_keys: Callable[[], bytes | None] = lambda: None
    oauth: OAuth | None = None  # None: there are no issuers, and tokens are nothing
    desk: Desk | None = None  # None: there is no administration over HTTP

    def told(self, refused: Refused) -> Refused:
        """The same, with what only its caller is told: where to ask for an approval, or why it was denied."""
        return self.elicitation.told(refused) if self.elicitation is not None else refused
