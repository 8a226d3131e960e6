"""Host, Origin, Accept and Mcp-Name as they come."""

from __future__ import annotations

import base64

import pytest

from gateway.domain.refusal import Refused
from gateway.edge.head import Door, accepted, decode_name, is_json, read_head
from gateway.edge.house import LOOPBACK_HOSTS, LOOPBACK_ORIGINS

LOOPBACK = Door(LOOPBACK_HOSTS, LOOPBACK_ORIGINS)


def _knock(door: Door, *headers: tuple[bytes, bytes]) -> str:
    try:
        door.check(read_head(headers))
    except Refused as refused:
        return refused.refusal.id
    return "in"


@pytest.mark.parametrize("host", [b"127.0.0.1:8080", b"localhost", b"LocalHost:1", b"[::1]:8080"])
def test_loopback_names_are_answered_at_any_port(host: bytes) -> None:
    assert _knock(LOOPBACK, (b"host", host)) == "in"


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"evil.example", id="a rebound name"),
        pytest.param(b"evil.example:8080", id="a rebound name with the port"),
        pytest.param(b"127.0.0.1.evil.example", id="a name that begins like loopback"),
        pytest.param(b"127.0.0.1:8080:80", id="two ports"),
        pytest.param(b"127.0.0.1:", id="no port after the colon"),
        pytest.param(b"localhost:80@evil.example", id="userinfo"),
        pytest.param(b"", id="empty"),
    ],
)
def test_other_hosts_are_not(host: bytes) -> None:
    assert _knock(LOOPBACK, (b"host", host)) == "bad_host"


def test_a_request_without_host_or_with_two_is_not_answered() -> None:
    assert _knock(LOOPBACK) == "bad_host"
    assert _knock(LOOPBACK, (b"host", b"localhost"), (b"host", b"localhost")) == "bad_host"


@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        (b"http://localhost:3000", "in"),
        (b"http://127.0.0.1", "in"),
        (b"https://localhost", "bad_origin"),
        (b"https://evil.example", "bad_origin"),
        (b"http://localhost.evil.example", "bad_origin"),
        (b"null", "bad_origin"),
        (b"", "bad_origin"),
    ],
)
def test_pages_are_answered_only_from_origins_that_are_allowed(origin: bytes, answer: str) -> None:
    assert _knock(LOOPBACK, (b"host", b"localhost"), (b"origin", origin)) == answer


def test_two_origins_are_refused_though_both_are_allowed() -> None:
    twice = (b"origin", b"http://localhost")
    assert _knock(LOOPBACK, (b"host", b"localhost"), twice, twice) == "bad_origin"


def test_configured_names_may_fix_the_port_or_stand_for_all() -> None:
    door = Door(("tools.example:443", "*.not-a-glob"), ("https://ui.example",))
    assert _knock(door, (b"host", b"tools.example:443")) == "in"
    assert _knock(door, (b"host", b"tools.example:80")) == "bad_host"
    assert _knock(door, (b"host", b"a.not-a-glob")) == "bad_host"
    assert _knock(Door(("*",), ()), (b"host", b"anything")) == "in"


@pytest.mark.parametrize(
    ("accept", "can"),
    [
        (b"application/json, text/event-stream", (True, True)),
        (b"application/json", (True, False)),
        (b"TEXT/Event-Stream;q=0.9", (False, True)),
        (b"*/*", (True, True)),
        (b"application/*", (True, False)),
        (b"text/html", (False, False)),
        (b"", (False, False)),
    ],
)
def test_accept_says_what_the_caller_can_read(accept: bytes, can: tuple[bool, bool]) -> None:
    found = accepted(accept)
    assert (found.json, found.stream) == can


def test_several_accept_lines_are_one_list() -> None:
    head = read_head([(b"accept", b"application/json"), (b"accept", b"text/event-stream")])
    assert accepted(head.values[b"accept"]).stream
    assert accepted(head.values[b"accept"]).json


def test_only_json_is_json() -> None:
    assert is_json(b"application/json; charset=utf-8")
    assert not is_json(b"text/plain")
    assert not is_json(b"application/json-patch+json")


@pytest.mark.parametrize("name", ["plain", "with space", "über", " edge ", "=?base64?x?="])
def test_a_name_is_read_back_from_its_base64_form(name: str) -> None:
    wrapped = b"=?base64?" + base64.b64encode(name.encode()) + b"?="
    assert decode_name(wrapped) == name


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"=?base64?!!!?=", id="not base64"),
        pytest.param(b"=?base64?YQ?=", id="without padding"),
        pytest.param(b"=?base64?YR==?=", id="not canonical"),
        pytest.param(b"=?base64?/w==?=", id="not UTF-8"),
    ],
)
def test_a_damaged_form_names_nothing(value: bytes) -> None:
    assert decode_name(value) is None
