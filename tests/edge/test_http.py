"""The door: what is let in, what is turned away, and that every no is an entry."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.house import Settings
from gateway.edge.http import CALL_KEYS
from gateway.upstream.signature import CACHE_S
from tests.edge.fakes import Knocker, Line, Response, Stand, modern
from tests.edge.people import ALICE

pytestmark = pytest.mark.anyio


async def _call(alice: Knocker, **headers: str | None) -> Response:
    body, _ = modern(alice, "tools/call", {"name": "time_now"})
    said: dict[str, str | None] = {
        "mcp_protocol_version": "2026-07-28",
        "mcp_method": "tools/call",
        "mcp_name": "time_now",
    }
    return await alice.raw(body, alice.headers(**{**said, **headers}))


@pytest.mark.parametrize(
    ("headers", "status", "refusal"),
    [
        pytest.param({"authorization": None}, 401, "not_authenticated", id="no credential"),
        pytest.param({"authorization": "Bearer x"}, 401, "not_authenticated", id="a wrong key"),
        pytest.param({"x_api_key": "k"}, 400, "conflicting_credentials", id="two credentials"),
        pytest.param({"host": "evil.example"}, 421, "bad_host", id="a rebound name"),
        pytest.param({"origin": "https://evil.example"}, 403, "bad_origin", id="a foreign page"),
        pytest.param({"content_type": "text/plain"}, 415, "unsupported_media", id="a form post"),
        pytest.param({"content_type": None}, 415, "unsupported_media", id="no content type"),
        pytest.param({"content_encoding": "gzip"}, 415, "unsupported_media", id="compressed"),
        pytest.param({"content_length": "99999999"}, 413, "too_large_request", id="announced"),
        pytest.param({"content_length": "-1"}, 413, "too_large_request", id="a negative length"),
    ],
)
async def test_who_is_turned_away_hears_why_and_it_is_an_entry(
    headers: dict[str, str | None], status: int, refusal: str
) -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await _call(alice, **headers)
    assert answer.status == status
    assert answer.json["error"]["data"]["io.customhouse/refusal"]["code"] == refusal
    assert answer.headers["connection"] == "close"
    assert stand.pipeline.refusals == [refusal]
    assert stand.pipeline.governed == []
    _, principal, address, _ = stand.pipeline.refused[0]
    known = refusal in ("unsupported_media", "too_large_request")
    assert principal == (ALICE if known else None)
    assert address == "192.0.2.7"


async def test_401_says_how_to_authenticate() -> None:
    async with Stand().open() as alice:
        answer = await _call(alice, authorization=None)
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_in_the_url_is_refused() -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        answer = await alice.raw(body, headers, query_string=b"access_token=alice-key")
    assert answer.status == 400


async def test_forwarded_and_internal_headers_are_not_believed() -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await _call(
            alice,
            authorization=None,
            x_forwarded_for="127.0.0.1",
            forwarded="for=127.0.0.1",
            x_real_ip="127.0.0.1",
            x_customhouse_principal="alice",
            customhouse_exchange="1",
            x_forwarded_user="alice",
        )
    assert answer.status == 401
    assert stand.pipeline.refused[0][2] == "192.0.2.7"


@pytest.mark.parametrize("chunks", [1, 2, 7])
async def test_a_body_may_come_in_pieces(chunks: int) -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(body, chunks)
        await alice.on(line, headers)
    assert line.response.status == 200


@pytest.mark.parametrize("chunks", [1, 5])
async def test_a_body_that_grows_too_large_is_not_read_to_its_end(chunks: int) -> None:
    stand = Stand(settings=Settings(max_body_bytes=1000))
    async with stand.open() as alice:
        _, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(b" " * 2000, chunks)
        await alice.on(line, headers)
    assert line.response.status == 413


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever() -> None:
    stand = Stand(settings=Settings(watch_after_s=0.0, body_deadline_s=0.01))
    async with stand.open() as alice:
        _, headers = modern(alice, "tools/call", {"name": "time_now"})
        answer = Line(b"")

        async def stalled() -> Any:
            await anyio.sleep_forever()

        with anyio.fail_after(5):
            await stand.border(alice.scope(headers), stalled, answer.send)
    assert answer.response.status == 400
    assert stand.pipeline.refusals == ["malformed"]


async def test_a_body_that_comes_late_is_served_and_its_caller_is_watched() -> None:
    stand = Stand(settings=Settings(watch_after_s=0.0, body_deadline_s=5, liveness_period_s=0.01))
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(body)

        async def late() -> Any:
            if not line.response.chunks:
                await anyio.wait_all_tasks_blocked()
            return await line.receive()

        with anyio.fail_after(5):
            await stand.border(alice.scope(headers), late, line.send)
    assert line.response.status == 200


async def test_a_caller_that_leaves_while_it_sends_gets_no_answer_and_no_entry() -> None:
    stand = Stand()
    async with stand.open() as alice:
        _, headers = modern(alice, "tools/call", {"name": "time_now"})
        line = Line(b"")

        async def gone() -> Any:
            return {"type": "http.disconnect"}

        await stand.border(alice.scope(headers), gone, line.send)
    assert line.response.status == 0
    assert stand.pipeline.refusals == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"jsonrpc":"2.0","id":1,"method":"a","id":2}']
)
@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25", None], ids=str)
async def test_a_malformed_body_is_an_entry_in_either_era(body: bytes, version: str | None) -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.raw(body, alice.headers(mcp_protocol_version=version))
    assert answer.status == 400
    assert answer.error["code"] in (-32700, -32600)
    assert len(stand.pipeline.refusals) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
async def test_the_newest_era_knows_only_post(method: str) -> None:
    async with Stand().open() as alice:
        headers = alice.headers(mcp_protocol_version="2026-07-28")
        answer = await alice.raw(b"", headers, method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["OPTIONS", "PUT"])
async def test_the_older_era_knows_no_other_verbs(method: str) -> None:
    async with Stand().open() as alice:
        answer = await alice.raw(b"", alice.headers(), method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST, DELETE"


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_no_verb_is_a_way_in_without_a_credential(method: str) -> None:
    async with Stand().open() as alice:
        answer = await alice.raw(b"", alice.headers(authorization=None), method=method)
    assert answer.status == 401


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/mcp/", "/mcp/x", "/MCP", "/mcp/t", "/mcp/u/x", "/admin", "//mcp"),
        *("/token", "/token/", "/token/x", "/token/metrics", "/token/token/mcp", "/mcp/token"),
    ],
)
async def test_there_is_nothing_anywhere_else(path: str) -> None:
    async with Stand().open() as alice:
        alice.path = path
        answer = await alice.ask("tools/list")
    assert (answer.status, answer.body) == (404, b"")


async def test_a_log_that_cannot_take_a_refusal_does_not_let_anyone_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(*_: Any) -> str:
        raise Refused(BY_ID["log_unavailable"])

    stand = Stand()
    monkeypatch.setattr(stand.pipeline, "refuse", unavailable)
    async with stand.open() as alice:
        assert (await _call(alice, authorization=None)).status == 401
        assert (await alice.ask("nope")).status == 503


@pytest.mark.parametrize("broken", ["identity.authenticate", "policies.current"])
async def test_a_fault_before_there_is_a_call_says_nothing(
    broken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand = Stand()
    async with stand.open() as alice:
        holder, _, name = broken.partition(".")
        monkeypatch.setattr(getattr(stand, holder), name, _Hunter2())
        answer = await alice.ask("tools/list")
    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert "hunter2" not in capsys.readouterr().out


class _Hunter2:
    """Breaks whatever touches it, with a text that must go nowhere."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("the password is hunter2")

    def __call__(self, *_: Any) -> Any:
        raise RuntimeError("the password is hunter2")


async def test_a_websocket_is_closed_before_it_is_one() -> None:
    line = Line(b"")
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    async with Stand().open() as alice:
        await alice.app({"type": "websocket", "path": "/mcp"}, line.receive, send)
    assert said == [{"type": "websocket.close", "code": 1008}]


async def test_the_lifespan_protocol_opens_and_closes_the_border() -> None:
    stand = Stand()
    to_app, from_app = ["lifespan.startup", "lifespan.shutdown"], []

    async def receive() -> Any:
        return {"type": to_app.pop(0)}

    async def send(message: Any) -> None:
        from_app.append(message["type"])

    with anyio.fail_after(5):
        await stand.border({"type": "lifespan"}, receive, send)
    assert from_app == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


# -- health ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.parametrize("ready", [True, False])
async def test_anyone_may_ask_whether_it_lives_and_hears_one_word(path: str, ready: bool) -> None:
    stand = Stand(ready=ready)
    async with stand.open() as alice:
        alice.path = path
        answer = await alice.raw(b"", [(b"host", b"10.0.0.1")], method="GET")
        assert (await alice.raw(b"", [], method="POST")).status == 405
    yes = ready or path == "/livez"
    assert (answer.status, answer.body) == ((200, b"yes\n") if yes else (503, b"no\n"))
    assert stand.pipeline.refusals == []


async def test_anyone_may_have_the_keys_of_signed_calls_where_there_are_any() -> None:
    stand = Stand()
    async with stand.open() as alice:
        alice.path = CALL_KEYS
        assert (await alice.raw(b"", [], method="GET")).status == 404
        stand.call_keys = b'{"keys":[]}'
        answer = await alice.raw(b"", [(b"host", b"10.0.0.1")], method="GET")
        assert (await alice.raw(b"", [], method="POST")).status == 405
    assert (answer.status, answer.json) == (200, {"keys": []})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == f"public, max-age={CACHE_S}"
    assert stand.pipeline.refusals == []


async def test_figures_are_for_those_that_policy_lets_read_them() -> None:
    stand = Stand()
    async with stand.open() as alice:
        alice.path = "/metrics"
        answer = await alice.raw(b"", alice.headers(), method="GET")
        assert (answer.status, answer.body) == (200, b"calls_total 3\n")
        assert answer.headers["content-type"].startswith("text/plain")
        [call] = stand.pipeline.entered
        assert (call.kind, call.name, call.act) == ("admin", "metrics", "read")

        assert (await alice.raw(b"", alice.headers(authorization=None), method="GET")).status == 401
        assert (await alice.raw(b"", alice.headers(), method="POST")).status == 405
        stand.pipeline.refusing = lambda _: Refused(BY_ID["forbidden"])
        refused = await alice.raw(b"", alice.headers(), method="GET")
    assert refused.status == 404
    assert b"calls_total" not in refused.body


async def test_the_address_of_an_unknown_connection_is_empty() -> None:
    stand = Stand()
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        nobody = [pair for pair in headers if pair[0] != b"authorization"]
        await alice.raw(body, nobody, client=None)
        assert json.loads(body)["method"] == "tools/call"
    assert stand.pipeline.refused[0][2] == ""
