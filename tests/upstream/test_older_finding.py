"""Which revision a URL speaks: whatever a server says to what it does not know."""

from typing import Any

import anyio
import pytest

from gateway.domain.model import Status
from gateway.upstream.message import UpstreamFailed
from tests.fakes import Asked, border, http_response, http_spec
from tests.upstream.older_fakes import FakeOlder, error, forever, says

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the loop of the test says nothing here


UNKNOWN_TO = {
    "a 400 in words": says(b"Bad Request: No valid session ID provided", "400 Bad Request"),
    "a 404": says(b"", "404 Not Found"),
    "a 405": says(b"", "405 Method Not Allowed"),
    "a 406": says(b"", "406 Not Acceptable"),
    "a 422": says(b"Unexpected message, expect initialize request", "422 X"),
    "a crash": says(b"Internal Server Error", "500 Internal Server Error"),
    "a page": says(b"<html>", "200 OK", "text/html"),
    "method not found": error(-32601),
    "method not found, in HTTP as well": error(-32601, "404 Not Found"),
    "invalid params": error(-32602, "400 Bad Request"),
    "a code of its own": error(-32000, "400 Bad Request"),
    "revisions that it has": error(-32022, "400 Bad Request", {"supported": ["2025-06-18"]}),
    "a result that says nothing": lambda asked: asked.answer({}),
    "other revisions": lambda asked: asked.answer({"supportedVersions": ["2025-11-25"]}),
}


@pytest.mark.parametrize("on_discover", UNKNOWN_TO.values(), ids=UNKNOWN_TO.keys())
async def test_a_server_that_does_not_know_discover_is_greeted(on_discover: Any) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = on_discover
        assert (await house.call()).status is Status.OK
        assert (await house.call()).status is Status.OK
    assert len(server.calls("server/discover")) == 1
    assert len(server.calls("initialize")) == 1


async def test_a_server_that_is_silent_to_discover_is_greeted_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream.negotiate_http.PROBE_S", 0.05)
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = forever
        assert (await house.call()).status is Status.OK


async def test_a_server_that_hangs_up_on_discover_is_greeted() -> None:
    async def hang_up(asked: Asked) -> None:
        asked.writer.close()

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = hang_up
        assert (await house.call()).status is Status.OK


async def test_a_server_of_other_revisions_only_is_not_spoken_to() -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = error(-32022, "400 X", {"supported": ["2031-01-01"]})
        outcome = await house.call()
        assert (outcome.code, outcome.sent) == ("upstream_broken", False)
        assert "no protocol revision" in house.events("upstream_failed")[0]["why"]
    assert server.calls("initialize") == []


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_a_refused_credential_says_nothing_of_the_revision(status: str) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = says(b"", status)
        assert (await house.call()).code == "upstream_refused"
    assert len(server.asked) == 1


async def test_what_is_no_mcp_server_at_all_is_said_with_every_attempt() -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = says(b"", "404 Not Found")
        server.on_initialize = says(b"", "404 Not Found")
        with pytest.raises(UpstreamFailed) as failed:
            await house.upstreams.list_definitions("fake")
    why = failed.value.sentence
    assert why.startswith("no MCP server answers at this URL")
    assert why.count("HTTP 404") == 3


GREETINGS = {
    "an unknown revision": {"protocolVersion": "1999-01-01", "capabilities": {}},
    "a revision without a handshake": {"protocolVersion": "2026-07-28", "capabilities": {}},
    "none": {"capabilities": {}},
    "capabilities that are none": {"protocolVersion": "2025-11-25", "capabilities": []},
}


@pytest.mark.parametrize("initialized", GREETINGS.values(), ids=GREETINGS.keys())
async def test_a_greeting_that_cannot_be_understood_opens_nothing(initialized: Any) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.initialized = initialized
        outcome = await house.call()
        assert (outcome.code, outcome.sent) == ("upstream_broken", False)
    assert server.calls() == []


@pytest.mark.parametrize("session_id", ["with space", "caf\u00e9", "x" * 2_000])
async def test_a_session_id_that_a_header_cannot_carry_opens_nothing(session_id: str) -> None:
    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.session_id = session_id
        assert (await house.call()).code == "upstream_broken"
    assert server.calls() == []


async def test_an_initialize_that_hangs_is_cut_at_the_callers_deadline() -> None:
    async with FakeOlder() as server, border(http_spec(server.url, timeout_s=0.2)) as house:
        server.on_initialize = forever
        with anyio.fail_after(2):
            outcome = await house.call()
        assert (outcome.code, outcome.sent) == ("upstream_unreachable", False)


async def test_redirects_are_not_followed() -> None:
    async def away(asked: Asked) -> None:
        location = "Location: http://169.254.169.254/\r\n"
        await asked.send(http_response(b"", status="307 X", extra=location))

    async with FakeOlder() as server, border(http_spec(server.url)) as house:
        server.on_discover = away
        server.on_initialize = away
        assert (await house.call()).code == "upstream_broken"
        assert "redirects are not followed" in house.events("upstream_failed")[0]["why"]
    assert len(server.asked) == 2
