"""The client of the command line, before servers that are no gateway, or a broken one."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import pytest

from gateway.cli.border import Border, Lost, _events, field_value, routing
from gateway.cli.bridge import Bridge
from gateway.domain.operator import OperationRefused

ROOT = Path(__file__).parents[2]
WAIT_S = 5.0
HEAD = "HTTP/1.1 {}\r\nContent-Type: {}\r\n"
LIST = b'{"jsonrpc":"2.0","id":"mine","method":"tools/list"}\n'


@dataclass
class Impostor:
    """Answers each connection with bytes, and keeps what it was asked."""

    answers: list[bytes]
    hold: bool = False  # leave the connection open
    asked: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def serve(self, listener: socket.socket) -> None:
        for answer in self.answers:
            connection, _ = listener.accept()
            connection.settimeout(WAIT_S)
            self.asked.append(connection.recv(65_536))
            connection.sendall(answer)
            if self.hold:
                while connection.recv(65_536):
                    continue
            connection.close()


@contextmanager
def impostor(*answers: bytes, hold: bool = False) -> Iterator[Impostor]:
    one = Impostor([*answers], hold)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        one.port = listener.getsockname()[1]
        thread = threading.Thread(target=one.serve, args=(listener,))
        thread.start()
        yield one
        thread.join(WAIT_S)
        assert not thread.is_alive()


def response(body: bytes, kind: str = "application/json", status: str = "200 OK") -> bytes:
    head = HEAD.format(status, kind) + f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def streamed(*events: bytes, ends: bool = True) -> bytes:
    head = HEAD.format("200 OK", "text/event-stream") + "Transfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
    return head.encode() + chunks + (b"0\r\n\r\n" if ends else b"")


def received(url: str) -> list[bytes]:
    with closing(Border(url, "k")) as border:
        exchange = border.exchange("POST", {}, LIST)
        exchange.send(WAIT_S)
        return list(exchange.messages())


def bridged(url: str, lines: bytes = LIST) -> list[bytes]:
    out = io.BytesIO()
    Bridge(Border(url, "k"), out).run(io.BytesIO(lines))
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("answer", "messages"),
    [
        (response(b'{\n  "a": 1\r\n}\n'), [b'{   "a": 1  }']),
        (response(b""), []),
        (response(b"<html>", "text/html"), []),
        (streamed(b'data: {"a":1}\n\n'), [b'{"a":1}']),
        (streamed(b'data: {"a"', b":1}\r\n", b"\r\n"), [b'{"a":1}']),
        (streamed(b'id: 7\nevent: message\ndata: {"a":\ndata: 1}\n\n'), [b'{"a":  1}']),
        (streamed(b": ping\n\n", b"data: 1\n\ndata: 2\n\n", b"data: 3"), [b"1", b"2"]),
        (streamed(b"data: x\r", b"\n\r\n"), [b"x"]),
    ],
    ids=[
        *("pretty JSON", "nothing", "a page", "an event", "an event in three chunks"),
        *("data on two lines", "several events, and a half one", "a line end cut in two"),
    ],
)
def test_each_message_becomes_one_line(answer: bytes, messages: list[bytes]) -> None:
    with impostor(answer) as server:
        assert received(server.url) == messages


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        response(b'{"a":1}')[:-3],
        streamed(b"data: 1\n\n", ends=False),
    ],
    ids=["silence", "another protocol", "half a message", "half a stream"],
)
def test_what_breaks_off_is_lost_and_not_asked_again(answer: bytes) -> None:
    with impostor(answer) as server:
        with pytest.raises(Lost):
            received(server.url)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        response(b" " * 5_000),
        response(b"x" * 5_000, "text/html"),
        streamed(*[b"data: x\n"] * 700),
        streamed(*[b"data:\n" * 100] * 10),
        streamed(*[b": still here\n\n"] * 400),
        streamed(*[b"x"] * 5_000),
    ],
    ids=["JSON", "a page", "lines of data", "empty lines of data", "comments", "one line"],
)
def test_what_grows_without_being_a_message_is_let_go(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.border.MAX_MESSAGE_BYTES", 4_096)
    with impostor(answer) as server, pytest.raises(Lost, match="more than 4096 bytes"):
        received(server.url)


def test_a_stream_may_be_longer_than_any_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.border.MAX_MESSAGE_BYTES", 4_096)
    with impostor(streamed(*[b"data: %b\n\n" % (b"1" * 1_000)] * 20)) as server:
        assert received(server.url) == [b"1" * 1_000] * 20


def test_an_event_in_pieces_is_gone_through_once() -> None:
    pieces = [b"data: ", *[b"x"] * 40_000, b"\n\n"]
    began_s = process_time()
    [message] = _events(iter(pieces))
    assert len(message) == 40_000
    assert process_time() - began_s < 2.0  # it takes hundredths; each piece gone through again, 8 s


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (response(b"<html>", "text/html", "200 OK"), "ended its answer too early"),
        (response(b"<html>", "text/html", "404 Not Found"), "no gateway at this URL"),
        (response(b"", status="302 Found\r\nLocation: http://127.0.0.1:1/"), "answered 302"),
        (response(b"no", "text/plain", "500 Oops"), "answered 500"),
        (streamed(), "ended its answer too early"),
        (streamed(b'data: {"jsonrpc":"2.0","method":"n/x"}\n\n'), "ended its answer too early"),
        (b"", "does not answer"),
    ],
    ids=[
        *("a page", "not found", "a redirect", "a server that broke", "an empty stream"),
        *("a stream without the answer", "silence"),
    ],
)
def test_every_request_gets_an_answer_of_its_own(answer: bytes, says: str) -> None:
    with impostor(answer) as server:
        *_, last = bridged(server.url)
    error = json.loads(last)
    assert error["id"] == "mine"
    assert says in error["error"]["message"]


def test_the_key_is_sent_to_nobody_a_redirect_names() -> None:
    with impostor(response(b"")) as elsewhere:
        moved = response(b"", status=f"307 Moved\r\nLocation: {elsewhere.url}")
        with impostor(moved) as server:
            bridged(server.url)
        assert elsewhere.asked == []
        received(elsewhere.url)


def test_a_call_that_is_given_up_is_closed_and_leaves_no_answer() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"_meta": meta}}
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    lines = [json.dumps(one).encode() + b"\n" for one in (call, cancel)]
    with impostor(streamed(b": here\n\n", ends=False), hold=True) as server:
        # The impostor's thread ends when the connection does.
        assert bridged(server.url, b"".join(lines)) == []


@pytest.mark.parametrize(
    "url",
    ["", "tools.example", "ftp://x/mcp", "http:///mcp", "http://u:p@x/mcp", "http://x:y/mcp"],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(OperationRefused) as refused:
        Border(url, "k")
    assert "u:p" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "in_clear"),
    [
        ("http://127.0.0.1:1/mcp", False),
        ("http://localhost/mcp", False),
        ("http://tools.example/mcp", True),
        ("https://tools.example/mcp", False),
    ],
)
def test_it_is_known_whether_the_key_travels_in_clear(url: str, in_clear: bool) -> None:
    assert Border(url, "k").in_clear is in_clear


@pytest.mark.parametrize("text", ["a\r\nb", " a", "a ", "\u00fc", "", "=?base64?YQ==?=", "a\x00"])
def test_a_header_value_that_could_mean_something_else_is_encoded(text: str) -> None:
    assert field_value(text).startswith("=?base64?")
    assert "\n" not in field_value(text)


def test_nothing_else_of_the_gateway_speaks_http_with_the_standard_library() -> None:
    """Only upstream opens connections for the gateway; this one is a client of it."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*.py")
        if re.search(
            r"^\s*(from|import) (http\.client|urllib\.request)", path.read_text(), re.MULTILINE
        )
    }
    assert found == {"gateway/cli/border.py"}


def test_only_the_newest_era_is_routed_by_headers() -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    call = {"method": "resources/read", "params": {"uri": "a:b", "_meta": meta}}
    assert routing(call)["Mcp-Name"] == "a:b"
    assert routing({"method": "tools/list", "params": {}}) == {}
    assert routing({"method": 7, "params": {"_meta": meta}}) == {}
