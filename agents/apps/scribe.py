"""The smallest provider of a model that there can be: what the demo puts behind the border as one.

    python -m agents.apps.scribe 8181        serves http://127.0.0.1:8181/v1/chat/completions

It speaks like OpenAI's API, streams, and says what it used. It knows nothing: its summary of a text
is how the text begins. Whoever asks has to show the key in SCRIBE_KEY.
"""

from __future__ import annotations

import hmac
import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/v1/chat/completions"
KEY_VARIABLE = "SCRIBE_KEY"
MODEL = "scribe-1"
MAX_BODY_BYTES = 1_000_000
FIRST_WORDS = 6
BYTES_A_TOKEN = 4


def summary(text: str) -> list[str]:
    """How *text* begins, in the pieces in which it is streamed."""
    words = text.split()
    more = "..." if len(words) > FIRST_WORDS else ""
    return ["In short:", *(f" {word}" for word in words[:FIRST_WORDS]), *([more] if more else [])]


def usage(prompt: str, answer: str) -> dict[str, int]:
    used, made = (-(-len(text.encode()) // BYTES_A_TOKEN) for text in (prompt, answer))
    return {"prompt_tokens": used, "completion_tokens": made, "total_tokens": used + made}


def events(pieces: list[str], used: dict[str, int] | None) -> Iterator[bytes]:
    """The stream of an answer; *used*: where the client asked for it."""
    about = {"id": "chatcmpl-scribe", "object": "chat.completion.chunk", "created": 0}
    about |= {"model": MODEL}
    for piece in pieces:
        choice = {"index": 0, "delta": {"content": piece}, "finish_reason": None}
        yield _event({**about, "choices": [choice]})
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield _event({**about, "choices": [last]})
    if used is not None:
        yield _event({**about, "choices": [], "usage": used})
    yield b"data: [DONE]\n\n"


def _event(said: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


class _Asked(BaseHTTPRequestHandler):
    """One request; each has a connection of its own."""

    timeout = 30.0

    def do_POST(self) -> None:
        if self.path != PATH:
            self.send_error(404)
        elif not _is_ours(self.headers.get("Authorization", "")):
            self.send_error(401)
        elif (body := self._body()) is None:
            self.send_error(400)
        else:
            self._answer(body)

    def _answer(self, body: dict[str, Any]) -> None:
        prompt = " ".join(str(said.get("content", "")) for said in body.get("messages", ()))
        pieces = summary(prompt)
        used = usage(prompt, "".join(pieces))
        if not body.get("stream"):
            self._whole("".join(pieces), used)
            return
        asked = (body.get("stream_options") or {}).get("include_usage")
        self._head("text/event-stream")
        for event in events(pieces, used if asked else None):
            self.wfile.write(event)
            self.wfile.flush()

    def _body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY_BYTES:
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _whole(self, answer: str, used: dict[str, int]) -> None:
        message = {"role": "assistant", "content": answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        about = {"id": "chatcmpl-scribe", "object": "chat.completion", "created": 0}
        self._head("application/json")
        said = {**about, "model": MODEL, "choices": [choice], "usage": used}
        self.wfile.write(json.dumps(said).encode())

    def _head(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: prompts stay out of logs."""


def _is_ours(authorization: str) -> bool:
    wanted = f"Bearer {os.environ[KEY_VARIABLE]}"
    return hmac.compare_digest(authorization.encode(), wanted.encode())


def main() -> None:
    if not os.environ.get(KEY_VARIABLE) or len(sys.argv) != 2:
        sys.exit(f"usage: {KEY_VARIABLE}=... python -m agents.apps.scribe PORT")
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Asked) as server:
        sys.stdout.write(f"http://127.0.0.1:{server.server_port}/v1\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
