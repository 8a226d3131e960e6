"""Definitions are pinned when first seen; whatever changes afterwards waits for a person."""

import json
from typing import Any

import pytest

from gateway.domain.definition import Listed, canonical
from gateway.domain.model import Approval, Kind
from gateway.store.registry import Registry, Sighting, Terms


def listed(name: str, fault: str = "", **fields: Any) -> Listed:
    definition = {"name": name, "inputSchema": {"type": "object"}, **fields}
    return Listed(Kind.TOOL, name, canonical(definition), fault)


def registry(*, first_seen: bool = True) -> Registry:
    return behind({"desk": Terms("desk", first_seen)})


def behind(servers: dict[str, Terms]) -> Registry:
    house = Registry()
    for name, terms in servers.items():
        house.add_server(name, terms)
    return house


def look(house: Registry, *tools: Listed, server: str = "desk") -> list[Sighting]:
    sightings = house.compare(server, tools)
    house.apply(sighting.pin for sighting in sightings)
    return sightings


def approval(house: Registry, name: str, server: str = "desk") -> Approval:
    return house.pins[server, Kind.TOOL, name].approval


def test_what_is_seen_first_is_proposed_and_not_listed() -> None:
    house = registry(first_seen=False)
    [seen] = look(house, listed("add"))
    assert seen.what == "definition.seen"
    assert approval(house, "add") is Approval.PROPOSED
    assert house.catalogue.listing(Kind.TOOL) == ()


def test_first_seen_approves_it_with_its_digest() -> None:
    house = registry()
    look(house, listed("add"))
    [definition] = house.catalogue.listing(Kind.TOOL)
    assert definition.wire_name == "desk_add"
    assert definition.digest == house.pins["desk", Kind.TOOL, "add"].approved_digest
    assert definition.validate is not None


def test_the_same_definition_in_another_order_of_keys_is_the_same() -> None:
    house = registry()
    look(house, listed("add", title="Add", description="adds"))
    assert look(house, listed("add", description="adds", title="Add")) == []


def test_one_changed_byte_quarantines_the_tool_and_keeps_what_was_approved() -> None:
    house = registry()
    look(house, listed("add", description="adds"), listed("sub"))
    [changed] = look(house, listed("add", description="addS"), listed("sub"))
    pin = house.pins["desk", Kind.TOOL, "add"]
    assert changed.what == "definition.changed"
    assert pin.approval is Approval.QUARANTINED
    assert json.loads(pin.approved_body)["description"] == "adds"
    assert [d.name for d in house.catalogue.listing(Kind.TOOL)] == ["sub"]


def test_the_approved_definition_is_in_force_again_when_it_comes_back() -> None:
    house = registry()
    look(house, listed("add", description="adds"))
    look(house, listed("add", description="evil"))
    [back] = look(house, listed("add", description="adds"))
    assert back.what == "definition.back"
    assert approval(house, "add") is Approval.APPROVED


def test_a_tool_that_disappears_and_returns_changed_stays_quarantined() -> None:
    house = registry()
    look(house, listed("add", description="adds"))
    [gone] = look(house)
    assert gone.what == "definition.gone"
    assert house.catalogue.find("desk", Kind.TOOL, "add") is None
    look(house, listed("add", description="evil"))
    assert approval(house, "add") is Approval.QUARANTINED


def test_one_tool_with_a_broken_schema_does_not_take_its_server_along() -> None:
    house = registry()
    look(house, listed("bad", fault="the input schema cannot be used"), listed("good"))
    assert approval(house, "bad") is Approval.QUARANTINED
    assert approval(house, "good") is Approval.APPROVED


@pytest.mark.parametrize(
    "hidden",
    ["\u202e", "\u200b", "\U000e0041", "\u2066", "\x1b[31m", "\ufeff"],
    ids=["bidi override", "zero width", "tag letter", "isolate", "escape", "byte order mark"],
)
def test_hidden_characters_in_a_description_wait_for_a_person(hidden: str) -> None:
    house = registry()
    look(house, listed("add", description=f"adds{hidden}"))
    assert approval(house, "add") is Approval.QUARANTINED
    assert "hidden character" in house.pins["desk", Kind.TOOL, "add"].reason


def test_hidden_characters_deep_in_the_schema_are_found() -> None:
    house = registry()
    schema = {"type": "object", "properties": {"a": {"enum": [{"x": ["fine", "b\u200dad"]}]}}}
    look(house, listed("add", inputSchema=schema))
    assert approval(house, "add") is Approval.QUARANTINED


@pytest.mark.parametrize(
    ("servers", "second"),
    [
        ({"a": Terms("a", True), "a_b": Terms("a_b", True)}, ("a", "b_c")),
        ({"x": Terms("same", True), "y": Terms("same", True)}, ("y", "c")),
    ],
    ids=["ambiguous prefix", "same prefix"],
)
def test_a_newcomer_with_a_taken_wire_name_is_quarantined(
    servers: dict[str, Terms], second: tuple[str, str]
) -> None:
    house = behind(servers)
    first = "a_b" if "a_b" in servers else "x"
    look(house, listed("c"), server=first)
    look(house, listed(second[1]), server=second[0])
    assert approval(house, "c", first) is Approval.APPROVED
    assert approval(house, second[1], second[0]) is Approval.QUARANTINED
    assert house.shadowed_by((second[0], Kind.TOOL, second[1])) == (first, Kind.TOOL, "c")


def test_a_look_alike_in_another_script_is_quarantined() -> None:
    house = registry()
    look(house, listed("pay"), listed("p\u0430y"))
    assert approval(house, "pay") is Approval.APPROVED
    assert approval(house, "p\u0430y") is Approval.QUARANTINED


def test_tools_outside_the_operators_globs_do_not_exist() -> None:
    house = behind({"desk": Terms("desk", True, tools=("get_*",))})
    look(house, listed("get_page"), listed("delete_page"))
    assert ("desk", Kind.TOOL, "delete_page") not in house.pins


def test_only_the_definition_that_the_person_saw_is_approved() -> None:
    house = registry(first_seen=False)
    look(house, listed("add", description="adds"))
    seen = house.pins["desk", Kind.TOOL, "add"]
    look(house, listed("add", description="changed meanwhile"))
    assert house.approve(seen.place, seen.digest) is None
    now = house.pins["desk", Kind.TOOL, "add"]
    approved = house.approve(now.place, now.digest)
    assert approved is not None
    assert approved.approval is Approval.APPROVED


def test_tags_and_prices_come_from_the_operator() -> None:
    terms = Terms(
        "desk",
        True,
        tags=(("get_*", ("file_read",)), ("*", ("egress",))),
        prices=(("get_*", 7), ("*", 1)),
        result_tokens=(("*", 50),),
    )
    house = behind({"desk": terms})
    look(house, listed("get_page"))
    [definition] = house.catalogue.listing(Kind.TOOL)
    assert definition.tags == {"file_read", "egress"}
    assert (definition.price_micros, definition.max_result_tokens) == (7, 50)


def test_a_suspended_server_lists_nothing() -> None:
    house = registry()
    look(house, listed("add"))
    house.set_suspended("desk", True)
    assert house.catalogue.listing(Kind.TOOL) == ()
    assert not house.catalogue.serves("desk")
