"""Budgets and rates under concurrency, and callers that vanish."""

import concurrent.futures
import http.client
import socket
from urllib.parse import urlsplit

import pytest

from tests.attacks.conftest import KEYS, TESTER, Border
from tests.journey.process import headers, modern

pytestmark = pytest.mark.slow


def test_two_hundred_concurrent_calls_on_a_budget_for_a_hundred(border: Border) -> None:
    def one(number: int) -> str:
        body = modern("tools/call", {"name": "pipe_act", "arguments": {"mark": f"poor-{number}"}})
        host = urlsplit(border.url)
        assert host.hostname is not None
        connection = http.client.HTTPConnection(host.hostname, host.port, timeout=60)
        connection.request("POST", "/mcp", body, headers("tools/call", "pipe_act", KEYS["poor"]))
        answer = connection.getresponse().read()
        connection.close()
        return "over_budget" if b"over_budget" in answer else "ok"

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        ends = list(pool.map(one, range(200)))
    assert ends.count("ok") == 100
    assert ends.count("over_budget") == 100
    assert sum(mark.startswith("poor-") for mark in border.effects()) == 100


def test_a_refusal_says_how_much_is_left_and_when_to_come_back(border: Border) -> None:
    for _ in range(5):
        assert "content" in border.call("pipe_act", {"mark": "hasty"}, "hasty")["result"]
    refused = border.call("pipe_act", {"mark": "too-hasty"}, "hasty")["result"]
    told = refused["_meta"]["io.customhouse/refusal"]
    assert told["code"] == "rate_limited"
    assert 0 < told["retry_after_ms"] <= 3_600_000
    assert "too-hasty" not in border.effects()


def send_and_leave(border: Border, body: bytes, read: int, tool: str = "pipe_act") -> None:
    """Send *body*, read *read* bytes of the answer, and reset the connection."""
    target = urlsplit(border.url)
    said = "".join(f"{k}: {v}\r\n" for k, v in headers("tools/call", tool, TESTER).items())
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {target.netloc}\r\n{said}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((target.hostname, target.port or 80), 10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.sendall(head.encode() + body)
        if read:
            connection.recv(read)


@pytest.mark.parametrize("wait_ms", [0, 300], ids=["quick call", "slow call"])
@pytest.mark.parametrize("read", [0, 1], ids=["before the answer", "in the answer"])
def test_callers_that_vanish_lose_nothing_but_their_answer(
    border: Border, wait_ms: int, read: int
) -> None:
    for number in range(10):
        mark = f"vanish-{wait_ms}-{read}-{number}"
        arguments = {"mark": mark, "wait_ms": wait_ms}
        body = modern("tools/call", {"name": "pipe_act", "arguments": arguments})
        send_and_leave(border, body, read)
    assert "content" in border.call("pipe_act", {"mark": "still-here"})["result"]


def test_callers_that_vanish_while_their_outcome_is_written_leave_a_log_that_opens(
    border: Border,
) -> None:
    # The stream is cut as soon as its first frame arrives: the outcome is just being settled.
    def one(number: int) -> None:
        wanted = {
            "name": "rogue_stream",
            "arguments": {"mark": f"cut-{number}"},
            "_meta": {"progressToken": number},
        }
        send_and_leave(border, modern("tools/call", wanted), 400, "rogue_stream")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(96)))
    assert "content" in border.call("rogue_stream", {"mark": "after-the-cuts"})["result"]
    # That the house drains, verifies and settles each call once is asserted when it closes.


def test_a_caller_that_vanishes_in_its_own_request_calls_nothing(border: Border) -> None:
    body = modern("tools/call", {"name": "pipe_act", "arguments": {"mark": "half-a-request"}})
    target = urlsplit(border.url)
    said = "".join(f"{k}: {v}\r\n" for k, v in headers("tools/call", "pipe_act", TESTER).items())
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {target.netloc}\r\n{said}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((target.hostname, target.port or 80), 10) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])
    border.call("pipe_act", {"mark": "after-half"})
    assert "half-a-request" not in border.effects()
