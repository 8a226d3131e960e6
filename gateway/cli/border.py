"""The gateway as a client meets it: JSON-RPC in POSTs to one URL, with one key.

For commands that speak to a gateway as an agent does, perhaps on another machine. Standard library
only, because a client waits for `customhouse bridge` to start.
"""

from __future__ import annotations

import json
import re
import select
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from gateway.domain.operator import OperationRefused, usage

CONNECT_S = 10.0
MAX_MESSAGE_BYTES = 67_108_864
VERSION_META = "io.modelcontextprotocol/protocolVersion"
_CHUNK = 65_536
_STREAM, _JSON = "text/event-stream", "application/json"
_MAX_IDLE = 8
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NAMED_BY = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class Lost(Exception):
    """The gateway did not answer, or not to the end. What it did is not known; nothing is repeated."""


class Border:
    """One gateway. Threads may share it; connections are kept and never shared at one time."""

    def __init__(self, url: str, key: str) -> None:
        """Raises: OperationRefused (usage): *url* is none of a gateway."""
        try:
            parts = urlsplit(url)
            self._port = parts.port
        except ValueError as err:
            raise _no_url(url) from err
        usable = parts.scheme in ("http", "https") and parts.hostname and url.isascii()
        if not usable or parts.username is not None or not url.isprintable() or " " in url:
            raise _no_url(url)
        self.url = url
        self.in_clear = parts.scheme == "http" and parts.hostname not in _LOCAL
        self._scheme, self._host = parts.scheme, str(parts.hostname)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._key = key
        self._idle: list[HTTPConnection] = []
        self._lock = threading.Lock()

    def exchange(self, verb: str, headers: Mapping[str, str], body: bytes | None) -> Exchange:
        """A request that is ready to be sent."""
        said = {"Authorization": f"Bearer {self._key}", **headers}
        if body is not None:
            said |= {"Content-Type": _JSON, "Accept": f"{_JSON}, {_STREAM}"}
        return Exchange(self, (verb, self._path, body, said))

    def take(self) -> HTTPConnection:
        """A connection that is open. Raises: OSError."""
        with self._lock:
            while self._idle:
                kept = self._idle.pop()
                if _is_alive(kept):
                    return kept
                kept.close()
        fresh = self._made()
        fresh.connect()
        # It is waited for as long as a call may take; a peer that is gone is found by probes.
        fresh.auto_open = 0  # it must not be opened again under a request that is sent once
        fresh.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return fresh

    def give_back(self, connection: HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _made(self) -> HTTPConnection:
        if self._scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        return HTTPSConnection(self._host, self._port, timeout=CONNECT_S)


class Exchange:
    """One request and its answer. Another thread may `abort` it at any moment."""

    def __init__(self, border: Border, request: tuple[str, str, bytes | None, Any]) -> None:
        self._border = border
        self._request = request
        self._connection: HTTPConnection | None = None
        self._response: HTTPResponse | None = None
        self._lock = threading.Lock()
        self._unread_bytes = 0  # of one message, however it comes
        self.aborted = False

    def send(self, patience_s: float | None = None) -> int:
        """The status of the answer. With *patience_s*, no part of it may take longer than that.

        Raises: Lost.
        """
        verb, path, body, headers = self._request
        try:
            connection = self._border.take()
            with self._lock:
                self._connection = connection
                if self.aborted:
                    connection.close()
                    raise Lost("it was given up")
            connection.sock.settimeout(patience_s)
            connection.request(verb, path, body=body, headers=headers)
            self._response = connection.getresponse()
        except (OSError, HTTPException) as err:
            self.close()
            raise Lost(f"{self._border.url} does not answer: {_told(err)}") from err
        return self._response.status

    def header(self, name: str) -> str:
        return (self._response.getheader(name) or "") if self._response is not None else ""

    @property
    def kind(self) -> str:
        return self.header("Content-Type").partition(";")[0].strip().lower()

    def messages(self) -> Iterator[bytes]:
        """Each JSON-RPC message of the answer as one line, in order, as it comes. Raises: Lost."""
        try:
            if self.kind == _STREAM:
                for message in _events(self._chunks()):
                    self._unread_bytes = 0
                    yield message
            elif self.kind == _JSON:
                whole = self._joined()
                if whole.strip():
                    yield _one_line(whole)
            else:
                for _ in self._chunks():
                    pass
            self._finish()
        except (OSError, HTTPException, ValueError) as err:
            raise Lost(f"{self._border.url} broke off: {_told(err)}") from err
        finally:
            self.close()  # also when nobody wants the rest

    def whole(self) -> bytes:
        """The whole answer, of whatever kind. Raises: Lost."""
        try:
            return self._joined()
        except (OSError, HTTPException) as err:
            raise Lost(f"{self._border.url} broke off: {_told(err)}") from err
        finally:
            self.close()

    def abort(self) -> None:
        """Give it up: whoever reads it is woken, and the gateway sees the connection end."""
        with self._lock:
            self.aborted = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _joined(self) -> bytes:
        said = bytearray()
        for chunk in self._chunks():
            said += chunk
        return bytes(said)

    def _chunks(self) -> Iterator[bytes]:
        """What comes, as it comes, as long as nobody gathers too much of it. Raises: Lost."""
        response = self._response
        if response is None:
            return
        while chunk := response.read1(_CHUNK):
            self._unread_bytes += len(chunk)
            if self._unread_bytes > MAX_MESSAGE_BYTES:
                raise Lost(f"{self._border.url} sends more than {MAX_MESSAGE_BYTES} bytes at once")
            yield chunk
        if response.length:
            raise Lost(f"{self._border.url} broke off in the middle")

    def _finish(self) -> None:
        """Everything is read: the connection can carry the next request."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.aborted or self._response is None or self._response.will_close:
            connection.close()
        else:
            self._response.close()  # it, not the connection
            self._border.give_back(connection)


def routing(message: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat, for whoever stands between, what a message of the newest era says."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    version = meta.get(VERSION_META) if isinstance(meta, dict) else None
    method = message.get("method")
    if not isinstance(version, str) or not isinstance(method, str) or not isinstance(params, dict):
        return {}
    headers = {"MCP-Protocol-Version": field_value(version), "Mcp-Method": field_value(method)}
    name = params.get(_NAMED_BY.get(method, ""))
    return {**headers, "Mcp-Name": field_value(name)} if isinstance(name, str) else headers


def field_value(text: str) -> str:
    """*text* as a header value that reads back the same, whatever is in it (SEP-2243)."""
    if _PLAIN.fullmatch(text) and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{b64encode(text.encode('utf-8', 'replace')).decode()}?="


def decoded(line: bytes) -> Any:
    """The message in *line*; None when there is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _events(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event that has any. Each byte is looked at once."""
    rest = bytearray()  # of a line whose end has not come
    said = bytearray()  # lines of data of one event
    for chunk in chunks:
        if b"\n" not in chunk:
            rest += chunk
            continue
        *lines, tail = bytes(rest + chunk).split(b"\n")
        rest = bytearray(tail)
        for line in lines:
            if line.startswith(b"data:"):
                said += line[5:] + b"\n"
            elif not line.strip() and said:
                yield _one_line(bytes(said))
                said.clear()


def _one_line(message: bytes) -> bytes:
    """A line break stands between the tokens of JSON only, so a blank says the same."""
    return message.strip().replace(b"\r", b" ").replace(b"\n", b" ")


def _is_alive(connection: HTTPConnection) -> bool:
    """Nothing has come on it since it was kept, not even its end."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)


def _told(err: Exception) -> str:
    return getattr(err, "strerror", None) or str(err) or type(err).__name__


def _no_url(url: str) -> OperationRefused:
    shown = "the URL" if "@" in url else f"{url!a:.80}"  # it may hold a password
    return usage(f"{shown} is not the URL of a gateway", "say --url http://127.0.0.1:8080/mcp")
