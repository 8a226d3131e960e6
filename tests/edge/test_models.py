"""The paths of OpenAI's API: what is refused before a model is asked, and how it reads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import anyio
import pytest

from gateway.domain.model import Call, Outcome, Relay, Status
from gateway.domain.refusal import OVER_BUDGET, RATE_LIMITED, Refusal, Refused
from tests.edge.definitions import catalogue
from tests.edge.fakes import FakePipeline, Knocker, Line, Response, Stand
from tests.upstream.models import model_definition

pytestmark = pytest.mark.anyio
SAID = {"model": "gpt", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "chat/completions"
# Names like any other.
SCHEMA = {"type": "object", "properties": {"tools": {"type": "array"}, "Id": {}}}


def asking(api: str, **more: Any) -> dict[str, Any]:
    return {**SAID, **more} if api == CHAT else {"model": "gpt", "input": "hello", **more}


async def answering(call: Call, relay: Relay) -> Outcome:
    if call.arguments.get("stream"):
        await relay.notify(b'data: {"n":1}\n\n')
        await relay.notify(b"data: [DONE]\n\n")
        return Outcome(Status.OK, b'data: {"n":1}\n\ndata: [DONE]\n\n')
    return Outcome(Status.OK, b'{"choices": []}')


async def failing(call: Call, relay: Relay) -> Outcome:
    if call.name == "cheap":
        return Outcome(Status.FAILED, code="breaker_open", sent=False)
    return await answering(call, relay)


def stand(upstream: Any = answering) -> Stand:
    dear = model_definition("dear", size="small")
    assert dear.terms is not None
    dear = replace(dear, terms=replace(dear.terms, prompt_micros=9_000_000))
    models = (model_definition("gpt", size="large"), dear, model_definition("cheap"))
    hidden = model_definition("hidden", size="medium")
    made = Stand(catalogue=catalogue((*models, hidden)))
    made.pipeline.upstream = upstream
    return made


async def post(
    house: Stand, said: Any, api: str = CHAT, **headers: str | None
) -> tuple[Response, FakePipeline]:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    async with house.open() as knocker:
        knocker.path = f"/v1/{api}"
        return await knocker.raw(body, knocker.headers(**headers)), house.pipeline


def error(response: Response) -> dict[str, Any]:
    said: dict[str, Any] = response.json["error"]
    assert said.keys() == {"message", "type", "param", "code"}
    return said


async def test_the_body_that_is_sent_is_the_callers_but_for_the_models_name_and_its_bound() -> None:
    raw = b'{ "model":"gpt", "messages":[ {"role":"user", "content":"x"} ], "top_p":1.10 }'
    response, pipeline = await post(stand(), raw)
    assert response.status == 200
    [call] = pipeline.governed
    assert call.params["body"] == (
        b'{"model":"steady","messages":[ {"role":"user", "content":"x"} ],"top_p":1.10,'
        b'"max_completion_tokens":100}'
    )
    assert call.object == "model/gpt"
    assert response.headers["customhouse-call"] == call.id


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 8_001}, "context"),
        ({"max_completion_tokens": 10**30}, "context"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "two words"),
        ({"max_output_tokens": 5}, "not a parameter"),
        ({"n": 0}, "n must be"),
        ({"n": 129}, "n must be"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"messages": None}, "messages is missing"),
        ({"model": 7}, "model must be"),
        ({"store": True}, "store"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "mcp", "server_url": "https://elsewhere"}]}, "tools"),
        ({"messages": [{"content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "keeps"),
        ({"stream": True, "stream_options": {"continuous": True}}, "stream_options"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "audio"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": "x"}, "list"),
        ({"messages": [{"role": "user", "tools": [{"type": "mcp"}]}]}, "tools"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"functions": [{"type": "mcp", "server_url": "https://elsewhere"}]}, "functions"),
        ({"tools": [{"type": ["function"]}]}, "tools"),
        ({"tools": [{"type": "function", "tools": [{"type": "mcp"}]}]}, "tools"),
        ({"tools": [{"type": "function", "Type": "mcp"}]}, "tools"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"tool_choice": "web_search"}, "tool_choice"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp"}]}}, "tool_choice"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
async def test_what_cannot_be_asked_is_refused_with_a_reason(more: Any, word: str) -> None:
    response, pipeline = await post(stand(), {**SAID, **more})
    assert response.status == 400
    assert word in error(response)["message"]
    assert error(response)["code"] == "bad_params"
    assert pipeline.refusals == ["bad_params"]
    assert not pipeline.governed


@pytest.mark.parametrize("api", ["chat/completions", "responses", "embeddings"])
@pytest.mark.parametrize(
    "member",
    [
        *("MODEL", "Max_Tokens", "N", "Stream", "Store", "models", "plugins", "extra_body"),
        *("best_of", "min_tokens", "prompt_cache_retention", "background_options"),
        *("context_management", "data_sources", "prompt_cache_options"),
    ],
)
async def test_a_member_that_is_not_known_to_be_harmless_is_refused_by_its_name(
    api: str, member: str
) -> None:
    response, pipeline = await post(stand(), asking(api, **{member: None}), api)
    assert (response.status, error(response)["code"]) == (400, "bad_params")
    assert f"{member} is not a parameter" in error(response)["message"]
    assert not pipeline.governed


async def test_a_name_that_is_none_is_not_repeated() -> None:
    response, _ = await post(stand(), {**SAID, "x" * 65: 1, "<b>": 1})
    assert "a member with such a name is not a parameter" in error(response)["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"functions": [{"name": "f", "parameters": SCHEMA}], "tool_choice": "required"},
        {"store": False, "web_search_options": None, "stream_options": None, "stream": True},
        {"messages": [{"role": "assistant", "audio": None, "content": "x", "tool_calls": []}]},
        {"temperature": 0, "seed": 7, "stop": ["x"], "modalities": ["text"], "verbosity": "low"},
    ],
    ids=lambda more: next(iter(more)),
)
async def test_what_is_ordinary_is_asked(more: Any) -> None:
    response, pipeline = await post(stand(), {**SAID, **more})
    assert response.status == 200
    assert len(pipeline.governed) == 1


HOSTED = [{"type": "mcp", "server_url": "https://elsewhere"}]


@pytest.mark.parametrize(
    ("item", "word"),
    [
        ({"type": "additional_tools", "role": "developer", "tools": HOSTED}, "types"),
        ({"type": "tool_search_output", "tools": HOSTED}, "types"),
        ({"type": "mcp_approval_response", "approval_request_id": "m", "approve": True}, "types"),
        ({"type": "compaction", "id": "c"}, "types"),
        ({"type": ["message"], "role": "user", "content": "x"}, "types"),
        ({"type": None, "id": "msg_of_another"}, "types"),
        ({"type": None, "role": "user", "content": "x"}, "types"),
        ("x", "types"),
        ({"id": "msg_of_another"}, "role"),
        ({"role": "user", "id": "msg_of_another"}, "content"),
        ({"role": "user", "content": "x", "tools": HOSTED}, "tools"),
        ({"role": "user", "content": [{"type": "input_text", "tools": HOSTED}]}, "tools"),
        ({"type": "item_reference", "id": "msg_of_another"}, "keeps"),
        ({"role": "user", "content": "x", "Type": "item_reference", "id": "m"}, "small letters"),
        ({"role": "user", "content": [{"type": "input_file", "file_\u0131d": "f"}]}, "small"),
        ({"type": "function_call", "id": "fc_of_another"}, "arguments"),
        ({"type": "reasoning", "id": "rs_of_another", "summary": []}, "encrypted_content"),
    ],
)
async def test_an_item_that_is_not_whole_and_known_is_refused(item: Any, word: str) -> None:
    said = {"model": "gpt", "input": [{"role": "user", "content": "x"}, item]}
    response, pipeline = await post(stand(), said, "responses")
    assert (response.status, error(response)["code"]) == (400, "bad_params")
    assert word in error(response)["message"]
    assert not pipeline.governed


async def test_what_a_model_answered_can_be_said_back_to_it() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "y"},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [],
            "status": "completed",
        },
    ]
    response, pipeline = await post(stand(), {"model": "gpt", "input": items}, "responses")
    assert response.status == 200
    assert pipeline.governed[0].arguments["store"] is False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"model":"gpt","model":"hidden","messages":[]}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b"x" * (4 * 1024 * 1024 + 1), 413),
    ],
    ids=["a key twice", "a list", "half", "large"],
)
async def test_a_body_that_is_not_one_strict_object_is_refused(body: bytes, status: int) -> None:
    response, pipeline = await post(stand(), body)
    assert response.status == status
    assert error(response)["type"] == "invalid_request_error"
    assert len(pipeline.refusals) == 1


async def test_a_hidden_model_is_refused_as_what_is_not_there_whatever_is_asked_of_it() -> None:
    answers = []
    for model in ("hidden", "nothing", "class:medium", "class:huge"):
        response, pipeline = await post(stand(), {**SAID, "model": model, "max_tokens": 10**9})
        assert len(pipeline.governed) == 1  # which enters the refusal
        response.headers.pop("customhouse-call")
        answers.append((response.status, response.body, response.headers))
    assert answers == answers[:1] * 4
    assert (answers[0][0], error(response)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("refusal", "code", "type_", "repeats"),
    [
        (RATE_LIMITED, "rate_limited", "rate_limit_error", True),
        (OVER_BUDGET, "over_budget", "insufficient_quota", False),
    ],
)
async def test_too_much_is_a_429_that_says_when_again(
    refusal: Refusal, code: str, type_: str, repeats: bool
) -> None:
    house = stand()
    house.pipeline.refusing = lambda call: Refused(refusal, detail={"retry_after_ms": 1_200})
    response, _ = await post(house, SAID)
    assert (response.status, response.headers["retry-after"]) == (429, "2")
    assert (error(response)["code"], error(response)["type"]) == (code, type_)
    assert ("x-should-retry" not in response.headers) is repeats


async def test_a_class_is_its_cheapest_model_that_is_well() -> None:
    _, pipeline = await post(stand(), {**SAID, "model": "class:small"})
    assert [call.name for call in pipeline.governed] == ["cheap"]


async def test_where_a_model_is_not_well_the_next_is_asked_under_the_first() -> None:
    response, pipeline = await post(stand(failing), {**SAID, "model": "class:small"})
    first, second = pipeline.governed
    assert (first.name, second.name) == ("cheap", "dear")
    assert (first.parent, second.parent) == ("", first.id)
    assert (response.status, response.headers["customhouse-call"]) == (200, second.id)


async def test_under_a_key_one_model_is_asked_and_no_other() -> None:
    said = {**SAID, "model": "class:small"}
    response, pipeline = await post(stand(failing), said, idempotency_key="k-1")
    assert [call.name for call in pipeline.governed] == ["cheap"]
    assert (response.status, error(response)["code"]) == (503, "breaker_open")


async def test_nothing_else_is_asked_once_the_caller_has_had_a_part() -> None:
    async def breaking(call: Call, relay: Relay) -> Outcome:
        await relay.notify(b'data: {"n":1}\n\n')
        return Outcome(Status.FAILED, code="upstream_died")

    said = {**SAID, "model": "class:small", "stream": True}
    response, pipeline = await post(stand(breaking), said)
    assert len(pipeline.governed) == 1
    first, last, rest = response.body.decode().split("\n\n")
    assert first == 'data: {"n":1}'
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_died"
    assert rest == ""


async def test_the_last_event_waits_until_the_call_is_settled() -> None:
    house = stand()
    seen: list[bytes] = []
    async with house.open() as knocker:
        knocker.path = "/v1/chat/completions"
        govern = house.pipeline.govern

        async def slow(*args: Any, **more: Any) -> Any:
            reply = await govern(*args, **more)
            seen.extend(line.response.chunks)
            return reply

        house.pipeline.govern = slow  # type: ignore[method-assign]  # between the call and its end
        line = Line(json.dumps({**SAID, "stream": True}).encode())
        await knocker.on(line, knocker.headers())
    assert seen == [b'data: {"n":1}\n\n']
    assert line.response.body.endswith(b"data: [DONE]\n\n")


COMPLETED = b'data: {"type":"response.completed","response":{}}\n\n'


@pytest.mark.parametrize("name", [b"", b"event: response.completed\n"])
async def test_the_last_event_of_a_response_is_known_by_its_type(name: bytes) -> None:
    async def responding(call: Call, relay: Relay) -> Outcome:
        await relay.notify(b'data: {"type":"response.output_text.delta","delta":"x"}\n\n')
        await relay.notify(name + COMPLETED)
        return Outcome(Status.FAILED, code="upstream_died")  # it could not be settled

    said = asking("responses", stream=True)
    response, _ = await post(stand(responding), said, "responses")
    assert b'"delta":"x"' in response.body
    assert b"response.completed" not in response.body
    assert b"event: error" in response.body


async def test_an_event_of_a_chat_is_not_the_last_whatever_it_is_named() -> None:
    async def naming(call: Call, relay: Relay) -> Outcome:
        await relay.notify(b"event: response.completed\n" + COMPLETED)
        await relay.notify(b"data: [DONE]\n\n")
        return Outcome(Status.OK, b"kept")

    response, _ = await post(stand(naming), {**SAID, "stream": True})
    assert response.body == b"event: response.completed\n" + COMPLETED + b"data: [DONE]\n\n"


async def test_a_stream_whose_text_is_not_kept_is_not_answered_with_nothing() -> None:
    async def again(call: Call, relay: Relay) -> Outcome:
        return Outcome(Status.OK)

    response, _ = await post(stand(again), {**SAID, "stream": True})
    assert (response.status, error(response)["code"]) == (410, "result_gone")


@pytest.mark.parametrize("path", ["/v1", "/v1/completions", "/v1/files", "/v1/models/a/b"])
async def test_other_paths_are_refused_in_the_same_dialect(path: str) -> None:
    async with stand().open() as knocker:
        knocker.path = path
        response = await knocker.raw(b"{}", knocker.headers())
    assert response.status == 404
    assert error(response)["code"] == "unknown_method"


async def test_a_list_is_one_entry_and_holds_what_the_caller_sees() -> None:
    house = stand()
    async with house.open() as knocker:
        knocker.path = "/v1/models"
        response = await knocker.raw(b"", knocker.headers(), method="GET")
    assert [one["id"] for one in response.json["data"]] == ["cheap", "dear", "gpt"]
    [call] = house.pipeline.entered
    assert (call.name, call.act, call.object) == ("*", "list", "model/*")


async def test_a_stranger_is_told_in_the_same_dialect() -> None:
    async with stand().open() as knocker:
        unknown = Knocker(knocker.app, key="nobody", path="/v1/models")
        response = await unknown.raw(b"", unknown.headers(), method="GET")
    assert (response.status, error(response)["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(("why", "status"), [("revoked", 401), ("stopped", 503)])
async def test_who_may_not_go_on_is_told_so_and_the_call_ends(why: str, status: int) -> None:
    async def waiting(call: Call, relay: Relay) -> Outcome:
        if why == "revoked":
            house.identity.revoked.add("key-alice")
        else:
            stopped.append(call.server)
        await anyio.sleep_forever()
        raise AssertionError

    stopped: list[str] = []
    house = stand(waiting)
    held = house.border._house
    object.__setattr__(held, "is_stopped", lambda _who, _run, server: server in stopped)
    response, pipeline = await post(house, SAID)
    assert response.status == status
    assert len(pipeline.interrupted) == 1
    assert pipeline.refusals == [error(response)["code"]]
