"""Memory and time that somebody without a credential, or with a small one, would like to have."""

import base64
import contextlib
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.attacks.conftest import KEYS, TESTER, Border
from tests.journey.process import headers, modern

pytestmark = pytest.mark.slow

HEAD = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def resident_mb(border: Border) -> int:
    lines = Path(f"/proc/{border.process.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


def connect(border: Border) -> socket.socket:
    target = urlsplit(border.url)
    return socket.create_connection((target.hostname, target.port or 80), 20)


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (HEAD + b"X-A: ", b"a" * 1_000_000),
        (HEAD, b"x: y\r\n" * 100_000),
        (b"GET /", b"a" * 1_000_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"a" * 1_000_000),
        (b"", b"\r\n" * 500_000),
        (b"", b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20_000),
    ],
    ids=["a header", "lines", "a path", "a trailer", "empty lines", "requests"],
)
def test_a_stranger_cannot_fill_the_memory(border: Border, begun: bytes, piece: bytes) -> None:
    before_mb = resident_mb(border)
    sent = 0
    with connect(border) as stranger, contextlib.suppress(ConnectionError):
        stranger.sendall(begun)
        for _ in range(60):
            stranger.sendall(piece)
            sent += len(piece)
    assert sent < 60 * len(piece), "the connection was not cut"
    assert resident_mb(border) - before_mb < 20
    assert "content" in border.call("pipe_act", {"mark": "after-a-stranger"})["result"]


def test_a_head_that_takes_too_long_is_not_waited_for(border: Border) -> None:
    with connect(border) as stranger:
        stranger.sendall(HEAD)
        assert stranger.recv(100).startswith(b"HTTP/1.1 408")


def test_a_million_values_are_refused_as_a_sentence(border: Border) -> None:
    inner = b"[" + (b"[" * 55 + b"]" * 55 + b",") * 30_000 + b"1]"
    good = modern("tools/call", {"name": "pipe_act", "arguments": {"mark": "wide"}})
    response = border.post(good.replace(b'{"mark": "wide"}', b'{"mark": %b}' % inner))
    assert response.status_code == 413
    assert "objects and lists" in response.json()["error"]["message"]
    assert "wide" not in border.effects()


def test_nothing_large_travels_beside_the_arguments(border: Border) -> None:
    beside = {"com.example/args": {"body": "x" * 1_000_000}}
    params = {"name": "pipe_act", "arguments": {"mark": "beside"}, "_meta": beside}
    response = border.post(modern("tools/call", params))
    assert response.json()["error"]["code"] == -32602
    assert "beside" not in border.effects()


def test_a_cursor_of_brackets_is_a_cursor_that_is_none(border: Border) -> None:
    cursor = base64.urlsafe_b64encode(b"[" * 200_000).decode()
    response = border.post(
        modern("tools/list", {"cursor": cursor}), headers("tools/list", "", TESTER)
    )
    assert response.status_code == 400
    told = response.json()["error"]["data"]["io.customhouse/refusal"]
    assert told["code"] == "bad_cursor"


def test_one_caller_has_so_many_sessions_and_no_more_wherever_it_opens_them(
    border: Border,
) -> None:
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    said = {
        "Authorization": f"Bearer {KEYS['poor']}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
    }
    paths = ["/mcp", "/mcp/s/pipe", "/mcp/s/rogue"]
    answers = [border.post(body.encode(), said, paths[n % 3]) for n in range(80)]
    opened = [answer for answer in answers if "mcp-session-id" in answer.headers]
    assert len(opened) == 64
    assert {answer.status_code for answer in answers} == {200, 429}
