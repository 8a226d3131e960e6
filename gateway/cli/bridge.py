"""customhouse bridge: a gateway for clients that can only start a program.

Lines on standard input go to the gateway as they are, its messages come out as lines. Both eras:
what an HTTP client would say in headers, sessions and closed connections is said here for it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from gateway.cli.border import Border, Exchange, Lost, decoded, routing
from gateway.cli.escape import visible
from gateway.cli.invocation import Invocation, common
from gateway.cli.reaching import border_of, reaching
from gateway.cli.session import PATIENCE_S, Session, is_lost, received

MAX_OPEN = 256  # requests at one time
GRACE_S = 1.0  # for what is under way when the client is gone
_FAILED = -32603
Message = Mapping[str, Any]


@click.command()
@reaching
@common
def bridge(on: Invocation, key: str, place: Mapping[str, str | None]) -> None:
    """Speak MCP on standard input and output, and relay it to the gateway.

    \b
    CUSTOMHOUSE_KEY=... customhouse bridge --url https://tools.example.com/mcp
    customhouse bridge --server docs --key file:~/.customhouse.key

    For clients that can only start a program, such as Claude Desktop; `customhouse connect` writes
    the entry for it. It ends when its input does.
    """
    Bridge(border_of(on, place, key), sys.stdout.buffer).run(sys.stdin.buffer)


@dataclass(slots=True)
class Call:
    """One request of the client, until it is answered or given up."""

    line: bytes
    message: Message
    exchange: Exchange
    is_older: bool  # it belongs to a session
    answered: bool = False

    @property
    def key(self) -> str:
        return json.dumps(self.message.get("id"))


class Bridge:
    """One client on a pair of pipes. `run` reads; each request has a thread that waits for it."""

    def __init__(self, border: Border, out: BinaryIO) -> None:
        self._border = border
        self._out = out
        self._writing = threading.Lock()
        self._over = False
        self._calls: dict[str, Call] = {}
        self._threads: list[threading.Thread] = []
        self._session = Session(border, self._write)

    def run(self, lines: BinaryIO) -> None:
        """Relay until *lines* end, or nobody reads what comes out."""
        for line in lines:
            if self._over:
                break
            if line.strip():
                self._take(line.strip())
        until_s = time.monotonic() + GRACE_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        with self._writing:
            self._over = True
        self._session.end()
        self._border.close()

    def _take(self, line: bytes) -> None:
        found = decoded(line)
        message: Message = found if isinstance(found, dict) else {}
        is_notification = "method" in message and "id" not in message
        is_answer = "method" not in message and ("result" in message or "error" in message)
        if is_notification or is_answer:
            self._tell(line, message)
        else:  # of what is no message, too, the gateway says what is wrong with it
            self._begin(line, message)

    # -- requests -----------------------------------------------------------------------------

    def _begin(self, line: bytes, message: Message) -> None:
        headers = routing(message)
        is_older = not headers and message.get("method") != "initialize"
        exchange = self._border.exchange("POST", headers, line)
        call = Call(line, message, exchange, is_older)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= MAX_OPEN:
            self._fail(call, f"more than {MAX_OPEN} requests are open")
            return
        self._calls[call.key] = call  # before it is sent: the next line may cancel it
        thread = threading.Thread(target=self._carry, args=(call,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _carry(self, call: Call) -> None:
        why = "the gateway ended its answer too early"
        try:
            for line in self._messages(call):
                self._relay(call, line)
        except Lost as err:
            why = str(err)
        if self._calls.get(call.key) is call:
            del self._calls[call.key]
        if not call.answered and not call.exchange.aborted:
            self._fail(call, why)

    def _messages(self, call: Call) -> Iterator[bytes]:
        """What the gateway says to a request. Raises: Lost.

        One of a session that it has lost was not looked at: it is sent again in a new one.
        """
        if not call.is_older:
            yield from received(call.exchange)
            return
        stale = self._session.id
        lines = received(self._session.post(call.line))
        first = next(lines, None)
        if first is not None and stale and is_lost(first) and self._session.renew(stale):
            lines = received(self._session.post(call.line))
            first = next(lines, None)
        if first is not None:
            yield first
            yield from lines

    def _relay(self, call: Call, line: bytes) -> None:
        said = decoded(line)
        if isinstance(said, dict) and "method" not in said:
            call.answered = True
            if call.message.get("method") == "initialize":
                self._session.open(call.line, call.exchange, said)
            if said.get("id") is None and "id" in call.message:
                # Refused before it was read; the client waits for the id of its own.
                line = json.dumps({**said, "id": call.message["id"]}).encode()
        if not call.exchange.aborted:
            self._write(line)

    # -- everything else ----------------------------------------------------------------------

    def _tell(self, line: bytes, message: Message) -> None:
        """Pass on what has no answer, in its order: the next line may build on it."""
        method, params = message.get("method"), message.get("params")
        if method == "notifications/cancelled" and isinstance(params, dict):
            call = self._calls.get(json.dumps(params.get("requestId")))
            if call is not None and not call.is_older:
                call.exchange.abort()  # over HTTP, that is how the newest era says it
                return
        headers = routing(message)
        exchange = self._border.exchange("POST", headers, line) if headers else None
        try:
            for refusal in received(exchange or self._session.post(line), PATIENCE_S):
                _remark(f"{method or 'an answer'} was refused: {_why(refusal)}")
        except Lost as err:
            _remark(f"{method or 'an answer'} did not arrive: {err}")
        else:
            if method == "notifications/initialized":
                self._session.listen()

    def _fail(self, call: Call, why: str) -> None:
        if "id" not in call.message:
            _remark(why)
            return
        error = {"code": _FAILED, "message": f"customhouse bridge: {why}"}
        said = {"jsonrpc": "2.0", "id": call.message["id"], "error": error}
        self._write(json.dumps(said).encode())

    def _write(self, line: bytes) -> None:
        with self._writing:
            if self._over:
                return
            try:
                self._out.write(line + b"\n")
                self._out.flush()
            except (OSError, ValueError):
                self._over = True  # nobody reads any more


def _why(refusal: bytes) -> str:
    said = decoded(refusal)
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message", ""))[:200] if isinstance(error, dict) else "it says nothing"


def _remark(text: str) -> None:
    """For whoever reads the client's log of its servers."""
    click.echo(f"customhouse bridge: {visible(text)}", err=True)
