"""Tests on JSON values: true, false, or undefined for whatever was not expected."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.predicates import MISSING, BadPredicate, Truth, build, find, pointer

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("table", "value", "truth"),
    [
        pytest.param({"equals": "a"}, "a", True, id="the same text"),
        pytest.param({"equals": "a"}, "A", False, id="case counts"),
        pytest.param({"equals": 5}, 5.0, True, id="numbers compare as numbers"),
        pytest.param({"equals": 5}, "5", None, id="a number as text is undefined"),
        pytest.param({"equals": 1}, True, None, id="true is not 1"),
        pytest.param({"equals": True}, 1, None, id="1 is not true"),
        pytest.param({"equals": "a"}, None, None, id="null is undefined"),
        pytest.param({"equals": "a"}, MISSING, None, id="missing is undefined"),
        pytest.param({"equals": "a"}, ["a"], None, id="wrapped in a list is undefined"),
        pytest.param({"in": ["a", "b"]}, "b", True, id="in the list"),
        pytest.param({"in": ["a", "b"]}, "c", False, id="not in the list"),
        pytest.param({"in": [1, 2]}, True, None, id="true is in no list of numbers"),
        pytest.param({"lte": 50}, 50, True, id="at most, at the bound"),
        pytest.param({"lte": 50}, 50.01, False, id="just above"),
        pytest.param({"lte": 50}, "50", None, id="a bound does not read text"),
        pytest.param({"lte": 50}, NAN, None, id="NaN is undefined"),
        pytest.param({"lte": 50}, -INFINITY, None, id="infinity is undefined"),
        pytest.param({"lt": 50}, 10**400, False, id="huge integers compare"),
        pytest.param({"gt": 0, "lte": 50}, 20, True, id="several operators must all hold"),
        pytest.param({"gt": 0, "lte": 50}, -1, False, id="one fails, all fail"),
        pytest.param({"prefix": "ab"}, "abc", True, id="prefix"),
        pytest.param({"suffix": "bc"}, "abc", True, id="suffix"),
        pytest.param({"contains": "b"}, "abc", True, id="contains"),
        pytest.param({"contains": "b"}, ["b"], None, id="contains is of text only"),
        pytest.param({"glob": "*.py"}, "a/b.py", True, id="glob at the end"),
        pytest.param({"glob": "a*b*c"}, "axbxbxc", True, id="glob twice"),
        pytest.param({"glob": "a*a"}, "a", False, id="glob does not use one letter twice"),
        pytest.param({"glob": "a*b*c"}, "acb", False, id="glob keeps the order"),
        pytest.param({"glob": "abc"}, "abcd", False, id="glob without a star is equality"),
        pytest.param({"glob": "*ab*ab*"}, "xab", False, id="glob needs both parts"),
        pytest.param({"under": "src"}, "src/a.py", True, id="below the folder"),
        pytest.param({"under": "src"}, "src", True, id="the folder itself"),
        pytest.param({"under": "src/"}, "src/a", True, id="a trailing slash is the same folder"),
        pytest.param({"under": "src"}, "src2/a", False, id="a longer name is another folder"),
        pytest.param({"under": "/srv"}, "srv/a", False, id="relative is not absolute"),
        pytest.param({"under": "src"}, "src/../etc", None, id="climbing is undefined"),
        pytest.param({"under": "src"}, "src/./a", None, id="a dot is undefined"),
        pytest.param({"under": "src"}, "src//a", None, id="a doubled slash is undefined"),
        pytest.param({"under": "src"}, "src\\..\\etc", None, id="a backslash is undefined"),
        pytest.param({"under": "src"}, "src/%2e%2e/etc", None, id="an escape is undefined"),
        pytest.param({"under": "src"}, "src/a\0", None, id="a control character is undefined"),
        pytest.param({"exists": True}, None, True, id="null exists"),
        pytest.param({"exists": True}, MISSING, False, id="missing does not exist"),
        pytest.param({"exists": False}, MISSING, True, id="absence can be asked for"),
        pytest.param({"length": {"lte": 3}}, "abc", True, id="length of text"),
        pytest.param({"length": {"lte": 3}}, [1, 2, 3, 4], False, id="length of a list"),
        pytest.param({"length": {"equals": 1}}, {"a": 1}, True, id="length of an object"),
        pytest.param({"length": {"lte": 3}}, 2, None, id="a number has no length"),
        pytest.param({"every": {"prefix": "a"}}, ["a", "ab"], True, id="every one"),
        pytest.param({"every": {"prefix": "a"}}, ["a", "b"], False, id="not every one"),
        pytest.param({"every": {"prefix": "a"}}, ["a", 1], None, id="one is no text"),
        pytest.param({"every": {"prefix": "a"}}, ["b", 1], False, id="one is certainly wrong"),
        pytest.param({"every": {"prefix": "a"}}, [], None, id="every one of none is undefined"),
        pytest.param({"every": {"prefix": "a"}}, "a", None, id="text is no list"),
        pytest.param({"some": {"prefix": "a"}}, ["b", "a"], True, id="some"),
        pytest.param({"some": {"prefix": "a"}}, ["b", 1], None, id="perhaps some"),
        pytest.param({"some": {"prefix": "a"}}, [], None, id="some of none is undefined"),
        pytest.param({"not": {"equals": "a"}}, "b", True, id="not"),
        pytest.param({"not": {"equals": "a"}}, MISSING, None, id="not of missing is undefined"),
        pytest.param({"not": {"equals": "a"}}, 1, None, id="not of another type is undefined"),
    ],
)
def test_an_operator_answers(table: dict[str, Any], value: object, truth: Truth) -> None:
    assert build(table)(value) is truth


@pytest.mark.parametrize(
    ("table", "says"),
    [
        pytest.param({}, "at least one operator", id="empty"),
        pytest.param({"like": "a"}, "unknown operator 'like'", id="unknown"),
        pytest.param({"regex": "(a+)+"}, "unknown operator", id="no regular expressions"),
        pytest.param({"prefix": ""}, "always true", id="empty prefix"),
        pytest.param({"glob": "**"}, "always true", id="glob of stars"),
        pytest.param({"in": []}, "1 to 1000", id="empty list"),
        pytest.param({"in": ["a", 1]}, "one type", id="mixed list"),
        pytest.param({"equals": [1]}, "expected a string", id="equality with a list"),
        pytest.param({"lte": "5"}, "finite number", id="a bound as text"),
        pytest.param({"lte": True}, "finite number", id="a bound as truth"),
        pytest.param({"lte": NAN}, "finite number", id="a bound that is not a number"),
        pytest.param({"exists": 1}, "true or false", id="exists takes truth"),
        pytest.param({"under": "/"}, "a folder", id="the root is everything"),
        pytest.param({"under": "a/../b"}, "a folder", id="a folder that climbs"),
        pytest.param({"length": 5}, "`length` takes a table", id="length without operator"),
        pytest.param({"length": {"equals": "5"}}, "`length` takes", id="length as text"),
        pytest.param({"every": {"exists": True}}, "every element exists", id="vacuous"),
        pytest.param(
            {"not": {"not": {"not": {"not": {"not": {"equals": 1}}}}}}, "deeper", id="nested"
        ),
    ],
)
def test_a_predicate_that_makes_no_sense_is_refused(table: dict[str, Any], says: str) -> None:
    with pytest.raises(BadPredicate, match=says):
        build(table)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("/a/b", 1, id="nested"),
        pytest.param("/list/1", "y", id="element"),
        pytest.param("/list/01", MISSING, id="no leading zeros"),
        pytest.param("/list/-", MISSING, id="the element after the last"),
        pytest.param("/list/2", MISSING, id="beyond the end"),
        pytest.param("/list/99999999999999999999", MISSING, id="far beyond the end"),
        pytest.param("/list/²", MISSING, id="a digit that is no index"),
        pytest.param("/x~1y", 2, id="a slash in a key"),
        pytest.param("/x~0y", 3, id="a tilde in a key"),
        pytest.param("/", 4, id="the empty key"),
        pytest.param("/a/b/c", MISSING, id="below a number"),
        pytest.param("/0", 5, id="a key that looks like an index"),
    ],
)
def test_a_pointer_finds(text: str, value: object) -> None:
    document = {"a": {"b": 1}, "list": ["x", "y"], "x/y": 2, "x~y": 3, "": 4, "0": 5}
    assert find(document, pointer(text)) == value


@pytest.mark.parametrize("text", ["", "amount", "/a~2b", "/a~", 5])
def test_a_bad_pointer_is_refused(text: object) -> None:
    with pytest.raises(BadPredicate):
        pointer(text)


def test_a_long_argument_is_judged_in_linear_time() -> None:
    # A backtracking matcher would not come back from this one.
    assert build({"glob": "a*a*a*a*a*a*a*a*a*b"})("a" * 200_000) is False
