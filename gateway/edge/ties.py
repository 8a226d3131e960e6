"""What a caller says a request belongs to: its run, the call that caused it, and its own key.

    Customhouse-Run: 01JDB52Y-7Q2M     or  _meta {"io.customhouse/run":"01JDB52Y-7Q2M"}
                                           _meta {"io.customhouse/call":"01JDB52Y0092J3WF17R8ZRH502"}
    Idempotency-Key: 7b0c...           or  _meta {"io.customhouse/idempotency-key":"7b0c..."}

    traceparent: 00-0af7...-b7ad...-01  or  _meta {"traceparent":"00-0af7...-b7ad...-01"}

"new" as a run makes one; its id comes back in the header Customhouse-Run. Together with a key it is
made of that, so that a repetition names the same run. A token that is bound to a run can name no other.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from gateway.domain.model import Principal
from gateway.domain.refusal import bad_params
from gateway.domain.run import NEW_RUN, is_run_id, run_of_key
from gateway.edge.head import Head
from gateway.edge.line import Headers

RUN_HEADER, KEY_HEADER = b"customhouse-run", b"idempotency-key"
TRACE_HEADER = b"traceparent"
RUN_META = "io.customhouse/run"
PARENT_META = "io.customhouse/call"
KEY_META = "io.customhouse/idempotency-key"
MAX_KEY_CHARS = 255
_CALL_ID_CHARS = 26
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Ties(NamedTuple):
    run: str = ""
    parent: str = ""  # as the caller says: it counts where that call is known, and of the same run
    key: str = ""
    trace: str = ""  # W3C traceparent, passed on and never believed
    is_new: bool = False  # the run was made for this request, or for its key

    def under(self, key: str, principal: Principal, runs: NewRuns) -> Ties:
        """The same, where *key* is that of the call: a run that is new is made of it."""
        if not self.is_new or not key:
            return self
        return self._replace(run=runs.of(principal, key))


class NewRuns:
    """Names the runs that keys begin. *secret*: the state key; *clock*: microseconds."""

    def __init__(self, secret: bytes, clock: Callable[[], int]) -> None:
        self._secret = secret
        self._clock = clock

    def of(self, principal: Principal, key: str) -> str:
        return run_of_key(self._secret, principal, key, self._clock())

    def reseal(self, secret: bytes) -> None:
        """Name them otherwise from here on."""
        self._secret = secret


NO_TIES = Ties()
_HEADERS = frozenset({RUN_HEADER, KEY_HEADER, TRACE_HEADER})
_METAS = frozenset({RUN_META, PARENT_META, KEY_META, TRACE_HEADER.decode()})


def ties_of(head: Head, meta: Mapping[str, bytes], principal: Principal, runs: NewRuns) -> Ties:
    """Raises: Refused: BAD_PARAMS: one of them cannot be, or two places say different things."""
    if _METAS.isdisjoint(meta) and _HEADERS.isdisjoint(head.values) and not principal.run:
        return NO_TIES
    trace = trace_named(_text(meta.get(TRACE_HEADER.decode())), head)
    run = _one(head, RUN_HEADER, meta, RUN_META)
    key = _one(head, KEY_HEADER, meta, KEY_META)
    if not (run or key or principal.run):
        return Ties(trace=trace) if trace else NO_TIES
    if len(key) > MAX_KEY_CHARS:
        raise bad_params(f"an idempotency key has at most {MAX_KEY_CHARS} characters")
    is_new = run == NEW_RUN
    run = run_named(run, principal)
    parent = call_named(_said(meta, PARENT_META)) if run else ""
    return Ties(run, parent, key, trace, is_new).under(key, principal, runs)


def tell_run(headers: Headers, run: str) -> None:
    """Make *headers* tell of *run*, and of no other; "" is none."""
    others = [one for one in headers if one[0] != RUN_HEADER]
    headers[:] = [*others, (RUN_HEADER, run.encode("ascii"))] if run else others


def run_named(name: str, principal: Principal) -> str:
    """The run that *principal* means by *name*; "" for none. Raises: Refused: BAD_PARAMS."""
    if principal.run:
        if name not in ("", principal.run):
            raise bad_params("the token is bound to another run")
        return principal.run
    if name == NEW_RUN:
        return f"run-{secrets.token_hex(16)}"
    if name and not is_run_id(name):
        raise bad_params("a run is named by 8 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return name


def call_named(name: str) -> str:
    """A call id, or nothing: what is none says nothing."""
    return name if len(name) == _CALL_ID_CHARS and name.isalnum() and name.isascii() else ""


def trace_named(said: str, head: Head) -> str:
    """The traceparent in the message, else that of the header; what is none says nothing."""
    trace = said or head.values.get(TRACE_HEADER, b"").decode("latin-1")
    return trace if is_trace(trace) else ""


def is_trace(said: object) -> bool:
    return isinstance(said, str) and _TRACEPARENT.fullmatch(said) is not None


def traced(head: Head) -> str:
    """The traceparent of a request that is not MCP's."""
    return trace_named("", head) if TRACE_HEADER not in head.repeated else ""


def _one(head: Head, header: bytes, meta: Mapping[str, bytes], member: str) -> str:
    said = _said(meta, member)
    raw = head.values.get(header)
    if raw is None:
        return said
    told = raw.decode("latin-1").strip()
    if header in head.repeated or (said and said != told):
        raise bad_params(f"the header {header.decode()} and {member} in _meta do not say the same")
    if not (told.isascii() and told.isprintable()):
        raise bad_params(f"the header {header.decode()} is not plain ASCII")
    return told


def _text(raw: bytes | None) -> str:
    """What a trace says: one that is odd is none, and no reason to refuse."""
    if raw is None:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        return ""


def _said(meta: Mapping[str, bytes], member: str) -> str:
    raw = meta.get(member)
    if raw is None:
        return ""
    try:
        said = msgspec.json.decode(raw, type=str)
    except msgspec.MsgspecError:
        raise bad_params(f"{member} in _meta must be a string") from None
    if not (said.isascii() and said.isprintable()):
        raise bad_params(f"{member} in _meta is not plain ASCII")
    return said
