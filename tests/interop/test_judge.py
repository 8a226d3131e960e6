"""The judge of `make interop` accepts one course of things and complains of every other."""

from typing import Any

import pytest

from tests.interop.__main__ import OFFERED, UNKNOWN, Client, Happened, judge

GOOD = Happened(OFFERED, ["5"], f"Error: {UNKNOWN} Use a name from the list.")
LISTED = {"kind": "single", "object": "tool/-", "status": "ok"}
CALLED = {"kind": "call", "object": "tool/desk/add", "status": "ok"}
REFUSED = {"kind": "refused", "object": "tool/desk/where", "code": "forbidden", "status": "refused"}
LOG = [LISTED, CALLED, REFUSED]


def complaints(happened: Happened, log: list[dict[str, Any]]) -> list[str]:
    def use(url: str, key: str) -> Happened:
        raise NotImplementedError

    return list(judge(Client("a", use, UNKNOWN), happened, log))


def test_what_should_happen_is_accepted() -> None:
    assert complaints(GOOD, LOG) == []


@pytest.mark.parametrize(
    ("happened", "log", "complaint"),
    [
        pytest.param(
            Happened([*OFFERED, "desk_where"], ["5"], UNKNOWN), LOG, "offered", id="offered more"
        ),
        pytest.param(Happened(OFFERED, [], UNKNOWN), LOG, "answered", id="never called"),
        pytest.param(Happened(OFFERED, ["5"], "none: 506"), LOG, "told", id="was let through"),
        pytest.param(GOOD, [LISTED, CALLED], "left", id="a refusal that nobody wrote down"),
        pytest.param(GOOD, [LISTED, REFUSED], "left", id="a call that nobody wrote down"),
        pytest.param(GOOD, [*LOG, CALLED], "left", id="a call twice"),
    ],
)
def test_anything_else_is_complained_of(
    happened: Happened, log: list[dict[str, Any]], complaint: str
) -> None:
    (said,) = complaints(happened, log)
    assert complaint in said
