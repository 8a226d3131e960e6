"""Names on the wire, and names that look alike."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.names import blur, is_name, likenesses, skeleton, wire_name


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def are_alike(one: str, other: str) -> bool:
    return any(a == b for a, b in zip(likenesses(one), likenesses(other), strict=True))


def test_a_short_plain_name_is_prefix_and_tool() -> None:
    assert wire_name("docs", "search") == "docs_search"


def test_forty_six_characters_are_kept_and_forty_seven_end_in_a_hash() -> None:
    assert wire_name("docs", "a" * 41) == "docs_" + "a" * 41
    long = "docs_" + "a" * 42
    assert wire_name("docs", "a" * 42) == f"{long[:37]}_{digest(long)}"
    assert len(wire_name("docs", "a" * 42)) == 46


def test_a_name_that_had_to_be_changed_ends_in_a_hash_so_that_it_is_nobody_elses() -> None:
    assert wire_name("docs", "repo/get") == f"docs_repo_get_{digest('docs_repo/get')}"
    assert wire_name("docs", "repo/search") == "docs_repo_search_415b94b1"
    assert wire_name("docs", "repo/get") != wire_name("docs", "repo.get")


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,31}", fullmatch=True), st.text(max_size=200))
def test_every_wire_name_fits_every_client(prefix: str, tool: str) -> None:
    name = wire_name(prefix, tool)
    assert 0 < len(name) <= 46
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def test_a_lone_surrogate_gets_a_wire_name_like_anything_else() -> None:
    assert wire_name("docs", "\ud800").startswith("docs__")


def test_two_servers_cannot_be_told_apart_by_prefix_alone() -> None:
    assert wire_name("a", "b_c") == wire_name("a_b", "c")


@pytest.mark.parametrize(
    "name", ["a", "report-bot", "x_1", "0day", "a" * 32], ids=lambda n: f"{len(n)} characters"
)
def test_names_are_lower_case_ascii(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "-a", "_a", "A", "a b", "a" * 33, "\u0430dmin", "a\n", "caf\u00e9", "a/b", "a\u200b"],
    ids=ascii,
)
def test_everything_else_is_not_a_name(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("alike", "name"),
    [
        pytest.param("p\u0430y", "pay", id="Cyrillic a"),
        pytest.param("\u0440\u0430\u0443", "pay", id="all Cyrillic"),
        pytest.param("\u03bf\u03c1en", "open", id="Greek omicron and rho"),
        pytest.param("\uff50\uff41\uff59", "pay", id="full width"),
        pytest.param("\U0001d429ay", "pay", id="mathematical bold"),
        pytest.param("p\u200bay", "pay", id="zero width space"),
        pytest.param("p\u2060a\u00ady", "pay", id="word joiner and soft hyphen"),
        pytest.param("pay\u202e", "pay", id="right-to-left override"),
        pytest.param("pay\U000e0041", "pay", id="tag character"),
        pytest.param("pay\ufe0f", "pay", id="variation selector"),
        pytest.param("pay\u3164", "pay", id="Hangul filler"),
        pytest.param("p\u0301ay", "pay", id="combining accent"),
        pytest.param("PAY", "pay", id="capitals"),
        pytest.param("get\u2010user", "get_user", id="Unicode hyphen for underscore"),
        pytest.param("get-user", "get_user", id="hyphen for underscore"),
        pytest.param("l0gin", "login", id="zero for o"),
        pytest.param("1ogin", "login", id="one for l"),
        pytest.param("g\u0131t", "git", id="dotless i"),
        pytest.param("pay ", "pay", id="trailing blank"),
        pytest.param("stra\u00dfe", "strasse", id="sharp s"),
    ],
)
def test_look_alikes_share_a_skeleton(alike: str, name: str) -> None:
    assert skeleton(alike) == skeleton(name)
    assert are_alike(name, alike)


def test_capital_i_is_drawn_like_small_l() -> None:
    assert set(likenesses("paI")) & set(likenesses("pal"))
    assert are_alike("get_Iist", "get_list")


@pytest.mark.parametrize(
    ("one", "other"),
    [("get_mail", "get_mall"), ("read", "reads"), ("step2", "step3"), ("on_fail", "on_fall")],
)
def test_ordinary_different_names_are_not_taken_for_each_other(one: str, other: str) -> None:
    assert not are_alike(one, other)


@pytest.mark.parametrize(
    "alike",
    [
        "Iist_files",
        "iist_files",
        "list_fiIes",
        "1ist_files",
        "list__files",
        "_list_files_",
        "LIST-FILES",
        "l\u0456st_f\u0456les",
    ],
)
def test_at_a_glance_it_is_list_files(alike: str) -> None:
    assert blur(alike) == blur("list_files")


@pytest.mark.parametrize(
    ("one", "other"), [("bum", "burn"), ("modem", "modern"), ("write", "vvrite"), ("v1", "vi")]
)
def test_at_a_glance_they_are_one(one: str, other: str) -> None:
    assert blur(one) == blur(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("get_item", "get_items"),
        ("list1", "list2"),
        ("read_file", "read_files"),
        ("get_user", "set_user"),
        ("create", "created"),
        ("getItem", "get_item"),
        ("a_b", "ab"),
    ],
)
def test_ordinary_names_stay_apart_at_a_glance(one: str, other: str) -> None:
    assert blur(one) != blur(other)


@given(st.text(st.characters(max_codepoint=0x7F), max_size=40))
def test_the_short_way_of_plain_names_is_the_long_way(name: str) -> None:
    # A combining mark makes the name take the long way, which leaves the mark out.
    assert skeleton(name) == skeleton(name + "\u0301")


@given(st.text(max_size=40))
def test_a_skeleton_is_its_own_skeleton(name: str) -> None:
    assert skeleton(skeleton(name)) == skeleton(name)
