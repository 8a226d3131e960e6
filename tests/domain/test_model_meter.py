"""What a model's call holds and is charged: never more than the hold, never less than is believed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model import Amounts, Approval, Definition, Kind, ModelTerms, Usage
from gateway.domain.model_meter import (
    answer_bytes_within,
    answer_ceiling,
    ceiling,
    cost_of,
    counted_prompt,
    prompt_ceiling,
    used,
)

TERMS = ModelTerms("m", "small", 1_000, 1_500_000, 6_000_000, 50)
MODEL = Definition("m", Kind.MODEL, "m", "m", b"{}", "0" * 64, Approval.APPROVED, terms=TERMS)
AMOUNT = st.integers(0, 100_000)
USAGE = st.builds(Usage, AMOUNT, AMOUNT)
HELD = st.builds(Amounts, AMOUNT, st.just(1), AMOUNT)


def chat(content: Any, **more: Any) -> dict[str, Any]:
    said = {"messages": [{"role": "user", "content": content}]}
    return {**said, "max_completion_tokens": 100, **more}


def test_a_prompt_and_all_its_answers_are_held_at_their_price() -> None:
    arguments = chat("Name a river.", n=3)
    body = json.dumps(arguments).encode()
    prompt = -(-len(body) // 2)
    assert ceiling(body, arguments, MODEL) == Amounts(
        prompt + 300, 1, -(-(prompt * 1_500_000 + 300 * 6_000_000) // 1_000_000)
    )


def test_a_prompt_is_held_to_the_context_of_the_model() -> None:
    assert prompt_ceiling(b"x" * 10_000, chat("x"), TERMS) == 1_000


@pytest.mark.parametrize("kind", ["image_url", "input_image", "input_file", "input_audio"])
def test_a_part_of_unknown_size_holds_the_whole_context(kind: str) -> None:
    assert prompt_ceiling(b"{}", chat([{"type": kind}]), TERMS) == 1_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://x.example/film.mp4"}},
        {"image_url": {"url": "https://x.example/huge.png"}},
        {"type": "text", "text": "x", "image_url": {"url": "https://x.example/huge.png"}},
        {"type": "text", "text": {"url": "https://x.example/huge.png"}},
        {"type": ["text"], "text": "x"},
        {"type": None, "text": "x"},
        {"text": "x"},
    ],
)
def test_a_part_that_is_not_known_to_be_text_holds_the_whole_context(part: Any) -> None:
    assert prompt_ceiling(b"{}", chat([part]), TERMS) == 1_000
    output = {"type": "function_call_output", "call_id": "c", "output": [part]}
    assert prompt_ceiling(b"{}", {"input": [output], "max_output_tokens": 1}, TERMS) == 1_000
    assert prompt_ceiling(b"{}", {"input": ["x", part, part]}, TERMS) == 2_001


@pytest.mark.parametrize("member", ["images", "audio", "image_url"])
def test_a_message_with_more_than_text_holds_the_whole_context(member: str) -> None:
    said = {"role": "user", "content": "x", member: {"url": "https://x.example/huge.png"}}
    assert prompt_ceiling(b"{}", {"messages": [said], "max_tokens": 1}, TERMS) == 1_000


def test_text_in_all_its_places_is_held_by_its_length() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "x"}, "y"], "name": "a"},
        {"role": "assistant", "content": None, "tool_calls": [call], "audio": None},
        {"role": "tool", "tool_call_id": "c", "content": "z"},
    ]
    assert prompt_ceiling(b"12", {"messages": messages, "max_tokens": 1}, TERMS) == 1
    items = [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}]},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
    ]
    assert prompt_ceiling(b"12", {"input": items, "max_output_tokens": 1}, TERMS) == 1


def test_text_that_begins_like_a_file_is_counted() -> None:
    assert counted_prompt(chat("data:" + "x" * 35)) == 10
    assert counted_prompt(chat([{"type": "text", "text": "data:" + "x" * 35}])) == 10


def test_every_name_in_the_schema_of_a_tool_is_counted() -> None:
    inner = {"description": "x" * 40}
    names = ("id", "role", "type", "status", "logprobs", "annotations", "url")
    for name in names:
        tool = {"function": {"parameters": {"properties": {name: inner}}}}
        assert counted_prompt({"tools": [tool]}) == 10


def test_inputs_of_embeddings_are_a_prompt_each_and_have_no_answer() -> None:
    arguments = {"input": ["x"] * 5_000}
    assert prompt_ceiling(b"x" * 10_000, arguments, TERMS) == 5_000
    assert answer_ceiling(arguments) == 0


def test_our_count_is_of_text_and_not_of_labels_or_embedded_files() -> None:
    parts = [
        {"type": "text", "text": "12345678"},
        {"image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert counted_prompt(chat(parts)) == 2
    assert counted_prompt({"input": [[1, 2, 3], [4]]}) == 4


@pytest.mark.parametrize(
    ("usage", "charged", "believed"),
    [
        (Usage(100, 50), 150, True),
        (Usage(50, 25), 75, True),
        (Usage(49, 50), 150, False),
        (Usage(100, 24), 150, False),
        (Usage(1_000, 0), 1_050, False),
        (None, 150, True),
    ],
    ids=[
        "as counted",
        "half",
        "prompt below half",
        "answer below half",
        "hidden answer",
        "nothing",
    ],
)
def test_what_the_provider_says_counts_where_it_can_be(
    usage: Usage | None, charged: int, believed: bool
) -> None:
    amounts, is_believed = used(Amounts(2_000, 1, 10**9), usage, Usage(100, 50), TERMS)
    assert (amounts.tokens, is_believed) == (charged, believed)


@given(HELD, st.none() | USAGE, USAGE)
def test_a_charge_is_never_above_its_hold(
    held: Amounts, usage: Usage | None, counted: Usage
) -> None:
    amounts, _ = used(held, usage, counted, TERMS)
    assert 0 <= amounts.tokens <= held.tokens
    assert 0 <= amounts.cost <= held.cost


@given(HELD, st.none() | USAGE, USAGE, AMOUNT)
def test_more_text_never_costs_less(
    held: Amounts, usage: Usage | None, counted: Usage, more: int
) -> None:
    less, _ = used(held, usage, counted, TERMS)
    longer, _ = used(held, usage, Usage(counted.prompt, counted.completion + more), TERMS)
    assert longer.tokens >= less.tokens
    assert longer.cost >= less.cost


@given(AMOUNT, AMOUNT)
def test_something_never_costs_nothing(prompt: int, completion: int) -> None:
    assert (cost_of(prompt, completion, TERMS) > 0) is (prompt + completion > 0)


@given(st.integers(0, 10_000))
def test_an_answer_of_the_length_that_was_asked_for_is_never_cut(n_tokens: int) -> None:
    assert answer_bytes_within(n_tokens) >= 8 * n_tokens
