"""requestState opens for the call it was sealed for, and for no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.domain.model import Act, Call, CallClass, Kind, Principal
from gateway.domain.refusal import Refused
from gateway.edge import state
from gateway.edge.state import LIFETIME_US, MAX_ROUNDS, States, spent_mark
from tests.edge.definitions import tool
from tests.edge.fakes import STATE_KEY
from tests.edge.people import ALICE, BOB, NOW_US

EPOCH = "this process"
CALL = Call(
    id="FIRST",
    principal=ALICE,
    method="tools/call",
    kind=Kind.TOOL,
    server="time",
    name="now",
    act=Act.CALL,
    weight=CallClass.FULL,
    arguments={"zone": "UTC", "deep": {"a": 1, "b": [1, 2]}},
    definition=tool("time", "now"),
)
RETRY = replace(CALL, id="SECOND")
UPSTREAM_STATE = '{"é":["opaque",1.10]}'.encode()


def _open(token: object, call: Call = RETRY, at_us: int = NOW_US, key: bytes = STATE_KEY) -> str:
    try:
        begun = States(key, EPOCH).open(token, call, at_us)
    except Refused as refused:
        return refused.refusal.id
    return f"{begun.call_id} {begun.number}"


def test_a_round_goes_on_under_the_first_id_with_the_state_of_the_upstream() -> None:
    states = States(STATE_KEY, EPOCH)
    begun = states.open(states.seal(CALL, UPSTREAM_STATE, NOW_US), RETRY, NOW_US)
    assert (begun.call_id, begun.number, begun.state) == ("FIRST", 2, UPSTREAM_STATE)


def test_an_upstream_without_a_state_has_rounds_all_the_same() -> None:
    states = States(STATE_KEY, EPOCH)
    assert states.open(states.seal(CALL, b"", NOW_US), RETRY, NOW_US).state == b""


def test_the_caller_can_read_nothing_of_it() -> None:
    token = States(STATE_KEY, EPOCH).seal(CALL, b'"a secret of the upstream"', NOW_US)
    assert "secret" not in token
    assert token != States(STATE_KEY, EPOCH).seal(CALL, b'"a secret of the upstream"', NOW_US)


_OTHER_DEFINITION = replace(RETRY, definition=tool("time", "now", description="changed"))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(replace(RETRY, principal=BOB), id="another agent"),
        pytest.param(
            replace(RETRY, principal=Principal("other", "alice")), id="the same name in a tenant"
        ),
        pytest.param(
            replace(RETRY, principal=replace(ALICE, actors=("helper",))), id="through an actor"
        ),
        pytest.param(replace(RETRY, method="prompts/get"), id="another method"),
        pytest.param(replace(RETRY, name="zones"), id="another tool"),
        pytest.param(replace(RETRY, server="docs"), id="another server"),
        pytest.param(_OTHER_DEFINITION, id="a definition that changed"),
        pytest.param(replace(RETRY, definition=None), id="no definition any more"),
        pytest.param(replace(RETRY, arguments={"zone": "CET"}), id="other arguments"),
        pytest.param(replace(RETRY, arguments={}), id="no arguments"),
    ],
)
def test_it_opens_for_no_other_call(call: Call) -> None:
    assert _open(States(STATE_KEY, EPOCH).seal(CALL, b"", NOW_US), call) == "bad_state"


def test_the_same_arguments_in_another_order_are_the_same() -> None:
    again = replace(RETRY, arguments={"deep": {"b": [1, 2], "a": 1}, "zone": "UTC"})
    assert _open(States(STATE_KEY, EPOCH).seal(CALL, b"", NOW_US), again) == "FIRST 2"


def test_a_key_that_was_replaced_meanwhile_does_not_end_the_call() -> None:
    again = replace(RETRY, principal=replace(ALICE, credential="key-alice-2"))
    assert _open(States(STATE_KEY, EPOCH).seal(CALL, b"", NOW_US), again) == "FIRST 2"


@pytest.mark.parametrize(
    "token", [None, 7, "", "ch1.", "ch1.!!", "ch2.AAAA", {"a": 1}, "ch1." + "A" * 99]
)
def test_what_was_never_sealed_does_not_open(token: object) -> None:
    assert _open(token) == "bad_state"


def test_every_changed_character_is_noticed() -> None:
    token = States(STATE_KEY, EPOCH).seal(CALL, b'"s"', NOW_US)
    for place in range(len("ch1."), len(token)):
        other = "A" if token[place] != "A" else "B"
        assert _open(token[:place] + other + token[place + 1 :]) == "bad_state"
    assert _open(token + "=") == "bad_state"


def test_another_key_does_not_open_it() -> None:
    assert _open(States(STATE_KEY, EPOCH).seal(CALL, b"", NOW_US), key=bytes(32)) == "bad_state"


def test_it_ends_after_ten_minutes_and_does_not_come_from_the_future() -> None:
    token = States(STATE_KEY, EPOCH).seal(CALL, b"", NOW_US)
    assert _open(token, at_us=NOW_US + LIFETIME_US) == "FIRST 2"
    assert _open(token, at_us=NOW_US + LIFETIME_US + 1) == "bad_state"
    assert _open(token, at_us=NOW_US - 3_600_000_000) == "bad_state"


def test_there_are_at_most_eight_rounds() -> None:
    states, call = States(STATE_KEY, EPOCH), CALL
    for number in range(2, MAX_ROUNDS + 1):
        begun = states.open(states.seal(call, b"", NOW_US), RETRY, NOW_US)
        assert begun.number == number
        call = replace(RETRY, id=begun.call_id, round=begun.number)
    assert _open(states.seal(call, b"", NOW_US)) == "too_many_rounds"


def test_a_state_begins_one_round_only_unless_that_was_refused() -> None:
    states = States(STATE_KEY, EPOCH)
    token = states.seal(CALL, b"", NOW_US)
    states.spend(token, ALICE, NOW_US)
    with pytest.raises(Refused):
        states.spend(token, ALICE, NOW_US)
    states.restore(token)
    states.spend(token, ALICE, NOW_US)


def test_a_round_whose_state_was_sealed_twice_is_begun_once() -> None:
    """So it is for a call that is told again under its idempotency key while it waits for input."""
    states, rounds = States(STATE_KEY, EPOCH), []
    for _ in range(2):
        begun = states.open(states.seal(CALL, UPSTREAM_STATE, NOW_US), RETRY, NOW_US)
        params = {**RETRY.params, "requestState": begun.state}
        rounds.append(replace(RETRY, id=begun.call_id, round=begun.number, params=params))
    states.spend(spent_mark(rounds[0]), ALICE, NOW_US)
    with pytest.raises(Refused):
        states.spend(spent_mark(rounds[1]), ALICE, NOW_US)
    states.spend(spent_mark(replace(rounds[1], round=3)), ALICE, NOW_US)


def test_a_later_round_is_of_the_run_of_the_first_whatever_it_says_itself() -> None:
    states = States(STATE_KEY, EPOCH)
    token = states.seal(replace(CALL, run="run-of-alice"), b"", NOW_US)
    assert states.open(token, RETRY, NOW_US).run == "run-of-alice"


def test_spent_states_are_forgotten_when_they_would_not_open_any_more() -> None:
    states = States(STATE_KEY, EPOCH)
    for second in range(2_000):
        states.spend(f"token {second}", ALICE, NOW_US + second * 1_000_000)
    assert len(states._spent) <= 700
    assert states._counts.total() == len(states._spent)


@pytest.mark.parametrize("key", [b"", b"short", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_no_key(key: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        States(key, EPOCH)


def test_a_state_of_an_earlier_process_begins_nothing() -> None:
    """What was spent is not written down: a restart would let every state begin its round again."""
    before = States(STATE_KEY, "before the restart")
    token = before.seal(CALL, b"", NOW_US)
    before.spend(token, ALICE, NOW_US)
    with pytest.raises(Refused) as refused:
        States(STATE_KEY, EPOCH).open(token, RETRY, NOW_US)
    assert refused.value.refusal.id == "bad_state"
    assert "restarted" in refused.value.say()


def test_no_spent_state_is_forgotten_while_it_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_SPENT", 3)
    states = States(STATE_KEY, EPOCH)
    for number in range(3):
        states.spend(f"token {number}", ALICE, NOW_US)
    for token, refusal in (("token 3", "rate_limited"), ("token 0", "bad_state")):
        with pytest.raises(Refused) as refused:
            states.spend(token, ALICE, NOW_US)
        assert refused.value.refusal.id == refusal
    states.spend("token 3", ALICE, NOW_US + 2 * LIFETIME_US)


def test_one_who_spends_many_takes_no_room_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_SPENT_OF_ONE", 3)
    states = States(STATE_KEY, EPOCH)
    for number in range(3):
        states.spend(f"token {number}", ALICE, NOW_US)
    with pytest.raises(Refused) as refused:
        states.spend("token 3", replace(ALICE, actors=("carol",)), NOW_US)
    assert refused.value.refusal.id == "rate_limited"
    states.spend("token of bob", BOB, NOW_US)
    states.restore("token 0")
    states.spend("token 3", ALICE, NOW_US)
