"""The table of refusals: stable ids, allowed codes, and nothing said that must stay hidden."""

from __future__ import annotations

import re

import pytest

from gateway.domain import refusal
from gateway.domain.refusal import BY_ID, Refusal, Refused

EVERY_ROW = pytest.mark.parametrize("row", BY_ID.values(), ids=BY_ID.keys())

PROMISED_IDS = {
    "not_authenticated", "conflicting_credentials", "unknown_object", "denied", "quarantined",
    "not_approved", "rate_limited", "over_budget", "invalid_arguments", "unknown_method",
    "malformed", "too_large_request", "header_mismatch", "unsupported_version",
    "missing_capability", "log_unavailable", "policy_changed", "draining", "clock_behind",
    "disk_low", "bad_state", "too_many_rounds", "not_supported_across_eras", "bad_host",
    "too_many_streams", "upstream_unreachable", "upstream_timeout", "upstream_broken",
    "upstream_died", "breaker_open", "result_too_large", "credential_missing",
}  # fmt: skip


def test_no_promised_id_is_missing_because_logs_and_callers_rely_on_them() -> None:
    assert BY_ID.keys() >= PROMISED_IDS


@EVERY_ROW
def test_the_constant_of_a_row_is_its_id_in_capitals(row: Refusal) -> None:
    assert getattr(refusal, row.id.upper()) is row


@EVERY_ROW
def test_our_own_codes_stay_out_of_the_range_json_rpc_and_mcp_reserve(row: Refusal) -> None:
    specified = {-32700, -32600, -32601, -32602, -32020, -32021, -32022}
    assert row.code in specified or row.code > 0


def test_no_two_rows_share_a_code_of_ours() -> None:
    codes = [row.code for row in BY_ID.values() if row.code > 0]
    assert len(codes) == len(set(codes))


@EVERY_ROW
def test_every_row_says_what_happened_and_what_to_do_in_printable_ascii(row: Refusal) -> None:
    for text in (row.sentence, row.fix):
        assert re.fullmatch(r"[ -~]{10,200}\.", text)


@EVERY_ROW
def test_a_refusal_that_becomes_a_result_is_http_200(row: Refusal) -> None:
    assert row.http_status == 200 or not row.as_result


def test_what_is_unknown_forbidden_quarantined_or_suspended_looks_the_same_to_the_caller() -> None:
    detail = {"problem": "the definition changed", "scope": "tool"}
    hidden = [row for row in BY_ID.values() if row.hidden]
    alike = [*hidden, refusal.UNKNOWN_OBJECT]
    said = {
        (r.shown, r.say(), tuple(r.shown_detail))
        for r in [Refused(row, "C1", detail) for row in alike]
    }
    assert {row.id for row in hidden} == {"forbidden", "quarantined", "not_approved", "suspended"}
    assert said == {(refusal.UNKNOWN_OBJECT, Refused(refusal.UNKNOWN_OBJECT, "C1").say(), ())}


@pytest.mark.parametrize("row", [row for row in BY_ID.values() if row.hidden], ids=lambda r: r.id)
def test_a_hidden_row_is_equal_on_the_wire_even_when_nobody_asks_for_its_shown_one(
    row: Refusal,
) -> None:
    known = refusal.UNKNOWN_OBJECT
    assert (row.http_status, row.code, row.sentence, row.fix) == (
        (known.http_status, known.code, known.sentence, known.fix)
    )


def test_a_refusal_speaks_one_line_that_names_level_limit_rest_and_wait() -> None:
    said = Refused(
        refusal.OVER_BUDGET,
        "C1",
        {"remaining": 120, "limit": 200_000, "scope": "team", "meter": "tokens", "window": "day",
         "needed": 25_010, "retry_after_ms": 61_000},
    ).say()  # fmt: skip
    assert said == (
        "The budget does not cover this call. Level: team. Meter: tokens. Window: day. "
        "Limit: 200000. This call needs: 25010. Left: 120. Possible again in 61 s. "
        "Ask for a larger budget."
    )


def test_whoever_waits_in_vain_is_not_told_to_wait() -> None:
    said = Refused(refusal.OVER_BUDGET, "C1", {"problem": "waiting does not help"}).say()
    assert said.endswith("waiting does not help. Ask for a larger budget.")
    assert "Wait " not in said


def test_a_credential_is_asked_for_in_words_for_keys_and_for_tokens() -> None:
    said = Refused(refusal.NOT_AUTHENTICATED).say()
    assert "'customhouse key issue' makes a key" in said
    assert "a token comes from an issuer" in said


@pytest.mark.parametrize(
    ("wait_ms", "said"),
    [
        pytest.param(0, "0 ms", id="now"),
        pytest.param(9_999, "9999 ms", id="under ten seconds to the millisecond"),
        pytest.param(10_001, "11 s", id="seconds are rounded up"),
        pytest.param(600_000, "10 min", id="ten minutes"),
        pytest.param(601_000, "11 min", id="minutes are rounded up"),
        pytest.param(36_000_001, "11 h", id="hours are rounded up"),
    ],
)
def test_a_wait_that_is_waited_out_is_always_long_enough(wait_ms: int, said: str) -> None:
    refused = Refused(refusal.RATE_LIMITED, detail={"retry_after_ms": wait_ms})
    assert f"Possible again in {said}." in refused.say()


def test_a_detail_cannot_break_the_line_or_grow_it_without_bound() -> None:
    evil = "x\r\nSet-Cookie: a=b\x1b[31m\u202e" + "y" * 5_000
    said = Refused(refusal.INVALID_ARGUMENTS, detail={"problem": evil}).say()
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 600


def test_a_refused_keeps_its_own_copy_of_the_detail() -> None:
    detail: dict[str, str | int] = {"scope": "team"}
    refused = Refused(refusal.RATE_LIMITED, "C1", detail)
    detail["scope"] = "changed later"
    assert refused.detail == {"scope": "team"}
    assert str(refused) == "rate_limited"
