"""Definitions are pinned when first seen; whatever changes afterwards waits for a person."""

import json
from typing import Any

import pytest

from gateway.domain.definition import Listed, canonical
from gateway.domain.model import Approval, Kind
from gateway.store.pins import Sighting, Terms
from gateway.store.registry import MAX_PINS, Registry, examine
from tests.work import steps


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
    sightings = house.weigh(server, examine(house.terms[server], tools)).sightings
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


# -- names that can be mistaken ---------------------------------------------------------------------

ALIKE = ("Iist_files", "iist_files", "list_fiIes", "list__files", "1ist_files", "LIST_files")


@pytest.mark.parametrize("name", [*ALIKE, "list-files", "l\u0456st_files"])
def test_what_reads_like_list_files_at_a_glance_is_quarantined(name: str) -> None:
    house = registry()
    look(house, listed("list_files"))
    look(house, listed("list_files"), listed(name))
    assert approval(house, "list_files") is Approval.APPROVED
    assert approval(house, name) is Approval.QUARANTINED


@pytest.mark.parametrize("pair", [("burn", "bum"), ("write", "vvrite")])
def test_letters_that_run_together_are_quarantined(pair: tuple[str, str]) -> None:
    house = registry()
    look(house, *map(listed, pair))
    assert approval(house, pair[1]) is Approval.QUARANTINED


def test_ordinary_names_are_approved_side_by_side() -> None:
    house = registry()
    names = ("get_item", "get_items", "list1", "list2", "read_file", "read_files")
    look(house, *map(listed, names))
    assert {approval(house, name) for name in names} == {Approval.APPROVED}


def test_a_person_may_approve_what_is_alike_only_at_a_glance() -> None:
    house = registry()
    look(house, listed("get_mall"), listed("get_mail"), listed("get-mall"))
    assert house.shadowed_by(("desk", Kind.TOOL, "get_mail")) is None
    assert house.shadowed_by(("desk", Kind.TOOL, "get-mall")) is not None
    place = ("desk", Kind.TOOL, "get_mail")
    approved = house.approve(place, house.pins[place].digest)
    assert approved is not None
    house.apply([approved])
    look(house, listed("get_mall"))
    look(house, listed("get_mall"), listed("get_mail"))
    assert approval(house, "get_mail") is Approval.APPROVED, "the person had a look at it"


def test_a_look_alike_is_not_approved_by_leaving_and_coming_back() -> None:
    house = registry()
    look(house, listed("list_files"), listed("iist_files"))
    look(house, listed("list_files"))
    look(house, listed("list_files"), listed("iist_files"))
    assert approval(house, "iist_files") is Approval.QUARANTINED


def test_a_look_alike_takes_no_tool_away_from_its_server() -> None:
    house = behind({"desk": Terms("desk", True), "evil": Terms("desk-pay", True)})
    look(house, listed("pay_out"))
    look(house, listed("out"), server="evil")
    look(house)
    look(house, listed("pay_out"))
    assert approval(house, "pay_out") is Approval.APPROVED
    assert approval(house, "out", "evil") is Approval.QUARANTINED


# -- more than a server may have --------------------------------------------------------------------


def many(prefix: str, count: int) -> list[Listed]:
    return [listed(f"{prefix}x{n}") for n in range(count)]


def test_beyond_its_bound_a_server_has_nothing_new() -> None:
    house = registry()
    found = house.weigh("desk", examine(house.terms["desk"], many("a", MAX_PINS + 5)))
    assert (len(found.sightings), len(found.refused)) == (MAX_PINS, 5)
    assert found.refused[-1].item.name == f"ax{MAX_PINS + 4}"


def test_new_names_every_time_push_out_only_what_nobody_approved() -> None:
    house = registry(first_seen=False)
    look(house, listed("kept"))
    pin = house.approve(("desk", Kind.TOOL, "kept"), house.pins["desk", Kind.TOOL, "kept"].digest)
    assert pin is not None
    house.apply([pin])
    for turn in "abc":
        look(house, *many(turn, 1500))
        assert len(house.pins) <= MAX_PINS
        assert ("desk", Kind.TOOL, f"{turn}x0") in house.pins
    assert house.pins["desk", Kind.TOOL, "kept"].approved_digest
    assert ("desk", Kind.TOOL, "ax0") not in house.pins


def test_what_was_approved_fills_the_bound_and_stays() -> None:
    house = registry()
    for turn in "abc":
        look(house, *many(turn, 1500))
    assert len(house.pins) == MAX_PINS
    assert not any(pin.place[2].startswith("cx") for pin in house.pins.values())


def test_the_work_to_weigh_many_tools_grows_as_they_do() -> None:
    house = registry()
    names = many("\u0430" * 100, 5000)
    few, seen = (examine(house.terms["desk"], names[:n]) for n in (500, 5000))
    assert len(house.weigh("desk", seen).refused) == 3000
    once = steps(lambda: house.weigh("desk", few))
    assert steps(lambda: house.weigh("desk", seen)) < 8 * once  # 2000 of them are looked at


def test_an_oversized_definition_never_comes_back_as_the_empty_one() -> None:
    house = registry()
    look(house, Listed(Kind.PROMPT, "p", b"{}"))
    look(house)
    look(house, Listed(Kind.PROMPT, "p", b"{}", "it has too many bytes"))
    assert house.pins["desk", Kind.PROMPT, "p"].approval is Approval.QUARANTINED
