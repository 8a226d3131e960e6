import anyio
import pytest

from agents.client import (
    CROSSED,
    Border,
    CallFailed,
    DeadlinePassed,
    NoAnswer,
    RefusedByBorder,
    Unreachable,
    connect,
)
from gateway.domain import refusal as no
from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import Refusal, Refused
from tests.agents.border import listener, served, wire
from tests.edge.fakes import FakePipeline, Stand

pytestmark = pytest.mark.anyio

KEY = "alice-key"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OK = b'{"content":[{"type":"text","text":"four"}],"structuredContent":{"sum":4},"vendor":1}'


def answering(outcome: Outcome) -> Stand:
    async def upstream(_call: Call, _relay: Relay) -> Outcome:
        return outcome

    return Stand(pipeline=FakePipeline(upstream=upstream, left={"calls/day": 9}))


def refusing(refusal: Refusal, **detail: str | int) -> Stand:
    def say_no(call: Call) -> Refused | None:
        return Refused(refusal, call.id, detail) if call.method == "tools/call" else None

    return Stand(pipeline=FakePipeline(refusing=say_no))


async def refusal_of(stand: Stand, tool: str = "time_now", key: str = KEY) -> RefusedByBorder:
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, key) as border:
            with pytest.raises(RefusedByBorder) as refused:
                await border.call(tool, {})
    return refused.value


async def failure_of(stand: Stand) -> CallFailed:
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            with pytest.raises(CallFailed) as failed:
                await border.call("time_now", {})
    return failed.value


async def test_an_agent_finds_exactly_the_tools_that_the_border_lists() -> None:
    with anyio.fail_after(10):
        async with served(Stand()) as url, connect(url, "bob-key") as border:
            tools = await border.tools()
    assert [tool.name for tool in tools] == ["time_now", "time_zones"]


async def test_a_result_carries_the_text_the_call_id_and_what_is_left() -> None:
    stand = answering(Outcome(Status.OK, OK))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            result = await border.call("time_now", {"a": 2})
    assert (result.text, result.structured, result.is_error) == ("four", {"sum": 4}, False)
    assert result.content == ({"type": "text", "text": "four"},)
    assert result.call_id == stand.pipeline.governed[0].id
    assert result.left == {"calls/day": 9}


async def test_a_tool_that_says_it_failed_is_a_result_and_not_a_refusal() -> None:
    body = b'{"content":[{"type":"text","text":"no such zone"}],"isError":true}'
    stand = answering(Outcome(Status.TOOL_ERROR, body))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            result = await border.call("time_now", {})
    assert result.is_error
    assert result.text == "no such zone"


async def test_a_refusal_says_why_where_and_for_how_long() -> None:
    stand = refusing(no.RATE_LIMITED, scope="agent", limit="20/min", retry_after_ms=2139)
    refused = await refusal_of(stand)
    assert (refused.code, refused.scope, refused.retry_after_ms) == ("rate_limited", "agent", 2139)
    assert refused.machine["limit"] == "20/min"
    assert refused.call_id == stand.pipeline.governed[0].id
    assert refused.sentence.startswith("Too many calls")
    assert str(refused) == refused.sentence


@pytest.mark.parametrize("tool", ["nobody_has_this", "hidden_secret", "docs_poisoned"])
async def test_what_must_not_be_told_apart_has_one_code_and_a_call_id(tool: str) -> None:
    refused = await refusal_of(Stand(), tool)
    assert refused.code == "unknown_object"
    assert refused.machine == {"call_id": refused.call_id}


async def test_a_key_that_nobody_has_is_refused_as_such() -> None:
    refused = await refusal_of(Stand(), key="somebody-else")
    assert refused.code == "not_authenticated"


@pytest.mark.parametrize("row", [no.UPSTREAM_UNREACHABLE, no.BREAKER_OPEN, no.CREDENTIAL_MISSING])
async def test_a_server_that_was_never_asked_counts_as_a_refusal(row: Refusal) -> None:
    refused = await refusal_of(answering(Outcome(Status.FAILED, code=row.id)))
    assert refused.code == row.id


@pytest.mark.parametrize(
    "row",
    [
        no.UPSTREAM_TIMEOUT,
        no.UPSTREAM_BROKEN,
        no.UPSTREAM_DIED,
        no.UPSTREAM_REFUSED,
        no.RESULT_TOO_LARGE,
    ],
)
async def test_a_call_that_may_have_taken_effect_never_counts_as_refused(row: Refusal) -> None:
    failed = await failure_of(answering(Outcome(Status.FAILED, code=row.id)))
    assert failed.code == row.id
    assert failed.call_id


def test_the_client_knows_every_refusal_that_leaves_the_effect_open() -> None:
    open_ended = {row.id for row in no.BY_ID.values() if "took effect" in row.fix}
    assert open_ended | {no.RESULT_TOO_LARGE.id, "fault"} == CROSSED


async def test_an_error_of_the_server_itself_keeps_its_number() -> None:
    error = b'{"code":-32050,"message":"the printer is on fire"}'
    failed = await failure_of(answering(Outcome(Status.RPC_ERROR, error=error)))
    assert (failed.code, failed.rpc_code) == ("server_error", -32050)
    assert failed.sentence == "the printer is on fire"


async def test_a_fault_of_the_gateway_may_have_taken_effect() -> None:
    async def breaks(_call: Call, _relay: Relay) -> Outcome:
        raise RuntimeError("secret")

    failed = await failure_of(Stand(pipeline=FakePipeline(upstream=breaks)))
    assert failed.code == "fault"
    assert "secret" not in failed.sentence


async def test_a_result_that_is_no_result_of_mcp_is_a_failed_call() -> None:
    failed = await failure_of(answering(Outcome(Status.OK, b'{"content":"none"}')))
    assert failed.code == "invalid_answer"


async def test_a_deadline_ends_the_call_here_and_at_the_border() -> None:
    gone = anyio.Event()

    async def hangs(_call: Call, _relay: Relay) -> Outcome:
        try:
            await anyio.sleep_forever()
        finally:
            gone.set()
        raise AssertionError

    stand = Stand(pipeline=FakePipeline(upstream=hangs))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            with pytest.raises(DeadlinePassed, match=r"time_now was not answered within 0\.2 s"):
                await border.call("time_now", {}, deadline_s=0.2)
            await gone.wait()
            assert [tool.name for tool in await border.tools()]


async def test_all_calls_of_a_connection_share_a_trace() -> None:
    stand = answering(Outcome(Status.OK, OK))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            await border.call("time_now", {})
            await border.call("time_now", {})
            await border.call("time_now", {}, traceparent=TRACE)
    first, second, third = (call.trace for call in stand.pipeline.governed)
    assert first == second == border.traceparent
    assert third == TRACE


async def test_a_connection_continues_the_trace_it_is_given() -> None:
    stand = answering(Outcome(Status.OK, OK))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY, traceparent=TRACE) as border:
            await border.call("time_now", {})
    assert stand.pipeline.governed[0].trace == TRACE


async def test_calls_may_run_side_by_side() -> None:
    stand = answering(Outcome(Status.OK, OK))
    seen: list[str] = []

    async def one(border: Border) -> None:
        seen.append((await border.call("time_now", {})).call_id)

    with anyio.fail_after(20):
        async with (
            served(stand) as url,
            connect(url, KEY) as border,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(20):
                tasks.start_soon(one, border)
    assert sorted(seen) == sorted(call.id for call in stand.pipeline.governed)
    assert len(set(seen)) == 20


async def test_an_address_where_nobody_listens_is_told_again_and_again() -> None:
    with listener() as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
    with anyio.fail_after(10):
        async with connect(url, KEY) as border:
            for _ in range(2):  # the first failure does not take the connection along
                with pytest.raises(Unreachable, match="no border answers at"):
                    await border.call("time_now", {})


HALF = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed without a word"),
        pytest.param(HALF, id="closed after the headers"),
        pytest.param(HALF + b'{"jsonrpc":"2.0","id":1,', id="closed in the middle of the body"),
    ],
)
async def test_a_connection_that_breaks_leaves_it_open_what_happened(answer: bytes) -> None:
    with anyio.fail_after(10):
        async with wire(answer) as url, connect(url, KEY) as border:
            with pytest.raises(NoAnswer):
                await border.call("time_now", {})


async def test_something_else_at_the_address_is_not_taken_for_an_answer() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
    with anyio.fail_after(10):
        async with wire(page) as url, connect(url, KEY) as border:
            with pytest.raises(CallFailed):
                await border.call("time_now", {})


async def test_an_error_of_the_agent_itself_comes_out_as_it_is() -> None:
    async def fails(url: str) -> None:
        async with connect(url, KEY) as border:
            await border.tools()
            raise KeyError("mine")

    with anyio.fail_after(10):
        async with served(Stand()) as url:
            with pytest.raises(KeyError, match="mine"):
                await fails(url)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
async def test_a_key_that_cannot_be_sent_is_refused_and_never_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        async with connect("http://127.0.0.1:9/mcp", key):
            pass
    assert not key or key not in str(refused.value)


async def test_a_call_is_part_of_a_run_and_can_be_repeated_under_one_key() -> None:
    stand = answering(Outcome(Status.OK, OK))
    with anyio.fail_after(10):
        async with served(stand) as url, connect(url, KEY) as border:
            await border.call("time_now", {}, run="run-of-tests", idempotency_key="order-7")
            await border.call("time_now", {})
    said = [(call.run, call.key) for call in stand.pipeline.governed]
    assert said == [("run-of-tests", "order-7"), ("", "")]


@pytest.mark.parametrize("trace", ["", "00-xyz", TRACE.upper(), TRACE + "-00"])
async def test_only_a_traceparent_of_the_w3c_form_is_passed_on(trace: str) -> None:
    async with connect("http://127.0.0.1:9/mcp", KEY) as border:
        if trace:
            with pytest.raises(ValueError, match="traceparent"):
                await border.call("time_now", {}, traceparent=trace)


async def test_the_key_is_nowhere_in_what_a_connection_says_of_itself() -> None:
    async with connect("http://127.0.0.1:9/mcp", "a-key-that-must-not-show") as border:
        assert "must-not-show" not in repr(border)
