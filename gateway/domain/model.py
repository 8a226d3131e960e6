"""The nouns of the border. Every value is frozen and complete when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from gateway.domain.revocation import WITH

MODERN_VERSION = "2026-07-28"
KEY_OF_API = "api:"  # how the id of a key begins that was made over the API


class Kind(StrEnum):
    """What a call acts on: the first segment of an object name in policy."""

    TOOL = "tool"
    RESOURCE = "resource"
    TEMPLATE = "template"
    PROMPT = "prompt"
    SERVER = "server"
    ADMIN = "admin"
    MODEL = "model"
    PEER = "peer"  # a skill of another agent


class Act(StrEnum):
    CALL = "call"
    LIST = "list"
    READ = "read"
    GET = "get"
    COMPLETE = "complete"
    SUBSCRIBE = "subscribe"
    ADMIN = "admin"


class CallClass(StrEnum):
    """How much of the journey is written down (DESIGN, one path for every method)."""

    FULL = "full"  # intent before, outcome after
    SINGLE = "single"  # one entry: cached lists, initialize, discover
    FREE = "free"  # authenticated and rated, never logged singly


@dataclass(frozen=True, slots=True)
class Token:
    """What of a token has to hold for as long as something is open that it opened."""

    issuer: str
    key: str  # thumbprint of the key that signed it
    ends_us: int
    issued_us: int  # 0 where it does not say
    id: str  # under which it alone can be revoked; "" when it has none
    names: tuple[str, ...]  # under which all that somebody has can be


@dataclass(frozen=True, slots=True)
class Grant:
    """The most that one token of the gateway lets its bearer do: one link of a delegation.

    Narrower than the link before it, when it was made; it is measured against all the same.
    """

    # jti of the token. Whoever comes with the next one for the same is the same principal.
    id: str = field(compare=False)
    objects: tuple[
        str, ...
    ] = ()  # names as in policy, "*" only at the end; (): whatever policy lets
    budget: tuple[tuple[str, int], ...] = ()  # meter -> amount, over the life of the token


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as a credential proved it. `actors` is the delegation chain, nearest first.

    `corp/alice` is a subject of the tokens of issuer corp; names of agents and roles have no slash.
    """

    tenant: str
    subject: str
    team: str = ""
    # Those that the credential itself proves. What an agent holds is bound in the policy.
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    actors: tuple[str, ...] = ()
    # Id of the key, never the key; of a token `corp/CLIENT#` and what is its own. Whoever comes
    # with another of them is the same principal.
    credential: str = field(default="", compare=False)
    token: Token | None = field(default=None, compare=False, repr=False)  # None: it was a key
    grants: tuple[
        Grant, ...
    ] = ()  # of its token and of all those this one came from, nearest first
    run: str = ""  # to which its token is bound; "": it may name any

    @property
    def was_handed_out(self) -> bool:
        """Whether somebody else saw the credential first: whoever made it over the API."""
        if self.token is None:
            return self.credential.startswith(KEY_OF_API)
        # So is a token of ours that was obtained with such a key, and all that came from it.
        return any(name.startswith(WITH + KEY_OF_API) for name in self.token.names)

    @property
    def credential_named(self) -> str:
        """What entries call the credential: all tokens of one client alike, for they are many."""
        return self.credential.rpartition("#")[0] or self.credential


class Approval(StrEnum):
    """Where a definition stands: only APPROVED ones can be called or are listed."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What a model is called by its provider, and what it costs and holds."""

    id: str  # as the provider calls it
    size: str = ""  # small | medium | large: callers may name a size instead of a model
    context_tokens: int = 128_000  # prompt and answer together
    prompt_micros: int = 0  # per million tokens
    completion_micros: int = 0  # per million tokens
    underreport_percent: int = (
        50  # a provider that says so much less than we counted is not believed
    )


_MODEL = Kind.MODEL.value


def object_name(kind: str, server: str, name: str) -> str:
    """What policy, entries and accounts call an object."""
    if kind == _MODEL:
        return f"{_MODEL}/{name}"
    return "/".join((kind, server, name))  # formatting a member of an enum costs three times that


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool, prompt, resource, template or server, pinned by the digest of its canonical body."""

    server: str
    kind: Kind
    name: str  # the server's own: of a tool or prompt, a URI or its template; "": the server itself
    wire_name: str  # as /mcp calls it
    body: bytes  # canonical JSON of the definition as the server listed it
    digest: str  # SHA-256 of body, hex
    approval: Approval
    reason: str = ""  # why it is not approved, one sentence for the person who reviews
    tags: frozenset[str] = frozenset()
    price_micros: int = 0  # per call, integer micro-units of the house currency
    max_result_tokens: int = 25_000
    cache_s: int = 0  # how long a result may answer equal calls; 0: never
    terms: ModelTerms | None = None  # of a model
    # None when the arguments are valid, else one sentence (what, where); compiled once.
    validate: Callable[[Mapping[str, Any]], str | None] | None = field(
        default=None, compare=False, repr=False
    )

    @property
    def object(self) -> str:
        return object_name(self.kind, self.server, self.name)


@dataclass(frozen=True, slots=True)
class Client:
    """What the calling MCP client declared: revision, capabilities and identity, raw JSON."""

    version: str = MODERN_VERSION
    capabilities: bytes = b"{}"
    info: bytes = b""

    @property
    def modern(self) -> bool:
        return self.version == MODERN_VERSION


@dataclass(frozen=True, slots=True)
class Call:
    """One request of one principal, parsed and named; nothing about it is decided yet."""

    id: str
    principal: Principal
    method: str
    kind: Kind
    server: str  # "" when the gateway itself answers
    name: str  # as the server knows it; "*" for lists
    act: Act
    weight: CallClass
    params: Mapping[str, bytes] = field(default_factory=dict)  # raw, as sent on, without _meta
    arguments: Mapping[str, Any] = field(default_factory=dict)  # params.arguments, decoded
    meta: Mapping[str, bytes] = field(default_factory=dict)  # caller's _meta, raw values
    client: Client = Client()
    definition: Definition | None = None
    trace: str = ""  # W3C traceparent, never trusted for decisions
    parent: str = ""  # call id of the call that caused this one
    round: int = 1  # 2.. for the later rounds of one multi-round call
    run: str = ""  # what this call is part of, together with others; "": of nothing
    key: str = ""  # idempotency: the same call under the same key has one effect

    @property
    def object(self) -> str:
        return object_name(self.kind, self.server, self.name)

    def keyless(self) -> Call:
        """The same call, which is made whether it was made before or not."""
        return replace(self, key="") if self.key else self


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    NEEDS = "needs"  # allowed when somebody approves it


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy said of a call, and under which version of it."""

    verdict: Verdict
    policy_version: str
    rule: int = -1  # index of the deciding p-rule in that version; -1: none matched
    conditions: tuple[tuple[str, bool], ...] = ()  # every condition looked at, with its value
    visible: bool = False  # the caller may see the object in lists: the refusal may say why
    unmet: tuple[str, ...] = ()  # of a visible denial: conditions that would have to hold, by name
    approvals: tuple[tuple[str, ...], ...] = ()  # of NEEDS: any of these sets of roles is enough

    def approved(self) -> Decision:
        """The same decision, where whoever had to approve the call did so before."""
        return replace(self, verdict=Verdict.ALLOW)


@dataclass(frozen=True, slots=True)
class Amounts:
    """One amount per meter. Cost is in integer micro-units."""

    tokens: int = 0
    calls: int = 0
    cost: int = 0


class Permit(NamedTuple):
    """Proof that commit A is durable. Only store/ledger.py makes one."""

    call: Call
    leaf: int  # index of the intent in the log
    held: Amounts
    accounts: tuple[str, ...]  # pseudonyms: tenant, team, agent, tool
    argument_tokens: int
    ceiling_tokens: int  # of the result; upstreams withhold a larger one
    approval: str = ""  # id of the one that was used up


class Status(StrEnum):
    """How the call at the upstream ended."""

    OK = "ok"
    INPUT_REQUIRED = "input_required"
    TOOL_ERROR = "tool_error"  # a result with isError true
    RPC_ERROR = "rpc_error"  # the upstream answered with a JSON-RPC error
    FAILED = "failed"  # dead, unreachable, broken answer, deadline, breaker open
    TOO_LARGE = "too_large"  # withheld: above the ceiling
    CANCELLED = "cancelled"  # the caller left after the request was sent
    NOT_SENT = "not_sent"  # nothing reached the upstream
    UNKNOWN = "unknown"  # a crash or drain hid the end


class Usage(NamedTuple):
    """Tokens of one model call, as its provider reports them."""

    prompt: int
    completion: int


UNDERREPORTED = "underreported"  # code: the provider said far less than we counted, and that counts
KEPT = "kept"  # code of an OK outcome that repeats an earlier result: the upstream was not asked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a permitted call. A failure is an outcome, not an exception."""

    status: Status
    result: bytes = b""  # raw JSON of `result` as the upstream made it
    error: bytes = b""  # raw JSON of `error` (RPC_ERROR)
    code: str = ""  # a row of domain/refusal.py; of a model also http_ and a status
    received_bytes: int = 0  # everything relayed or received, also when withheld
    upstream_s: float = 0.0
    sent: bool = True  # False: the upstream was never touched, nothing is owed
    count: int = 0  # of a subscription: notifications
    usage: Usage | None = None  # of a model whose provider says
    counted: Usage | None = None  # of a model: our own count of the same, by text and not by bytes

    def underreported(self) -> Outcome:
        """The same outcome, of a provider that is not believed."""
        return replace(self, code=UNDERREPORTED)


class Settlement(NamedTuple):
    """Commit B: what was charged, and what the tightest budget has left (None: no limit)."""

    leaf: int
    charged: Amounts
    left: Mapping[str, int]  # "tokens/day" -> left, tightest level


class Replayed(NamedTuple):
    """An earlier call under the same idempotency key, and what came of it: nothing is called."""

    call: Call  # with the id of the earlier call
    outcome: Outcome
    settlement: Settlement


class Reply(NamedTuple):
    """What the edge turns into the final frame."""

    call: Call
    outcome: Outcome
    settlement: Settlement
    is_replay: bool = False  # of an earlier call, under the same idempotency key


class Relay(Protocol):
    """Where frames go that a call's upstream sends before its result.

    Called by connectors only, in order, between the start and the end of `invoke`.
    """

    async def notify(self, frame: bytes) -> None:
        """Pass on one JSON-RPC notification, raw; the progress token is already the caller's."""
        ...


class Stream(Protocol):
    """What the gateway itself tells a caller for as long as that listens."""

    async def run(self) -> None:
        """Until it is over. Called once, when the intent of its call is durable."""
        ...

    def outcome(self) -> Outcome:
        """What came of it; asked once, when `run` has ended in whichever way."""
        ...
