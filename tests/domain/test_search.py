"""Tools are found by words, the best first; what a caller does not see changes nothing of it."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain import search
from gateway.domain.model import Definition
from gateway.domain.search import MAX_TERMS, MAX_WORDS, Index, words
from tests.edge.definitions import tool

TOOLS = (
    tool("time", "get_current_time", description="Says what time it is in a city."),
    tool("time", "listZones", description="All zones of the world."),
    tool("pay", "refund", description="Gives money back.", inputSchema={
        "type": "object",
        "properties": {"invoice": {"type": "string", "description": "Which bill was paid."}},
    }),
    tool("pay", "send", title="Remit", description="Pays somebody."),
    tool("docs", "delete_page", description="Removes a page for ever."),
    tool("docs", "delete_pages", description="Removes many pages."),
    tool("docs", "contract", description="Says what was agreed."),
    tool("docs", "\u691c\u7d22", description="\u6587\u66f8\u3092\u691c\u7d22\u3057\u307e\u3059"),
)  # fmt: skip


def found(query: str, tools: tuple[Definition, ...] = TOOLS, most: int = 5) -> list[str]:
    index = Index(tools)
    return [one.wire_name for one in index.find(query, index.sight(tools), most)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("getHTTPZone_v2", ["get", "http", "zone", "v2"]),
        ("Stra\u00dfe, caf\u00e9!", ["strasse", "caf\u00e9"]),
        ("\uff27\uff45\uff54 it", ["get"]),
        ("\u6771\u4eacTower", ["\u6771", "\u4eac", "tower"]),
        ("  ... __ ", []),
    ],
)
def test_a_text_is_taken_apart_into_words(text: str, said: list[str]) -> None:
    assert words(text) == said


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("what time is it", "time_get_current_time"),
        ("time_get_current_time", "time_get_current_time"),
        ("zone", "time_listZones"),
        ("Zones", "time_listZones"),
        ("docs_delete_page", "docs_delete_page"),
        ("docs_delete_pages", "docs_delete_pages"),
        ("invoices", "pay_refund"),  # the name of a parameter, in another form
        ("invoixe", "pay_refund"),  # and misspelled towards its end
        ("bill", "pay_refund"),
        ("remitting", "pay_send"),
        ("sending", "pay_send"),
        ("contr", "docs_contract"),
        ("\u6587\u66f8\u691c\u7d22", "docs_\u691c\u7d22"),
    ],
)
def test_the_best_fit_is_found_first(query: str, first: str) -> None:
    assert found(query)[0] == first


def test_a_word_of_the_name_weighs_more_than_one_of_the_description() -> None:
    tools = (tool("b", "longer_invoice"), tool("a", "x", description="Of an invoice."))
    assert found("invoice", tools) == ["b_longer_invoice", "a_x"]


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    common = [tool("a", f"get_{number}") for number in range(20)]
    assert found("get gold", (*common, tool("a", "mine_gold_in_the_hills")))[0].startswith("a_mine")


def test_nothing_is_found_by_what_no_tool_says() -> None:
    assert [found(query) for query in ("bicycle", "???", "the", "zo", "\u00e9")] == [[]] * 5


def test_no_more_is_found_than_was_asked_for_and_equal_ones_in_order() -> None:
    tools = tuple(tool("a", f"get_{number:03}") for number in range(50))
    assert found("get", tools, 3) == ["a_get_000", "a_get_001", "a_get_002"]
    assert found("get", tools[::-1], 3) == ["a_get_000", "a_get_001", "a_get_002"]


def test_of_a_tool_that_says_everything_only_the_first_words_count() -> None:
    said = " ".join(f"w{number}" for number in range(MAX_WORDS + 50))
    tools = (tool("a", "b", description=said),)
    assert found("w5", tools) == ["a_b"]
    assert found(f"w{MAX_WORDS + 10}", tools) == []


def test_of_a_long_query_only_the_first_words_count() -> None:
    filler = " ".join(f"none{number}" for number in range(MAX_TERMS))
    assert found(f"zones {filler}") == ["time_listZones"]
    assert found(f"{filler} zones") == []


def test_a_definition_that_says_nothing_well_is_found_by_its_name() -> None:
    odd = tool("a", "odd", description=7, title=[], inputSchema={"properties": {"x": True}})
    assert found("odd", (odd,)) == ["a_odd"]


_WORDS = ["get", "zone", "zones", "page", "refund", "pay", "list", "payment"]
_SAID = st.lists(st.sampled_from(_WORDS), max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    said=st.lists(st.tuples(_SAID, _SAID), min_size=1, max_size=8),
    seen=st.lists(st.booleans(), min_size=8, max_size=8),
    query=_SAID,
)
def test_what_is_hidden_changes_nothing_of_what_is_found(
    said: list[tuple[list[str], list[str]]], seen: list[bool], query: list[str]
) -> None:
    tools = [
        tool("s", "_".join([*name, str(number)]), description=" ".join(text))
        for number, (name, text) in enumerate(said)
    ]
    visible = [one for one, is_seen in zip(tools, seen, strict=False) if is_seen]
    whole, alone = Index(tools), Index(visible)
    asked = " ".join(query)
    assert whole.find(asked, whole.sight(visible), 5) == alone.find(asked, alone.sight(visible), 5)


def work(index: Index, query: str, visible: tuple[Definition, ...]) -> int:
    """How many lines are executed to find *query* among *visible*."""
    lines = 0

    def counting(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != search.__file__:
            return None
        lines += event == "line"
        return counting

    sight, before = index.sight(visible), sys.gettrace()
    sys.settrace(counting)
    try:
        index.find(query, sight, 5)
    finally:
        sys.settrace(before)
    return lines


FORMS = "payroll payrolls payrolled payrolling payroa payrob payroc payrod"


@pytest.mark.parametrize("query", [FORMS, "payroll adds", "adds"])
def test_a_search_costs_the_same_whatever_the_tools_that_are_hidden_say(query: str) -> None:
    seen = (tool("shelf", "add", description="Adds numbers."), tool("shelf", "sum"))
    hidden = tuple(tool("hr", f"h{number}", description="Payroll adds.") for number in range(200))
    other = tuple(tool("hr", f"h{number}", description="Nothing.") for number in range(200))
    costs = [work(Index((*seen, *rest)), query, seen) for rest in ((), hidden, other)]
    assert costs[0] > 0
    assert costs == costs[:1] * 3
