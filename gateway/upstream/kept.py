"""Results that answer twice: of tools that only read, for callers with the same rights, for a while.

A call that is answered from here crosses the border like every other: decided, held, entered. Only
its request is not made.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from gateway.domain.meter import bytes_within
from gateway.domain.model import KEPT, Call, Kind, Outcome, Permit, Principal, Status
from gateway.upstream.anybody import PROGRESS, spelled
from gateway.upstream.message import is_complete

MAX_KEPT_BYTES = 67_108_864
MAX_ONE_BYTES = 1_048_576
_OVERHEAD_BYTES = 512  # of one result, beside its bytes
# What a caller may say beside the arguments and still be answered with what another one got:
# revision and capabilities, which the newest era says there, are in the key; so is whether it wants
# to hear of progress, by a token that is never its own; and the rest is not passed on.
_SAID_ASIDE = frozenset(
    {PROGRESS, "traceparent", "tracestate", "baggage"}
    | {f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientCapabilities")}
    | {"io.modelcontextprotocol/clientInfo"}
)


class _Kept(NamedTuple):
    result: bytes
    text_bytes: int  # of it, what a model would read
    until_s: float  # monotonic


class KeptResults:
    """Bounded by bytes, the longest unused go first. *rights*: equal for who may do the same."""

    def __init__(self, rights: Callable[[Principal], str]) -> None:
        self._rights = rights
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._size_bytes = 0
        self._forgotten: Counter[str] = Counter()  # how often, by server; "" is all of them

    def key(self, call: Call) -> bytes:
        """What calls that may be answered alike have in common from here on, until `forget`.

        b"" for a call that has to be made: its answer may depend on more than is in the key.
        """
        definition = call.definition
        if definition is None or not definition.cache_s or not _may_be_kept(call):
            return b""
        if not call.meta.keys() <= _SAID_ASIDE:
            return b""
        parts = (
            call.method,
            call.server,
            call.name,
            definition.digest,
            self._rights(call.principal),
            call.client.version,
            call.client.capabilities.hex(),
            PROGRESS in call.meta,
            spelled(call),
            self._forgotten[call.server],
            self._forgotten[""],
        )
        return hashlib.sha256(json.dumps(parts).encode()).digest()

    def find(self, key: bytes, permit: Permit) -> Outcome | None:
        """The outcome of an equal call of one with equal rights, when it is young enough."""
        kept = self._kept.get(key)
        if kept is None or kept.until_s <= monotonic():
            return None
        if kept.text_bytes > bytes_within(permit.ceiling_tokens):
            return None
        self._kept.move_to_end(key)
        return Outcome(Status.OK, kept.result, code=KEPT, received_bytes=kept.text_bytes)

    def keep(self, key: bytes, call: Call, outcome: Outcome) -> None:
        """Remember what came of *call*, if it may answer others; *key* is from before it was made."""
        if outcome.status is not Status.OK or len(outcome.result) > MAX_ONE_BYTES:
            return
        if call.definition is None or key != self.key(call):  # it was forgotten meanwhile
            return
        if not is_complete(outcome.result):  # a task, and that is its caller's
            return
        self._drop(key)
        text_bytes = len(outcome.result)
        if outcome.counted is not None:
            text_bytes = bytes_within(outcome.counted.completion)
        until_s = monotonic() + call.definition.cache_s
        self._kept[key] = _Kept(outcome.result, text_bytes, until_s)
        self._size_bytes += len(outcome.result) + _OVERHEAD_BYTES
        while self._size_bytes > MAX_KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def forget(self, server: str) -> None:
        """Answer nothing again that came of *server*: it is, or offers, something else from here on.

        No key finds it any more, nor what is under way now; its room is the next to be taken.
        """
        self._forgotten[server] += 1

    def forget_all(self) -> None:
        """Drop everything: what was erased from the log must not be answered again."""
        self._forgotten[""] += 1
        self._kept.clear()
        self._size_bytes = 0

    def _drop(self, key: bytes) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self._size_bytes -= len(old.result) + _OVERHEAD_BYTES


def _may_be_kept(call: Call) -> bool:
    """Whether equal calls have equal answers, as far as the call itself says."""
    if call.kind is Kind.MODEL:
        return _is_deterministic(call)
    return (
        call.method == "tools/call"
        and call.round == 1
        and call.params.keys() <= {"name", "arguments"}
    )


def _is_deterministic(call: Call) -> bool:
    """An embedding always is; an answer where its caller wants no chance in it, and says so twice."""
    asked = call.arguments
    if call.method == "embeddings":
        return True
    return (
        not asked.get("stream")
        and asked.get("temperature") == 0
        and type(asked.get("temperature")) is not bool
        and type(asked.get("seed")) is int
    )
