"""Resource URIs against RFC 6570 templates, and URIs that mean more than they say."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.template import BadTemplate, Template, is_plain

BOUND_S = 5.0  # of processor time, for what needs hundredths of a second


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("file:///repo/{path}", "file:///repo/README.md"),
        ("file:///repo/{+path}", "file:///repo/src/main.py"),
        ("db://{table}/rows/{id}", "db://users/rows/7"),
        ("db://{table}/rows{?q,limit}", "db://users/rows"),
        ("db://{table}/rows{?q,limit}", "db://users/rows?q=a/b&limit=2"),
        ("x://a?fixed=1{&more}", "x://a?fixed=1&more=2"),
        ("x://{a}{b}", "x://uv"),
        ("x://{name}.{ext}", "x://a.b.c"),
        ("x://page{.format}", "x://page.json"),
        ("x://page{.format}", "x://page"),
        ("x://base{/parts}", "x://base/a/b"),
        ("x://m{;key}", "x://m;key=1"),
        ("x://doc{#part}", "x://doc#top"),
        ("x://{list*}", "x://a,b"),
        ("x://{short:3}", "x://abc"),
        ("x://{name}", "x://caf\u00e9"),
        ("x://{name}", "x://caf%C3%A9"),
        ("{+uri}", "http://anything/at?all"),
        ("x://fixed", "x://fixed"),
    ],
)
def test_an_expansion_matches_its_template(template: str, uri: str) -> None:
    assert Template.parse(template).matches(uri)


@pytest.mark.parametrize(
    ("template", "uri"),
    [
        ("file:///repo/{path}", "file:///repo/src/main.py"),
        ("file:///repo/{path}", "file:///repo/"),
        ("file:///repo/{path}", "file:///other/README.md"),
        ("file:///repo/{path}", "xfile:///repo/README.md"),
        ("db://{table}/rows", "db://users/rows/7"),
        ("db://{table}/rows", "db:///rows"),
        ("db://{table}/rows{?q}", "db://users/rows?"),
        ("x://{name}", "x://a?b"),
        ("x://{name}", "x://a#b"),
        ("x://fixed", "x://fixed2"),
        ("", "x://a"),
        ("", ""),
    ],
)
def test_what_is_no_expansion_does_not_match(template: str, uri: str) -> None:
    assert not Template.parse(template).matches(uri)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("file:///repo/../etc/passwd", id="climbs"),
        pytest.param("file:///repo/./x", id="dot segment"),
        pytest.param("file:///repo/..", id="climbs at the end"),
        pytest.param("file:///repo/..?x", id="climbs before a query"),
        pytest.param("file:///repo/%2e%2e/etc/passwd", id="climbs percent-encoded"),
        pytest.param("file:///repo/%2E./x", id="climbs half encoded"),
        pytest.param("file:///repo/..%2fetc%2fpasswd", id="encoded slash"),
        pytest.param("file:///repo/%252e%252e/x", id="encoded twice"),
        pytest.param("file:///repo/%2525252525252e./x", id="encoded without end"),
        pytest.param("file:///repo/..\\etc", id="backslash"),
        pytest.param("file:///repo/a\x00b", id="NUL"),
        pytest.param("file:///repo/a%00b", id="NUL encoded"),
        pytest.param("file:///repo/a\nb", id="line break"),
        pytest.param("file:///repo/a%0d%0ab", id="line break encoded"),
        pytest.param("file:///repo/a b", id="blank"),
        pytest.param("file:///repo/a\u202eb", id="right-to-left override"),
        pytest.param("file:///repo/" + "a" * 3_000, id="too long"),
    ],
)
def test_a_uri_that_a_server_may_read_as_another_matches_no_template(uri: str) -> None:
    assert not is_plain(uri)
    assert not Template.parse("file:///repo/{+path}").matches(uri)


@pytest.mark.parametrize(
    "uri", ["file:///a/..b/c...d", "x://a%2Fb", "x://50%25", "x://v1.2.3", "test://static/text"]
)
def test_ordinary_dots_and_escapes_are_plain(uri: str) -> None:
    assert is_plain(uri)


@pytest.mark.parametrize(
    "template",
    ["x://{", "x://}", "x://{}", "x://{a", "x://a}", "x://{{a}}", "x://{!a}", "x://{a b}",
     "x://{a,}", "x://" + "{a}" * 17, "x" * 2_000],
)  # fmt: skip
def test_what_is_not_a_template_is_said_so(template: str) -> None:
    with pytest.raises(BadTemplate):
        Template.parse(template)


def test_a_template_made_to_backtrack_costs_no_more_than_another() -> None:
    evil = Template.parse("x://" + "{a}x" * 15 + "{b}!")
    started = time.process_time()
    assert not evil.matches("x://" + "ax" * 1_000 + "?!")
    assert not evil.matches("x://" + "x" * 2_000 + "?!")
    # A backtracking matcher needs longer than the sun has.
    assert time.process_time() - started < BOUND_S


@given(
    values=st.lists(st.text("abcxyz019._~-", min_size=1, max_size=6), min_size=1, max_size=4),
    literals=st.lists(st.text("abx/.", max_size=4), min_size=5, max_size=5),
)
def test_any_simple_expansion_is_found_again(values: list[str], literals: list[str]) -> None:
    template = "s:" + "".join(f"{text}{{v{i}}}" for i, text in enumerate(literals[: len(values)]))
    uri = "s:" + "".join(t + v for t, v in zip(literals, values, strict=False))
    assert Template.parse(template).matches(uri) is is_plain(uri)


EXPRESSIONS = {  # expression -> what it expands to, as a regular expression
    "{v}": "[^/?#]+",
    "{+v}": ".+",
    "{.v}": "(?:[.][^/?#]+)?",
    "{/v}": "(?:/[^?#]+)?",
    "{?v}": "(?:[?][^#]+)?",
    "{#v}": "(?:#.+)?",
}


@given(
    parts=st.lists(st.sampled_from([*EXPRESSIONS, "a", "b", "/", "?", "#", "ab"]), max_size=6),
    tail=st.text("ab/?#", max_size=9),
)
def test_matching_equals_the_regular_expression_that_backtracks(
    parts: list[str], tail: str
) -> None:
    template, uri = "s:" + "".join(parts), "s:" + tail
    pattern = "s:" + "".join(EXPRESSIONS.get(part, re.escape(part)) for part in parts)
    assert Template.parse(template).matches(uri) is (re.fullmatch(pattern, uri) is not None)
