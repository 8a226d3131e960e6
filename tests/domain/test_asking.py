"""What a server may ask whoever calls it, and what it is told of that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.asking import (
    APPS,
    KINDS,
    Ask,
    as_child,
    declared,
    offered,
    problem_of,
    without_others,
)
from gateway.domain.model import Act, Call, CallClass, Kind, Principal

ALL = KINDS
ONLY_FORMS = frozenset({"elicitation"})


def caps(**said: Any) -> bytes:
    return json.dumps(said).encode()


FORM = Ask("elicitation/create", {"message": b'"?"'})
URL = Ask("elicitation/create", {"mode": b'"url"'})
SAMPLE = Ask("sampling/createMessage", {})
ROOTS = Ask("roots/list", {})


@pytest.mark.parametrize(
    ("ask", "capabilities", "requests", "says"),
    [
        pytest.param(FORM, caps(elicitation={}), ONLY_FORMS, "", id="a form, as of old"),
        pytest.param(FORM, caps(elicitation={"form": {}}), ONLY_FORMS, "", id="a form"),
        pytest.param(URL, caps(elicitation={"url": {}}), ONLY_FORMS, "", id="a page"),
        pytest.param(SAMPLE, caps(sampling={}), ALL, "", id="sampling"),
        pytest.param(ROOTS, caps(roots={"listChanged": True}), ALL, "", id="roots"),
        pytest.param(
            FORM, caps(), ONLY_FORMS, "did not declare elicitation", id="nothing declared"
        ),
        pytest.param(
            URL, caps(elicitation={}), ONLY_FORMS, "elicitation by url", id="a page where forms are"
        ),
        pytest.param(
            FORM, caps(elicitation={"url": {}}), ONLY_FORMS, "by form", id="a form where pages are"
        ),
        pytest.param(
            Ask("elicitation/create", {"mode": b"7"}),
            caps(elicitation={}),
            ONLY_FORMS,
            "elicitation by",
            id="a mode that is none",
        ),
        pytest.param(
            SAMPLE, caps(sampling={}), ONLY_FORMS, "not among the requests", id="not allowed"
        ),
        pytest.param(ROOTS, caps(sampling={}), ALL, "did not declare roots", id="another declared"),
        pytest.param(
            SAMPLE, caps(sampling=True), ALL, "did not declare", id="declared as no object"
        ),
        pytest.param(FORM, b"", ONLY_FORMS, "did not declare", id="no capabilities"),
        pytest.param(
            FORM, b"[]", ONLY_FORMS, "did not declare", id="capabilities of a wrong shape"
        ),
        pytest.param(
            Ask("tools/call", {}), caps(elicitation={}), ALL, "this kind", id="nothing to ask"
        ),
    ],
)
def test_what_may_be_asked_is_allowed_and_declared(
    ask: Ask, capabilities: bytes, requests: frozenset[str], says: str
) -> None:
    problem = problem_of(ask, capabilities, requests)
    assert says in problem
    assert bool(says) is bool(problem)


def test_a_session_is_opened_with_what_may_be_asked_and_nothing_else() -> None:
    said = caps(
        sampling={"tools": {}, "vendor": {"x": 1}},
        roots={"listChanged": True},
        elicitation={},
        experimental={"x": {}},
    )
    assert json.loads(offered(said, ALL)) == {
        "elicitation": {"form": {}},
        "roots": {},
        "sampling": {"tools": {}},
    }
    assert offered(said, ONLY_FORMS) == b'{"elicitation":{"form":{}}}'
    assert offered(b"{", ALL) == b"{}"


def test_a_client_that_shows_apps_is_said_to() -> None:
    html = "text/html;profile=mcp-app"
    for types, shows in (([html, "x"], True), (["x"], False), (None, False)):
        said = caps(extensions={APPS: {"mimeTypes": types}, "other/x": {}})
        expected = {"extensions": {APPS: {"mimeTypes": [html]}}} if shows else {}
        assert json.loads(offered(said, ALL)) == expected


def test_the_same_declared_in_other_words_is_the_same_session() -> None:
    one = caps(elicitation={"url": {}, "form": {}}, roots={})
    other = caps(roots={"listChanged": False}, elicitation={"form": {"a": 1}, "url": {}}, x=1)
    assert offered(one, ALL) == offered(other, ALL)


def test_what_may_not_be_asked_is_not_passed_on_and_all_else_is() -> None:
    said = caps(sampling={}, elicitation={"form": {}}, extensions={"a/b": {}})
    kept = without_others(said, ONLY_FORMS)
    assert json.loads(kept) == {"elicitation": {"form": {}}, "extensions": {"a/b": {}}}
    untouched = caps(elicitation={}, extensions={})
    assert without_others(untouched, ONLY_FORMS) is untouched


def test_a_declaration_that_nests_deeply_declares_nothing() -> None:
    assert not declared(b'{"elicitation":' * 50_000)


def test_a_question_is_a_call_under_the_one_it_came_up_in() -> None:
    call = Call(
        "C1", Principal("default", "bot"), "tools/call", Kind.TOOL, "s", "t", Act.CALL,
        CallClass.FULL, {"name": b'"t"'}, {"a": 1}, {"progressToken": b"1"},
    )  # fmt: skip
    child = as_child(call, FORM, "C2")
    assert (child.id, child.parent, child.method) == ("C2", "C1", "elicitation/create")
    assert (child.object, child.principal, child.arguments) == (
        call.object,
        call.principal,
        call.arguments,
    )
    assert (child.params, child.meta) == ({"message": b'"?"'}, {})
