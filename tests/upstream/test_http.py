"""A call to a Streamable HTTP server: what is sent, what comes back, what is passed on."""

import asyncio
import base64
import json
import socket
import threading
from dataclasses import replace

import anyio
import pytest

from gateway.domain.model import Client, Status
from gateway.upstream.exchange import Interrupted
from gateway.upstream.fetch import parse_target
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.spec import HttpTransport, ServerSpec
from tests.fakes import (
    Asked,
    Collected,
    FakeUpstream,
    border,
    chunk,
    http_response,
    http_spec,
    make_call,
    make_definition,
    make_permit,
    with_params,
)

pytestmark = pytest.mark.anyio


async def test_a_call_is_one_request_that_says_the_same_in_headers_and_body() -> None:
    client = Client(capabilities=b'{"elicitation":{}}', info=b'{"name":"agent","version":"1"}')
    call = replace(make_call(arguments={"a": [1, 2.50]}), client=client, trace="00-ab-cd-01")
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        outcome = await house.call(call)
    assert outcome.status is Status.OK
    assert json.loads(outcome.result)["content"][0]["text"] == '{"a": [1, 2.5]}'
    (asked,) = server.asked
    assert asked.head == "POST /mcp HTTP/1.1"
    assert asked.headers["mcp-protocol-version"] == "2026-07-28"
    assert asked.headers["mcp-method"] == asked.body["method"] == "tools/call"
    assert asked.headers["mcp-name"] == asked.params["name"] == "echo"
    assert asked.headers["accept-encoding"] == "identity"
    assert asked.headers["authorization"] == "Bearer of-the-gateway"
    assert asked.params["_meta"] == {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "io.modelcontextprotocol/clientInfo": {"name": "agent", "version": "1"},
        "traceparent": "00-ab-cd-01",
    }


async def test_the_name_that_policy_judged_is_sent_whatever_the_params_say() -> None:
    call = replace(make_call(name="echo"), params={"name": b'"rm"', "arguments": b"{}"})
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        await house.call(call)
    assert server.asked[0].params["name"] == "echo"
    assert server.asked[0].headers["mcp-name"] == "echo"


async def test_the_callers_own_meta_passes_and_reserved_keys_do_not() -> None:
    meta = {
        "vendor/key": {"x": 1},
        "io.customhouse/call": "forged",
        "io.modelcontextprotocol/protocolVersion": "1999-01-01",
        "io.modelcontextprotocol/logLevel": "debug",
    }
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        await house.call(make_call(meta=meta))
    assert server.asked[0].params["_meta"] == {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/logLevel": "debug",
        "vendor/key": {"x": 1},
    }


@pytest.mark.parametrize(
    "name",
    ["caf\u00e9", "a\r\nAuthorization: Bearer x", " edge ", "=?base64?YQ==?=", "tab\there", "\x7f"],
)
async def test_a_name_that_a_header_cannot_carry_is_wrapped(name: str) -> None:
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        outcome = await house.call(make_call(name=name))
    assert outcome.status is Status.OK
    wrapped = server.asked[0].headers["mcp-name"]
    assert wrapped.startswith("=?base64?")
    assert base64.b64decode(wrapped[9:-2]).decode() == name == server.asked[0].params["name"]


async def test_arguments_that_the_schema_marks_are_mirrored_as_headers() -> None:
    schema = {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            "absent": {"type": "string", "x-mcp-header": "Absent"},
            "in": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        },
    }
    body = json.dumps({"name": "echo", "inputSchema": schema}).encode()
    arguments = {"region": "z\u00fcrich\r\nX: y", "dry": True, "in": {"n": 7}}
    call = make_call(arguments=arguments, definition=make_definition(body))
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        await house.call(call)
    headers = {k: v for k, v in server.asked[0].headers.items() if k.startswith("mcp-param-")}
    region = base64.b64encode("z\u00fcrich\r\nX: y".encode()).decode()
    assert headers == {
        "mcp-param-region": f"=?base64?{region}?=",
        "mcp-param-dry": "true",
        "mcp-param-n": "7",
    }


async def test_what_the_upstream_says_is_passed_on_as_it_is() -> None:
    raw = b'{"resultType":"complete","content":[],"vendor":{"x":1.50,"u":"\xc3\xa9"},"big":1e400}'

    async def behave(asked: Asked) -> None:
        body = b'{ "jsonrpc": "2.0",\n "id": %d,\r\n "result": %s }\n' % (asked.id, raw)
        await asked.send(http_response(body))

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
    assert outcome.result == raw
    assert outcome.received_bytes == len(raw)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({"content": []}, Status.OK),
        ({"content": [], "isError": True}, Status.TOOL_ERROR),
        ({"content": [{"isError": True}]}, Status.OK),
        ({"resultType": "input_required", "requestState": "s"}, Status.INPUT_REQUIRED),
    ],
    ids=["plain", "tool error", "the word deeper down", "input required"],
)
async def test_the_outcome_says_what_kind_of_result_it_is(
    result: dict[str, object], status: Status
) -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer(result)

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        assert (await house.call()).status is status


@pytest.mark.parametrize("http_status", ["200 OK", "400 Bad Request", "404 Not Found"])
@pytest.mark.parametrize("with_id", [True, False], ids=["own id", "null id"])
async def test_a_json_rpc_error_is_an_outcome_with_the_raw_error(
    http_status: str, with_id: bool
) -> None:
    error = {"code": -32602, "message": "no", "data": {"vendor": 1}}

    async def behave(asked: Asked) -> None:
        body = {"jsonrpc": "2.0", "id": asked.id if with_id else None, "error": error}
        await asked.send(http_response(json.dumps(body).encode(), status=http_status))

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
    assert outcome.status is Status.RPC_ERROR
    assert json.loads(outcome.error) == error


async def test_progress_reaches_the_caller_in_order_under_its_own_token() -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        for step in (1, 2):
            params = {"progressToken": asked.token, "progress": step, "vendor": "kept"}
            await asked.event(
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
            )
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": {"content": []}})
        await asked.end_stream()

    relay = Collected()
    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        outcome = await house.call(make_call(meta={"progressToken": "callers-own"}), relay=relay)
    assert server.asked[0].token != "callers-own"
    assert outcome.status is Status.OK
    assert [frame["params"] for frame in relay.frames] == [
        {"progressToken": "callers-own", "progress": step, "vendor": "kept"} for step in (1, 2)
    ]
    assert outcome.received_bytes > len(outcome.result)


async def test_only_what_belongs_to_the_call_is_relayed() -> None:
    progress = {"jsonrpc": "2.0", "method": "notifications/progress"}

    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({**progress, "params": {"progressToken": "other", "progress": 1}})
        await asked.event({**progress, "params": {"progress": 1}})
        await asked.event({"jsonrpc": "2.0", "id": 9, "method": "elicitation/create", "params": {}})
        await asked.event({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {}})
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": {"content": []}})
        await asked.end_stream()

    relay = Collected()
    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        outcome = await house.call(make_call(meta={"progressToken": 5}), relay=relay)
    assert outcome.status is Status.OK
    assert relay.frames == []


async def test_the_answer_does_not_wait_for_the_end_of_its_stream() -> None:
    release = asyncio.Event()

    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": {"content": []}})
        await release.wait()
        await asked.end_stream()

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        with anyio.fail_after(2):
            assert (await house.call()).status is Status.OK
        release.set()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_events_are_read_whatever_their_line_ends_and_chunks(end: bytes) -> None:
    async def behave(asked: Asked) -> None:
        await asked.open_stream()
        message = b'{"jsonrpc":"2.0",' + end + b'data: "id":%d,"result":{"a":1}}' % asked.id
        event = b": ping" + end + end + b"event: message" + end + b"data: " + message + end + end
        await asked.send(b"".join(chunk(event[i : i + 1]) for i in range(len(event))))
        await asked.end_stream()

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        outcome = await house.call()
    assert outcome.result == b'{"a":1}'


async def test_many_calls_one_after_the_other_share_one_connection() -> None:
    async def behave(asked: Asked) -> None:
        if asked.params["arguments"]["stream"]:
            await asked.open_stream()
            await asked.event({"jsonrpc": "2.0", "id": asked.id, "result": {}})
            await asked.end_stream()
        else:
            await asked.answer({})

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        for stream in (False, True, False, False):
            await house.call(make_call(arguments={"stream": stream}))
            await anyio.wait_all_tasks_blocked()  # the end of a stream may follow its answer
    assert len(server.asked) == 4
    assert server.connections == 1


async def test_concurrent_calls_never_hold_more_connections_than_allowed() -> None:
    transport = HttpTransport("", allow_private=True, max_connections=3)
    async with FakeUpstream() as server:
        spec = ServerSpec("fake", replace(transport, url=server.url), timeout_s=5.0)
        async with border(spec) as house:
            calls = [make_call(arguments={"n": n}) for n in range(40)]
            outcomes = await asyncio.gather(*[house.call(call) for call in calls])
    texts = [json.loads(outcome.result)["content"][0]["text"] for outcome in outcomes]
    assert texts == [json.dumps({"n": n}) for n in range(40)]
    assert server.connections == 3


class OneCallPerConnection(threading.Thread):
    """A blocking server that answers once per connection and closes it when told to."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/mcp"
        self.requests = 0
        self.close_now = threading.Event()
        self.closed = threading.Event()

    def run(self) -> None:
        with self._listener:
            for _ in range(2):
                connection, _ = self._listener.accept()
                with connection:
                    while not self._answer(connection):
                        pass
                    self.close_now.wait(5)
                self.closed.set()

    def _answer(self, connection: socket.socket) -> bool:
        """Whether it was a call."""
        text = connection.recv(65_536)
        request_id = text.split(b'"id":')[1].split(b",")[0]
        body = b'{"jsonrpc":"2.0","id":' + request_id + b',"result":'
        body += b'{"supportedVersions":["2026-07-28"]}}'
        connection.sendall(http_response(body))
        is_call = b"server/discover" not in text
        self.requests += is_call
        return is_call


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used() -> None:
    server = OneCallPerConnection()
    server.start()
    async with border(http_spec(server.url)) as house:
        await house.call()
        server.close_now.set()
        # The loop stands still on purpose: the end is in our kernel, and nobody has told us.
        assert server.closed.wait(2)
        assert (await house.call()).status is Status.OK
    server.join(5)
    assert server.requests == 2


async def test_cancelling_a_sent_call_closes_its_connection_and_says_cancelled() -> None:
    arrived = asyncio.Event()

    async def behave(asked: Asked) -> None:
        arrived.set()
        await asked.reader.read()  # until the peer closes
        server.closed_by_peer.set()

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        task = asyncio.create_task(house.call())
        await arrived.wait()
        task.cancel()
        with pytest.raises(Interrupted) as left:
            await task
        assert left.value.outcome.status is Status.CANCELLED
        with anyio.fail_after(2):
            await server.closed_by_peer.wait()


async def test_cancelling_a_call_that_waits_for_a_connection_sends_nothing() -> None:
    arrived = asyncio.Event()
    release = asyncio.Event()

    async def behave(asked: Asked) -> None:
        arrived.set()
        await release.wait()
        await asked.answer({})

    transport = HttpTransport("", allow_private=True, max_connections=1)
    async with FakeUpstream(behave) as server:
        spec = ServerSpec("fake", replace(transport, url=server.url), timeout_s=5.0)
        async with border(spec) as house:
            first = asyncio.create_task(house.call())
            await arrived.wait()
            second = asyncio.create_task(house.call())
            await anyio.wait_all_tasks_blocked()
            second.cancel()
            with pytest.raises(Interrupted) as left:
                await second
            assert left.value.outcome.status is Status.NOT_SENT
            release.set()
            assert (await first).status is Status.OK
            assert (await house.call()).status is Status.OK
    assert len(server.asked) == 2


async def test_a_connection_given_to_one_who_left_goes_to_the_next() -> None:
    async with FakeUpstream() as server:
        target = parse_target(server.url, allow_private=True, carries_secret=False)
        pool = ConnectionPool(target, 1, None)
        deadline = asyncio.get_running_loop().time() + 5
        only = await pool.open(deadline)
        first, second = (asyncio.create_task(pool.open(deadline)) for _ in range(2))
        await anyio.wait_all_tasks_blocked()
        pool.freed(only)
        first.cancel()  # it has been given the connection, and has not run since
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second is only
        pool.close()


async def test_an_anyio_cancel_scope_sees_the_interruption_as_its_own() -> None:
    async def behave(asked: Asked) -> None:
        await asked.reader.read()

    async with FakeUpstream(behave) as server, border(http_spec(server.url)) as house:
        with anyio.move_on_after(0.05) as scope:
            await house.upstreams.invoke(make_permit(make_call()), Collected())
        assert scope.cancelled_caught


async def test_a_later_round_sends_what_the_caller_answered() -> None:
    call = with_params(make_call(), inputResponses={"k": {"action": "accept"}}, requestState="s")
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        await house.call(call)
    assert server.asked[0].params["inputResponses"] == {"k": {"action": "accept"}}
    assert server.asked[0].params["requestState"] == "s"


async def test_a_small_request_is_not_held_back_by_nagle() -> None:
    async with FakeUpstream() as server, border(http_spec(server.url)) as house:
        with anyio.fail_after(1.6):  # Nagle with delayed acknowledgement would take 50 * 40 ms
            answers = [await house.call() for _ in range(50)]
    assert {answer.status for answer in answers} == {Status.OK}
