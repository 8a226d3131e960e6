"""Entries of the log: one struct for each kind, and the canonical bytes that are hashed.

Canonical is JSON with sorted keys, no spaces, integers only, absent fields left out, and strings
of printable ASCII without quotes and backslashes. For example

    {"digest":"9f86d081884c7d65","i":20000,"k":"counters","t":1795392000000000,"v":1}

so any JSON library, now or in ten years, writes the same bytes again. Nothing in an entry is free
text: names, messages, arguments and results stay in the encrypted side table, and an entry holds
pseudonyms, codes, digests and commitments.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.audit.grammar import MAX_BODY_BYTES
from gateway.domain.model import Act, Amounts, Kind, Status

Whole = Annotated[int, msgspec.Meta(ge=0, lt=10**16)]  # 16 digits: times until the year 2286
RuleIndex = Annotated[int, msgspec.Meta(ge=-1, lt=10**16)]  # -1: no rule matched

LimitHeld = tuple[str, str, str, Whole]  # account, meter, window, limit

Subject = Annotated[str, msgspec.Meta(pattern=r"\Ao[0-9a-f]{16}\Z")]  # pseudonym of an object
RowDigest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class BadEntry(ValueError):
    """Not a canonical entry: nothing that `encode` writes."""


class _Common(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
    tag_field="k",
):
    """What every entry has: leaf index, time in microseconds, version of the format."""

    i: Whole
    t: Whole
    # A factory, because a plain default would be left out of the bytes.
    v: Literal[1] = msgspec.field(default_factory=lambda: 1)


class Predecessor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The log that this one continues after its loss was accepted; *root* in hex."""

    log: str
    size: Whole
    root: str


class Open(_Common, frozen=True, kw_only=True, tag="open"):
    """A process took up the log; the first entry of every log is one."""

    log: str  # 32 hex: the random id of the log
    key: str  # of the signing key: vkey name and hash
    meter: str  # estimator of tokens from here on
    prior: Predecessor | None = msgspec.field(name="from", default=None)


class Close(_Common, frozen=True, kw_only=True, tag="close"):
    """A process left the log in good order, with nothing in flight."""


class Intent(_Common, frozen=True, kw_only=True, tag="intent"):
    """A call was allowed and its ceiling is held; durable before the upstream is touched."""

    call: str
    round: Whole
    who: str
    tenant: str
    cred: str
    method: str
    kind: Kind
    act: Act
    acc: tuple[str, ...]  # accounts on which the hold lies: tenant, team, agent, tool
    args: str  # commitment
    rule: RuleIndex
    policy: str
    hold: Amounts
    limits: tuple[LimitHeld, ...]
    meter: str
    parent: str = ""
    team: str = ""
    actors: tuple[str, ...] = ()
    server: str = ""
    definition: str = msgspec.field(name="def", default="")  # digest
    conds: dict[str, bool] = {}
    trace: str = ""
    run: str = ""  # pseudonym of what the call is part of
    chain: tuple[str, ...] = ()  # pseudonyms of the tokens it was delegated by, nearest first
    approval: str = ""  # the one that this call used up
    key: str = ""  # digest of its idempotency key
    # Always true and always written: whoever reads one line alone need not know what intents are.
    allow: bool = msgspec.field(default_factory=lambda: True)


class Outcome(_Common, frozen=True, kw_only=True, tag="outcome"):
    """A permitted call ended: *used* is charged, the rest of its hold released."""

    call: str
    intent: Whole  # leaf index
    status: Status
    bytes: Whole
    used: Amounts
    ms: Whole
    code: str = ""
    count: Whole = 0  # of a subscription: notifications
    result: str = ""  # commitment
    said: tuple[Whole, ...] = ()  # tokens of prompt and completion, as a model's provider reports
    by: Literal["", "recovery", "drain"] = ""  # who settled it, when its own task did not


class Single(_Common, frozen=True, kw_only=True, tag="single"):
    """A call that the gateway answered itself, in one entry."""

    call: str
    who: str
    tenant: str
    cred: str
    method: str
    kind: Kind
    act: Act
    policy: str
    acc: tuple[str, ...]
    team: str = ""
    server: str = ""
    count: Whole = 0  # of the things listed
    actors: tuple[str, ...] = ()
    run: str = ""
    chain: tuple[str, ...] = ()
    replays: Whole = 0  # leaf of the intent whose outcome was given again; 0: of none


class Refused(_Common, frozen=True, kw_only=True, tag="refused"):
    """A request was refused; which fields are there depends on how far it came."""

    call: str
    code: str  # id of the refusal
    who: str = ""
    tenant: str = ""
    team: str = ""
    cred: str = ""
    address: str = ""  # pseudonym
    method: str = ""
    server: str = ""
    kind: Kind | None = None
    act: Act | None = None
    acc: tuple[str, ...] = ()
    args: str = ""  # commitment
    rule: RuleIndex = -1
    conds: dict[str, bool] = {}
    policy: str = ""
    run: str = ""
    actors: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()
    detail: dict[str, Whole | str] = {}


class Folded(_Common, frozen=True, kw_only=True, tag="folded"):
    """Many refusals of one principal or address, counted."""

    codes: dict[str, Whole]  # refusal id -> how many
    first: Whole  # microseconds
    last: Whole  # microseconds
    count: Whole
    digest: str
    who: str = ""
    address: str = ""


class Counters(_Common, frozen=True, kw_only=True, tag="counters"):
    """The digest of all purses, as a fold over every earlier entry gives them."""

    digest: str


class Recovery(_Common, frozen=True, kw_only=True, tag="recovery"):
    """The tail was read again and the counters rebuilt; orphans are closed after this."""

    reason: str
    tail: Whole  # size of the log as found


class Erased(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What was destroyed beside the log, in the commit of this entry."""

    names: tuple[str, ...]  # pseudonyms: nobody can say any more for whom they stand
    payloads: Whole  # how many
    before: Whole  # no entry before this leaf has a payload any more; 0: nothing is said of others


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """The log's signing key hands over to another: see `gateway.audit.rotation`."""

    old: str  # verifier keys, whole
    next: str
    signatures: tuple[str, str]  # by the old key and by the next one, base64


class Change(_Common, frozen=True, kw_only=True, tag="change"):
    """An act of administration, or something noticed: *what* names it, e.g. `policy.apply`."""

    what: str
    author: str  # pseudonym
    subject: str = ""  # pseudonym
    digest: str = ""
    prior: str = ""  # digest before
    note: str = ""  # commitment
    rows: dict[Subject, RowDigest] = {}  # of the rows written with it: gateway.audit.backing
    erased: Erased | None = None
    rotation: Rotation | None = None


Entry = Open | Close | Intent | Outcome | Single | Refused | Folded | Counters | Recovery | Change

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Entry, strict=True)


def encode(entry: Entry) -> bytes:
    """Return the canonical bytes of *entry*.

    Raises: BadEntry: a string is not plain (printable ASCII, no quote, no backslash), or the
    whole is longer than MAX_BODY_BYTES. Both are faults of the caller.
    """
    body = _encoder.encode(entry)
    # Quotes, backslashes and control characters come out as escapes, so all begin with one byte.
    if b"\\" in body or b"\x7f" in body or not body.isascii():
        raise BadEntry(f"a string in the {type(entry).__name__} entry is not plain ASCII")
    if len(body) > MAX_BODY_BYTES:
        raise BadEntry(f"an entry of {len(body)} bytes; at most {MAX_BODY_BYTES} are allowed")
    return body


def decode(body: bytes) -> Entry:
    """Return the entry that `encode` wrote as *body*.

    Raises: BadEntry: not an entry, or not in the bytes that `encode` gives it.
    """
    try:
        entry: Entry = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise BadEntry(f"not an entry: {err}") from err
    if encode(entry) != body:
        raise BadEntry("an entry in other bytes than its canonical ones")
    if isinstance(entry, Intent) and not entry.allow:
        raise BadEntry("an intent that was not allowed")
    return entry
