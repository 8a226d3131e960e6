"""What search finds, and what call_tool reaches: nothing that is not there for the caller anyway."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.attacks.conftest import KEYS, Border
from tests.attacks.rogue import tool
from tests.journey.process import headers, modern

pytestmark = pytest.mark.slow

_NAMES = ("pipe_act", "shifty_add", "shifty_sub", "rogue", "nosy", "zzz_nothing", "add", "act")


def ask(
    border: Border, name: str, arguments: Any, agent: str = "tester", named: str = ""
) -> dict[str, Any]:
    return raw(
        border, modern("tools/call", {"name": name, "arguments": arguments}), agent, named or name
    )


def raw(border: Border, body: bytes, agent: str, name: str) -> dict[str, Any]:
    said = headers("tools/call", name, KEYS[agent])
    answer: dict[str, Any] = border.post(body, said, "/mcp/search").json()
    return answer


def found(border: Border, query: str, agent: str = "tester") -> list[str]:
    answer = ask(border, "search_tools", {"query": query, "limit": 20}, agent)
    return [one["name"] for one in answer["result"]["structuredContent"]["tools"]]


def without_ids(answer: dict[str, Any]) -> str:
    kept = {key: value for key, value in answer.items() if key != "id"}
    return "".join(part for part in json.dumps(kept).split('"') if len(part) != 26)


@pytest.fixture
def shifty(border: Border) -> Iterator[Border]:
    tools = [tool("add"), tool("sub")]
    border.control("shifty", tools=tools)
    yield border
    border.control("shifty", tools=tools)


def test_to_whom_nothing_is_allowed_every_word_answers_alike(border: Border) -> None:
    answers = {
        without_ids(ask(border, "search_tools", {"query": query}, "stranger")) for query in _NAMES
    }
    assert len(answers) == 1
    assert "pipe_act" in found(border, "pipe_act")


def test_call_tool_refuses_alike_what_is_denied_and_what_is_not_there(border: Border) -> None:
    answers = {without_ids(ask(border, "call_tool", {"name": name}, "stranger")) for name in _NAMES}
    assert len(answers) == 1
    assert "There is no such tool for you" in answers.pop()


def test_call_tool_does_not_call_itself(border: Border) -> None:
    inner: dict[str, Any] = {"name": "pipe_act", "arguments": {"mark": "recursion"}}
    for _ in range(3):
        inner = {"name": "call_tool", "arguments": inner}
        assert ask(border, "call_tool", inner)["result"]["isError"] is True
    assert "recursion" not in border.effects()


def test_a_tool_is_not_called_past_call_tool(border: Border) -> None:
    assert ask(border, "pipe_act", {"mark": "past"})["error"]["code"] == -32602
    assert "past" not in border.effects()


@pytest.mark.parametrize("arguments", [[{"mark": "shape"}], '{"mark":"shape"}', 7, None, True])
def test_inner_arguments_that_are_no_object_reach_nobody(border: Border, arguments: Any) -> None:
    answer = ask(border, "call_tool", {"name": "pipe_act", "arguments": arguments})
    assert answer["result"]["isError"] is True
    assert "shape" not in border.effects()


@pytest.mark.parametrize(
    "inner",
    [
        b'{"name":"pipe_act","arguments":{"mark":"twice","mark":"other"}}',
        b'{"name":"pipe_act","arguments":{"mark":"twice","m\\u0061rk":"other"}}',
        b'{"name":"pipe_act","name":"shifty_add","arguments":{"mark":"twice"}}',
        b'{"name":"pipe_act","n\\u0061me":"shifty_add","arguments":{"mark":"twice"}}',
        b'{"name":"pipe_act","arguments":{"mark":"twice"},"arguments":{}}',
    ],
)
def test_a_key_twice_inside_call_tool_is_no_request(border: Border, inner: bytes) -> None:
    body = modern("tools/call", {"name": "call_tool", "arguments": {"here": 1}})
    answer = raw(border, body.replace(b'{"here": 1}', inner), "tester", "call_tool")
    assert answer["error"]["code"] == -32700
    assert "twice" not in border.effects()


def test_a_header_that_names_another_tool_than_the_body_is_refused(border: Border) -> None:
    inner = {"name": "pipe_act", "arguments": {"mark": "header"}}
    for named in ("pipe_act", "search_tools", "shifty_add"):
        assert ask(border, "call_tool", inner, named=named)["error"]["code"] == -32020
    assert "header" not in border.effects()


def test_what_may_be_called_is_called_once(border: Border) -> None:
    inner = {"name": "pipe_act", "arguments": {"mark": "through-search"}}
    assert "result" in ask(border, "call_tool", inner)
    assert border.effects().count("through-search") == 1


def test_a_tool_that_changed_is_found_no_more_and_not_called(shifty: Border) -> None:
    assert "shifty_add" in found(shifty, "add")
    shifty.control("shifty", tools=[tool("add", description="does aDd, and more"), tool("sub")])
    assert "shifty_add" not in found(shifty, "add")
    inner = {"name": "shifty_add", "arguments": {"mark": "rug-search"}}
    assert ask(shifty, "call_tool", inner)["result"]["isError"] is True
    assert "rug-search" not in shifty.effects()
