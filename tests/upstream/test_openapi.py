"""A REST API behind the border: its document is its list of tools, each call is one request of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.model import Call, Outcome, Status
from gateway.upstream.fetch import BadTarget
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.spec import HttpTransport, OpenApiTransport, ServerSpec
from tests.fakes import Border, border, make_call, make_definition
from tests.servers.pets import KEY, Pets, document, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One loop is enough: the connections are those of test_http.py, which runs on both."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def running() -> Iterator[Pets]:
    with serving(Pets()) as pets:
        yield pets


@pytest.fixture
def pets(running: Pets) -> Pets:
    running.asked.clear()
    running.described = document()
    return running


def spec(
    pets: Pets, *, key: str = KEY, writes: bool = True, path: str = "/openapi.json"
) -> ServerSpec:
    api = HttpTransport(f"{pets.url}/v1", auth_header_value=key, allow_private=True)
    there = HttpTransport(pets.url + path, allow_private=True)
    return ServerSpec("fake", OpenApiTransport(api, there, writes), timeout_s=5.0)


async def listed(house: Border) -> dict[str, bytes]:
    listing = await house.upstreams.list_definitions("fake")
    return {one.name: one.body for one in listing.definitions if not one.fault}


async def calling(
    house: Border, tool: str, raw: str = "{}", *, ceiling_tokens: int = 25_000
) -> Outcome:
    """Call *tool* as its definition is now, with arguments as they came in."""
    body = (await listed(house))[tool]
    return await house.call(call_of(tool, body, raw), ceiling_tokens=ceiling_tokens)


def call_of(tool: str, body: bytes, raw: str) -> Call:
    call = make_call(name=tool, arguments=json.loads(raw), definition=make_definition(body, tool))
    return replace(call, params={**call.params, "arguments": raw.encode()})


def result(outcome: Outcome) -> Any:
    return json.loads(outcome.result)


async def test_operations_are_tools_with_what_their_requests_need(pets: Pets) -> None:
    async with border(spec(pets)) as house:
        tools = {name: json.loads(body) for name, body in (await listed(house)).items()}
    assert list(tools) == ["listPets", "addPet", "getPet", "put_pets_petId", "dropPet", "answer"]
    assert tools["listPets"]["description"] == "Find pets"
    assert tools["listPets"]["annotations"]["readOnlyHint"] is True
    assert tools["dropPet"]["annotations"]["destructiveHint"] is True
    assert tools["getPet"]["inputSchema"] == {
        "type": "object",
        "properties": {"petId": {"type": "string"}},
        "required": ["petId"],
        "additionalProperties": False,
    }
    body = tools["addPet"]["inputSchema"]
    assert body["required"] == ["id", "name"]
    assert body["properties"]["weight"] == {"type": "number", "exclusiveMinimum": 0}
    assert body["properties"]["nick"] == {"type": ["string", "null"]}
    assert body["properties"]["parent"] == {"type": "object"}  # it contains itself
    assert "seen" not in body["properties"]  # it comes in answers only
    assert tools["addPet"]["_meta"]["io.customhouse/openapi"]["path"] == "/pets"


async def test_only_reading_is_offered_unless_writing_is_asked_for(pets: Pets) -> None:
    async with border(spec(pets, writes=False)) as house:
        assert list(await listed(house)) == ["listPets", "getPet", "answer"]


async def test_a_call_is_one_request_with_every_argument_in_its_place(pets: Pets) -> None:
    said = '{"limit": 5, "tag": ["a&b", "c d"], "sort": ["name", "id"], "X-Trace": "t 1"}'
    async with border(spec(pets)) as house:
        outcome = await calling(house, "listPets", said)
    assert outcome.status is Status.OK
    (asked,) = pets.asked
    assert asked.target == "/v1/pets?limit=5&tag=a%26b&tag=c%20d&sort=name,id"
    assert asked.headers["x-trace"] == "t 1"
    assert asked.headers["x-api-key"] == KEY
    assert "authorization" not in asked.headers
    assert asked.body == b""
    told = result(outcome)
    assert told["structuredContent"] == {"method": "GET", "target": asked.target}
    assert json.loads(told["content"][0]["text"]) == told["structuredContent"]


async def test_a_body_is_sent_as_it_was_judged_number_by_number(pets: Pets) -> None:
    async with border(spec(pets)) as house:
        await calling(house, "addPet", '{"id": 12345678901234567890, "name": "x", "weight": 1.50}')
        await calling(house, "put_pets_petId", '{"petId": "7", "id": 8, "name": "y"}')
    added, put = pets.asked
    assert added.body == b'{"id":12345678901234567890,"name":"x","weight":1.50}'
    assert added.headers["content-type"] == "application/json"
    assert (put.method, put.target, put.body) == ("PUT", "/v1/pets/7", b'{"id":8,"name":"y"}')


async def test_an_argument_that_cannot_be_sent_is_an_error_and_no_request(pets: Pets) -> None:
    async with border(spec(pets)) as house:
        upwards = await calling(house, "getPet", '{"petId": "../users"}')
        split = await calling(house, "listPets", '{"X-Trace": "a\\r\\nHost: evil"}')
    assert (
        (upwards.status, upwards.sent) == (split.status, split.sent) == (Status.TOOL_ERROR, False)
    )
    assert result(upwards)["content"][0]["text"] == "petId is empty, or reads like a path"
    assert pets.asked == []


@pytest.mark.parametrize(
    ("kind", "text", "structured"),
    [
        ("x", '{"kind":"x"}', {"kind": "x"}),
        ("list", "[1,2]", None),
        ("text", "hello", None),
        ("events", '{"not": "events"}', {"not": "events"}),
        ("lines", '{\n"a":\n1}', {"a": 1}),
        ("nothing", "HTTP 204", None),
    ],
)
async def test_what_an_api_answers_is_text_and_objects_are_structured(
    pets: Pets, kind: str, text: str, structured: Any
) -> None:
    async with border(spec(pets)) as house:
        outcome = await calling(house, "answer", json.dumps({"petId": kind}))
    told = result(outcome)
    assert (outcome.status, told["content"][0]["text"]) == (Status.OK, text)
    assert told.get("structuredContent") == structured
    assert b"\n" not in outcome.result
    assert "x-api-key" not in pets.asked[0].headers  # this operation asks for none


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", 'HTTP 404: {"detail":"no such pet"}'),
        ("broken", "HTTP 500: oops"),
        ("binary", "HTTP 200: 5 bytes that are no text"),
    ],
)
async def test_what_an_api_refuses_is_an_error_of_the_tool(
    pets: Pets, kind: str, text: str
) -> None:
    async with border(spec(pets)) as house:
        outcome = await calling(house, "answer", json.dumps({"petId": kind}))
    assert outcome.status is Status.TOOL_ERROR
    assert result(outcome)["content"][0]["text"] == text


async def test_a_redirect_is_not_followed_and_too_much_is_withheld(pets: Pets) -> None:
    async with border(spec(pets)) as house:
        moved = await calling(house, "answer", '{"petId": "elsewhere"}')
        big = await calling(house, "answer", '{"petId": "big"}', ceiling_tokens=1_000)
        deep = await calling(house, "answer", '{"petId": "deep"}', ceiling_tokens=100_000)
    assert (moved.status, moved.code) == (Status.FAILED, "upstream_broken")
    assert (big.status, big.code) == (Status.TOO_LARGE, "result_too_large")
    assert (deep.status, "structuredContent" in result(deep)) == (Status.OK, False)


async def test_an_api_that_does_not_take_the_credential_has_refused_the_gateway(
    pets: Pets,
) -> None:
    async with border(spec(pets, key="wrong")) as house:
        outcome = await calling(house, "listPets")
    assert (outcome.status, outcome.code) == (Status.FAILED, "upstream_refused")


async def test_a_credential_that_cannot_be_read_sends_nothing(pets: Pets) -> None:
    bare = spec(pets, key="")
    assert isinstance(bare.transport, OpenApiTransport)
    api = replace(bare.transport.api, auth_missing=True)
    async with border(replace(bare, transport=replace(bare.transport, api=api))) as house:
        outcome = await calling(house, "listPets")
    assert (outcome.code, outcome.sent, pets.asked) == ("credential_missing", False, [])


async def test_what_is_called_is_what_was_approved_whatever_the_document_says_now(
    pets: Pets,
) -> None:
    async with border(spec(pets)) as house:
        approved = (await listed(house))["getPet"]
        paths = document()["paths"]
        paths["/users/{petId}"] = paths.pop("/pets/{petId}")
        pets.described["paths"] = paths
        assert (await listed(house))["getPet"] != approved  # so a person looks again
        await house.call(call_of("getPet", approved, '{"petId": "7"}'))
    assert pets.asked[0].target == "/v1/pets/7"


async def test_a_definition_that_no_document_gave_makes_no_request(pets: Pets) -> None:
    body = b'{"name": "getPet", "inputSchema": {"type": "object"}}'
    async with border(spec(pets)) as house:
        outcome = await house.call(call_of("getPet", body, "{}"))
    assert (outcome.status, outcome.sent, pets.asked) == (Status.FAILED, False, [])


async def test_a_document_is_a_file_too(pets: Pets, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text('openapi: 3.1.0\npaths:\n  /pets: {get: {operationId: "find"}}\n')
    api = HttpTransport(pets.url, allow_private=True)
    async with border(ServerSpec("fake", OpenApiTransport(api, str(file)))) as house:
        assert list(await listed(house)) == ["find"]
        file.write_text("openapi: 3.1.0\npaths: {}\n")
        assert list(await listed(house)) == []


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/moved.json", "redirects are not followed"),
        ("/v1/pets", "HTTP 401 instead of a document"),
        ("/v1/answers/text", "it is not a table"),
    ],
)
async def test_a_document_that_is_none_is_a_failed_look(pets: Pets, path: str, why: str) -> None:
    async with border(spec(pets, path=path)) as house:
        with pytest.raises(UpstreamFailed, match=why):
            await house.upstreams.list_definitions("fake")


async def test_a_document_that_is_no_file_is_a_failed_look(pets: Pets, tmp_path: Path) -> None:
    api = HttpTransport(pets.url, allow_private=True)
    for place in (tmp_path / "missing.yaml", tmp_path, Path("/dev/zero")):
        async with border(ServerSpec("fake", OpenApiTransport(api, str(place)))) as house:
            with pytest.raises(UpstreamFailed, match="the document"):
                await house.upstreams.list_definitions("fake")


async def test_a_base_url_with_a_query_is_none(pets: Pets) -> None:
    api = HttpTransport(f"{pets.url}/v1?x=1", allow_private=True)
    with pytest.raises(BadTarget, match="no query"):
        async with border(ServerSpec("fake", OpenApiTransport(api, "/x"))):
            pass
