"""RFC 8785: its own examples, and what has no canonical form."""

import json
from typing import Any

import pytest

from gateway.domain.jcs import NotCanonical, canonical_json

# RFC 8785 s3.2.2 and s3.2.3, appendix B.
NUMBERS = {
    0.0: "0",
    5e-324: "5e-324",
    -5e-324: "-5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
    9007199254740992.0: "9007199254740992",
    295147905179352830000.0: "295147905179352830000",
    9.999999999999997e22: "9.999999999999997e+22",
    1e23: "1e+23",
    1.0000000000000001e23: "1.0000000000000001e+23",
    999999999999999700000.0: "999999999999999700000",
    999999999999999900000.0: "999999999999999900000",
    1e21: "1e+21",
    9.999999999999997e-7: "9.999999999999997e-7",
    0.000001: "0.000001",
    333333333.33333329: "333333333.3333333",
    1424953923781206.25: "1424953923781206.2",
    -0.0000033333333333333333: "-0.0000033333333333333333",
}


@pytest.mark.parametrize(("number", "written"), NUMBERS.items(), ids=NUMBERS.values())
def test_numbers_are_written_as_in_ecmascript(number: float, written: str) -> None:
    assert canonical_json(number).decode() == written


def test_the_example_of_the_specification() -> None:
    said = r"""{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
    "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"""
    assert canonical_json(json.loads(said)).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_members_are_in_the_order_of_utf16() -> None:
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]
    written = canonical_json(dict.fromkeys(names, 0))
    assert list(json.loads(written)) == [
        "\r",
        "1",
        "\x80",
        "\xf6",
        "\u20ac",
        "\U0001f600",
        "\ufb33",
    ]


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 10**400, "\ud800", {"\udc00": 1}, nested(65)],
    ids=["nan", "infinite", "beyond-double", "half-a-pair", "half-a-pair-as-name", "deep"],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)
