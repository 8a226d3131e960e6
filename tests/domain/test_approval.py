"""When approvals are enough: roles, persons, and time, by the rules alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.approval import (
    ASK_LASTS_US,
    RUN_LASTS_US,
    USE_LASTS_US,
    Alternatives,
    Approver,
    Course,
    No,
    Petition,
    State,
    Yes,
    binding_of,
    filled,
    in_words,
    readable,
    sent,
)
from gateway.domain.model import Act, Call, CallClass, Kind, Principal
from tests.fakes import make_call

ROLES = {"ann": {"x"}, "bob": {"y"}, "cat": {"x", "y"}, "dan": {"x", "y", "z"}, "eve": set[str]()}
BOTH: Alternatives = (("x", "y"),)


def holds(approver: Approver, role: str) -> bool:
    return role in ROLES[approver.author]


def course(roles: Alternatives, *names: str, calls: int = 0) -> Course:
    petition = Petition(
        "A-00000000", 0, 0, "b", "r", roles, "t", "bot", (), "tool/a/b", "d", "run-1"
    )
    return Course(petition, tuple(Yes(Approver(name), 1, calls) for name in names))


@pytest.mark.parametrize(
    ("roles", "names", "enough"),
    [
        pytest.param(BOTH, ("ann", "bob"), True, id="one for each"),
        pytest.param(BOTH, ("cat",), False, id="one person with both"),
        pytest.param(BOTH, ("ann", "cat"), True, id="the second takes what is left"),
        pytest.param(BOTH, ("cat", "ann"), True, id="the first makes room"),
        pytest.param(BOTH, ("ann", "eve"), False, id="one without any"),
        pytest.param((("x",), ("z",)), ("dan",), True, id="either"),
        pytest.param((("x", "y", "z"),), ("cat", "dan", "ann"), True, id="three"),
        pytest.param((("x", "y", "z"),), ("cat", "ann", "bob"), False, id="nobody for the third"),
        pytest.param(((),), ("dan",), False, id="no role at all"),
    ],
)
def test_each_role_takes_a_person(
    roles: Alternatives, names: tuple[str, ...], enough: bool
) -> None:
    for order in itertools.permutations(names):
        state = course(roles, *order).state(holds, 2)
        assert (state is State.GRANTED) is enough, order


def test_no_more_roles_are_filled_than_there_are_persons() -> None:
    for names in itertools.combinations(ROLES, 2):
        assert filled(("x", "y", "z"), [Approver(name) for name in names], holds) <= 2


def test_each_state_ends_by_itself() -> None:
    assert course((("x",),)).state(holds, ASK_LASTS_US - 1) is State.WAITING
    assert course((("x",),)).state(holds, ASK_LASTS_US) is State.EXPIRED
    given = course((("x",),), "ann")
    assert given.state(holds, USE_LASTS_US) is State.GRANTED
    assert given.state(holds, 1 + USE_LASTS_US) is State.EXPIRED
    for_run = course((("x",),), "ann", calls=2)
    assert for_run.state(holds, RUN_LASTS_US) is State.GRANTED
    assert for_run.state(holds, 1 + RUN_LASTS_US) is State.EXPIRED


def test_used_up_is_used_up_and_no_is_no() -> None:
    used = course((("x",),), "ann", calls=2)
    for state in (State.GRANTED, State.GRANTED, State.USED):
        assert used.state(holds, 2) is state
        used.used += 1
    used.no = No(Approver("bob"), 3)
    assert used.state(holds, 4) is State.DENIED


def test_alternatives_read_as_a_sentence() -> None:
    assert in_words((("x", "y"), ("z",))) == "x+y or z"


def test_arguments_are_shown_whole_sorted_and_as_written() -> None:
    shown = readable({"arguments": '{"b":[1.50,{}],"a":"\\u0416\\n"}'})
    assert (
        shown
        == '{\n  "arguments": {\n    "a": "Ж\\n",\n    "b": [\n      1.50,\n      {}\n    ]\n  }\n}'
    )


CALL = Call(
    id="C1",
    principal=Principal("default", "bot"),
    method="tools/call",
    kind=Kind.TOOL,
    server="pay",
    name="refund",
    act=Act.CALL,
    weight=CallClass.FULL,
    params={"arguments": b'{"to":"bob"}'},
    meta={"com.example/account": b'"mine"', "progressToken": b"1", "traceparent": b'"00-a"'},
)


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"meta": {**CALL.meta, "com.example/account": b'"the-company"'}}, False),
        ({"meta": {**CALL.meta, "progressToken": b"2", "traceparent": b'"00-b"'}}, True),
        ({"params": {"arguments": b'{"to":"eve"}'}}, False),
        ({"params": {"arguments": b'{ "to" : "bob" }'}}, True),
    ],
    ids=["what is passed on beside", "the trace", "arguments", "spaces"],
)
def test_an_approval_is_for_all_that_the_server_may_act_on(
    changes: dict[str, Any], is_same: bool
) -> None:
    assert (binding_of(replace(CALL, **changes)) == binding_of(CALL)) is is_same


def test_a_message_is_the_same_under_another_id() -> None:
    def message(said: str, message_id: str) -> Call:
        raw = f'{{"messageId":"{message_id}","parts":[{{"text":"{said}"}}]}}'.encode()
        return replace(CALL, kind=Kind.PEER, params={"message": raw})

    assert binding_of(message("pay", "m1")) == binding_of(message("pay", "m2"))
    assert binding_of(message("pay", "m1")) != binding_of(message("pay more", "m1"))


@pytest.mark.parametrize(
    ("name", "raw", "is_shown"),
    [
        ("acme/target", b'"ann"', True),
        ("progressTokenX", b'"ann"', True),
        ("tracestate-acme", b'"ann"', True),
        ("traceparent2", b'"ann"', True),
        ("tracestate", b'{"target":"ann"}', True),
        ("tracestate", b'"' + b"x" * 513 + b'"', True),
        ("tracestate", b'"acme=1,other=2"', False),
        ("traceparent", b'"00-1"', False),
        ("progressToken", b"7", False),
        ("io.customhouse/run", b'"run-1"', False),
    ],
)
def test_whatever_a_server_may_act_on_is_shown_and_bound(
    name: str, raw: bytes, is_shown: bool
) -> None:
    assert (f"_meta.{name}" in sent(replace(make_call(), meta={name: raw}))) is is_shown
