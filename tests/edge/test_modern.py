"""The newest era: one POST, one answer, in JSON or as a stream."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest

from gateway.domain.model import Call, Outcome, Relay
from gateway.domain.refusal import BY_ID, Refused
from tests.edge.fakes import Knocker, Response, Stand, modern

pytestmark = pytest.mark.anyio


async def test_a_call_is_governed_and_answered() -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.call("time_now", {"zone": "UTC"})
    [call] = stand.pipeline.governed
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.writes == 2
    assert json.loads(answer.result["content"][0]["text"]) == {
        "name": "now",
        "arguments": {"zone": "UTC"},
    }
    assert answer.result["_meta"]["io.customhouse/call"]["call_id"] == call.id
    assert call.client.capabilities == b"{}"


async def test_what_does_not_exist_and_what_may_not_be_used_answer_alike() -> None:
    stand = Stand()
    async with stand.open() as alice:
        answers = [
            await alice.call(name)
            for name in ("nope", "hidden_secret", "docs_poisoned", "docs_proposed")
        ]
    told = []
    for answer, call in zip(answers, stand.pipeline.governed, strict=True):
        assert answer.error["data"] == {"io.customhouse/refusal": {"call_id": call.id}}
        told.append((answer.status, answer.body.replace(call.id.encode(), b"")))
    assert len(set(told)) == 1


async def test_an_unknown_tool_is_a_call_that_the_pipeline_refuses_and_logs() -> None:
    stand = Stand()
    async with stand.open() as alice:
        await alice.call("nope")
    assert [call.name for call in stand.pipeline.governed] == ["nope"]
    assert stand.pipeline.refusals == []


async def test_a_refusal_of_the_pipeline_is_told_to_the_model() -> None:
    stand = Stand()
    stand.pipeline.refusing = lambda _: Refused(BY_ID["over_budget"], "", {"remaining": 3})
    async with stand.open() as alice:
        answer = await alice.call("time_now")
    assert answer.result["isError"] is True
    assert answer.result["_meta"]["io.customhouse/refusal"]["remaining"] == 3


# -- headers and body say the same ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value"),
    [
        pytest.param("mcp_name", "docs_search", id="another tool in the header"),
        pytest.param("mcp_name", None, id="no tool in the header"),
        pytest.param("mcp_name", "TIME_NOW", id="another case"),
        pytest.param("mcp_name", "=?base64?dGltZV9ub3c?=", id="a damaged base64 form"),
        pytest.param("mcp_method", "tools/list", id="another method in the header"),
        pytest.param("mcp_method", None, id="no method in the header"),
        pytest.param("mcp_method", "Tools/Call", id="another case of the method"),
    ],
)
async def test_headers_that_lie_are_refused_and_logged(header: str, value: str | None) -> None:
    stand = Stand()
    async with stand.open() as alice:
        body, _ = modern(alice, "tools/call", {"name": "time_now"})
        said = {
            "mcp_protocol_version": "2026-07-28",
            "mcp_method": "tools/call",
            "mcp_name": "time_now",
            header: value,
        }
        answer = await alice.raw(body, alice.headers(**said))
    assert answer.status == 400
    assert answer.error["code"] == -32020
    assert stand.pipeline.governed == []
    assert stand.pipeline.refusals == ["header_mismatch"]


@pytest.mark.parametrize("name", ["mcp-name", "mcp-method", "mcp-protocol-version"])
async def test_a_routing_header_that_comes_twice_is_refused(name: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        value = dict(headers)[name.encode()]
        answer = await alice.raw(body, [*headers, (name.encode(), value)])
    assert answer.status == 400
    assert answer.error["code"] == -32020
    assert stand.pipeline.governed == []


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(b"  time_now\t", id="with white space"),
        pytest.param(b"=?base64?" + base64.b64encode(b"time_now") + b"?=", id="in base64"),
    ],
)
async def test_a_name_may_be_spelled_in_other_ways(spelled: bytes) -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        spelt = [(k, spelled if k == b"mcp-name" else v) for k, v in headers]
        assert (await alice.raw(body, spelt)).status == 200


@pytest.mark.parametrize(
    ("region", "header", "status"),
    [
        ("eu", b"eu", 200),
        ("eu", b" eu ", 200),
        ("eu", b"us", 400),
        ("eu", None, 400),
        (None, b"eu", 400),
        (None, None, 200),
    ],
)
async def test_a_parameter_in_a_header_must_be_the_one_in_the_body(
    region: str | None, header: bytes | None, status: int
) -> None:
    async with Stand().open() as alice:
        arguments = {} if region is None else {"region": region}
        body, headers = modern(
            alice, "tools/call", {"name": "docs_mirrored", "arguments": arguments}
        )
        extra = [] if header is None else [(b"mcp-param-region", header)]
        assert (await alice.raw(body, headers + extra)).status == status


async def test_parameter_headers_do_not_tell_whether_a_hidden_tool_exists() -> None:
    async with Stand().open() as alice:
        bob = Knocker(alice.app, "bob-key")
        for name in ("docs_mirrored", "docs_nope"):
            body, headers = modern(bob, "tools/call", {"name": name, "arguments": {"region": "eu"}})
            answer = await bob.raw(body, [*headers, (b"mcp-param-region", b"us")])
            assert answer.error["code"] == -32602


async def test_parameter_headers_that_no_schema_knows_do_not_matter() -> None:
    async with Stand().open() as alice:
        body, headers = modern(alice, "tools/call", {"name": "time_now"})
        assert (await alice.raw(body, [*headers, (b"mcp-param-x", b"1")])).status == 200


# -- envelopes and methods ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1999-01-01", "2026-07-29", "draft", "2025-11-25x"])
async def test_a_revision_that_nobody_knows_is_refused_with_those_that_are(version: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        envelope = {"io.modelcontextprotocol/protocolVersion": version}
        body, headers = modern(alice, "tools/call", {"name": "time_now"}, **envelope)
        told = [(k, version.encode() if k == b"mcp-protocol-version" else v) for k, v in headers]
        answer = await alice.raw(body, told)
    assert answer.status == 400
    assert answer.error["code"] == -32022
    assert answer.error["data"]["supported"] == ["2026-07-28"]
    assert stand.pipeline.refusals == ["unsupported_version"]


@pytest.mark.parametrize(
    "meta", [None, 7, {}, {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}]
)
async def test_an_incomplete_envelope_is_refused(meta: Any) -> None:
    stand = Stand()
    async with stand.open() as alice:
        _, headers = modern(alice, "tools/call", {"name": "time_now"})
        said = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "time_now"}}
        if meta is not None:
            said["params"]["_meta"] = meta  # type: ignore[index]  # a dict, two lines up
        answer = await alice.raw(json.dumps(said).encode(), headers)
    assert answer.status == 400
    assert answer.error["code"] == -32602
    assert stand.pipeline.refusals == ["bad_params"]
    assert stand.pipeline.governed == []


@pytest.mark.parametrize(
    "method",
    ["nope", "ping", "initialize", "resources/subscribe", "tasks/list", "logging/setLevel"],
)
async def test_a_method_that_is_not_offered_is_404_and_an_entry(method: str) -> None:
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.ask(method)
    assert answer.status == 404
    assert answer.error["code"] == -32601
    assert [entry[3] for entry in stand.pipeline.refused] == [method]
    assert stand.pipeline.refusals == ["unknown_method"]


async def test_a_clients_odd_discover_does_not_lock_it_out() -> None:
    async with Stand().open() as alice:
        answer = await alice.ask("server/discover", {"clientHints": [1], "cursor": None})
        assert answer.result["supportedVersions"] == ["2026-07-28"]


async def test_a_notification_is_rated_and_dropped() -> None:
    stand = Stand()
    async with stand.open() as alice:
        said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        headers = alice.headers(mcp_protocol_version="2026-07-28")
        answer = await alice.raw(json.dumps(said).encode(), headers)
        assert (answer.status, answer.body) == (202, b"")
        assert [call.method for call in stand.pipeline.rated] == ["notifications/cancelled"]

        said["method"] = "notifications/nope"
        assert (await alice.raw(json.dumps(said).encode(), headers)).status == 400
        said["method"] = "tools/call"
        assert (await alice.raw(json.dumps(said).encode(), headers)).status == 400
    assert stand.pipeline.governed == []
    assert stand.pipeline.refusals == ["unknown_method"] * 2


async def test_two_hundred_callers_with_the_same_id_get_each_their_own_answer() -> None:
    async with Stand().open() as alice:
        answers: dict[int, Response] = {}

        async def call(number: int) -> None:
            answers[number] = await alice.call("time_now", {"number": number})

        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(call, number)
    for number, answer in answers.items():
        assert json.loads(answer.result["content"][0]["text"])["arguments"] == {"number": number}


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
async def test_a_fault_says_nothing_of_what_broke(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(call: Call, relay: Relay) -> Outcome:
        raise ValueError("the password is hunter2")

    stand = Stand()
    stand.pipeline.upstream = broken
    async with stand.open() as alice:
        name = "time_now" if method == "tools/call" else "docs_summarise"
        answer = await alice.ask(method, {"name": name})
    assert answer.status == 500
    assert answer.error["code"] == -32603
    assert b"hunter2" not in answer.body
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err
    assert "edge_fault" in said.out


@pytest.mark.parametrize(
    "name", ["com.example/more", "io.modelcontextprotocol/clientInfo", "progressToken"]
)
async def test_what_travels_beside_the_arguments_is_bounded(name: str) -> None:
    """It is neither metered nor committed to: an agent could send a book to a server in it."""
    stand = Stand()
    async with stand.open() as alice:
        answer = await alice.call("time_now", **{name: "x" * 8_192})
        assert answer.status == 400
        assert answer.error["code"] == -32602
        assert "8192" in answer.error["message"]
        assert stand.pipeline.governed == []
        assert (await alice.call("time_now", **{"com.example/more": "x" * 7_000})).status == 200
    assert stand.pipeline.refusals == ["bad_params"]
