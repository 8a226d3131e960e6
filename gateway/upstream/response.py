"""What is known of one HTTP response while it comes: status, framing, and the few fields that count."""

from __future__ import annotations

from gateway.domain import refusal
from gateway.upstream.message import UpstreamFailed, broken
from gateway.upstream.sse import EventReader


class Response:
    """Filled field by field by a connection; complete when its head has ended."""

    __slots__ = (
        "content_length",
        "events",
        "framed",
        "is_json",
        "keep_alive_s",
        "problem",
        "session_id",
        "status",
    )

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget an interim response (1xx): the real one follows, and nothing of this one counts."""
        self.status = 0
        self.problem = ""  # why it cannot be read
        self.is_json = False
        self.events: EventReader | None = None
        self.framed = False  # its end is told by itself, not by the end of the connection
        self.content_length = 0
        self.keep_alive_s: float | None = None
        self.session_id = b""

    def field(self, name: bytes, value: bytes) -> None:
        take = _FIELDS.get(name) or _FIELDS.get(name.lower())
        if take is not None:
            take(self, value)

    def failure(self) -> UpstreamFailed:
        """Why a response of this status, and without a JSON-RPC message, is no answer."""
        if self.status in {401, 403}:
            sentence = f"the upstream refused the gateway's credential (HTTP {self.status})"
            return UpstreamFailed(refusal.UPSTREAM_REFUSED.id, sentence)
        if 300 <= self.status < 400:
            sentence = "redirects are not followed; configure the final URL"
            return broken(f"HTTP {self.status}: {sentence}")
        return broken(f"HTTP {self.status} without a JSON-RPC answer")

    def _content_type(self, value: bytes) -> None:
        essence = value.partition(b";")[0].strip().lower()
        self.is_json = essence == b"application/json"
        self.events = EventReader() if essence == b"text/event-stream" else None

    def _content_length(self, value: bytes) -> None:
        self.framed = True  # a second framing is refused by the parser
        self.content_length = int(value)

    def _transfer_encoding(self, value: bytes) -> None:
        self.framed = True
        if value.strip().lower() != b"chunked":
            self.problem = "the body has an unknown transfer encoding"

    def _content_encoding(self, value: bytes) -> None:
        # We asked for identity. What expands while it is read is a bomb sooner or later.
        if value.strip().lower() != b"identity":
            self.problem = "the body is compressed, which was not asked for"

    def _keep_alive(self, value: bytes) -> None:
        _, found, seconds = value.lower().partition(b"timeout=")
        seconds = seconds.partition(b",")[0].strip()
        if found and seconds.isdigit() and len(seconds) < 6:
            self.keep_alive_s = float(seconds)

    def _session_id(self, value: bytes) -> None:
        self.session_id = value.strip()


_FIELDS = {
    b"content-type": Response._content_type,
    b"content-length": Response._content_length,
    b"transfer-encoding": Response._transfer_encoding,
    b"content-encoding": Response._content_encoding,
    b"keep-alive": Response._keep_alive,
    b"mcp-session-id": Response._session_id,
}
