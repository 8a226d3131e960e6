"""What is declared of messages between agents: one sentence when a message breaks it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.arguments import compile_schema
from gateway.domain.message_rules import MessageRules, message_in, message_of_tool, problem_of
from tests.fakes import ALICE, make_call

OBJECT = compile_schema(
    {"type": "object", "properties": {"kilos": {"type": "integer"}}, "required": ["kilos"]}
)


def problem(rules: MessageRules, *parts: Any, n_bytes: int = 100, **metadata: Any) -> str | None:
    named = {f"io.customhouse/{name.replace('_', '-')}": value for name, value in metadata.items()}
    params = {"message": {"parts": list(parts), "metadata": named}}
    return problem_of(rules, message_in(make_call(), params, n_bytes))


@pytest.mark.parametrize(
    ("rules", "n_bytes", "metadata", "why"),
    [
        (MessageRules(max_bytes=99), 100, {}, "100 bytes, more than 99"),
        (MessageRules(skills=frozenset({"quote"})), 1, {}, "must name one of the skills"),
        (MessageRules(skills=frozenset({"quote"})), 1, {"skill": "pay"}, "must name one of"),
        (MessageRules(skills=frozenset({"quote"})), 1, {"skill": 7}, "must name one of"),
        (MessageRules(data=frozenset({"public"})), 1, {}, "classes that may: public"),
        (MessageRules(data=frozenset({"public"})), 1, {"data_class": "secret"}, "may not go"),
        (MessageRules(data=frozenset({"public"})), 1, {"data_class": ["public"]}, "may not go"),
    ],
    ids=["size", "no-skill", "skill", "skill-no-text", "silent", "class", "class-no-text"],
)
def test_a_message_that_breaks_a_rule(
    rules: MessageRules, n_bytes: int, metadata: dict[str, Any], why: str
) -> None:
    assert why in (problem(rules, n_bytes=n_bytes, **metadata) or "")


@pytest.mark.parametrize(
    ("rules", "metadata"),
    [
        (MessageRules(max_bytes=100), {}),
        (MessageRules(), {}),
        (MessageRules(skills=frozenset({"qu*"})), {"skill": "quote"}),
        (MessageRules(data=frozenset({"internal"})), {}),
        (MessageRules(data=frozenset({"public"})), {"data_class": "public"}),
    ],
    ids=["size", "none", "glob", "silent-is-internal", "class"],
)
def test_a_message_that_keeps_the_rules(rules: MessageRules, metadata: dict[str, Any]) -> None:
    assert problem(rules, {"data": {"kilos": "many"}}, **metadata) is None


def test_every_data_part_has_to_fit_the_schema_and_the_answer_quotes_nothing() -> None:
    rules = MessageRules(validate=OBJECT)
    assert problem(rules, {"text": "hello"}, {"data": {"kilos": 2}}) is None
    bad = problem(rules, {"data": {"kilos": 2}}, {"data": {"kilos": "hush"}})
    assert bad is not None
    assert "data part 2" in bad
    assert "hush" not in bad
    assert "not an object" in (problem(rules, {"data": [1]}) or "")


def test_a_message_that_came_through_too_many_agents() -> None:
    call = replace(make_call(), principal=replace(ALICE, actors=("a", "b", "c")))
    said = message_in(call, {"message": {}}, 1)
    assert problem_of(MessageRules(depth=3), said) is None
    assert "through 3 agents, more than 2" in (problem_of(MessageRules(depth=2), said) or "")


def test_a_tool_call_is_held_to_the_same_rules() -> None:
    call = make_call(name="quote", arguments={"data": {"kilos": "two"}})
    call = replace(call, meta={"io.customhouse/data-class": b'"public"'})
    size = len(json.dumps(call.arguments))
    said = message_of_tool(call)
    assert (said.n_bytes, said.skill, said.data_class) == (size, "quote", "public")
    assert "data part 1" in (problem_of(MessageRules(validate=OBJECT), said) or "")
    assert problem_of(MessageRules(skills=frozenset({"pay"})), said)


@pytest.mark.parametrize("params", [{}, {"message": 7}, {"message": {"parts": {"data": 1}}}])
def test_what_is_no_message_breaks_nothing_and_nothing_breaks(params: dict[str, Any]) -> None:
    assert problem_of(MessageRules(validate=OBJECT), message_in(make_call(), params, 1)) is None
