"""Every no, as the wire says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.model import Outcome, Status
from gateway.domain.refusal import BY_ID, Refused
from gateway.edge.errors import Asking, door_answer, failed_answer, fault_answer, refused_answer
from gateway.edge.reply import Answer, Identification
from tests.edge.test_reply import _reply

OWN = Identification.of("9.9")
TOOL, PROMPT = Asking(b"7", "tools/call", True), Asking(b"7", "prompts/get", True)
OLD_TOOL, OLD_PROMPT = Asking(b"7", "tools/call", False), Asking(b"7", "prompts/get", False)
DETAIL: dict[str, str | int] = {"scope": "agent", "limit": "60/min", "retry_after_ms": 1500}
REFUSAL = "io.customhouse/refusal"


def _refused(id_: str, asking: Asking) -> tuple[int, Any]:
    answer = refused_answer(Refused(BY_ID[id_], "CALL", DETAIL), asking, OWN)
    assert answer.is_refusal
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("asking", [TOOL, OLD_TOOL])
def test_a_tool_call_refused_now_is_a_result_that_the_model_can_act_on(asking: Asking) -> None:
    status, message = _refused("rate_limited", asking)
    result = message["result"]
    assert status == 200
    assert result["isError"] is True
    [block] = result["content"]
    assert "1500 ms" in block["text"]
    assert result["_meta"][REFUSAL] == {"code": "rate_limited", "call_id": "CALL", **DETAIL}
    assert ("resultType" in result) is asking.modern


def test_other_methods_get_an_error_outside_the_reserved_codes() -> None:
    status, message = _refused("rate_limited", PROMPT)
    assert status == 200
    assert message["error"]["code"] == 42900
    assert message["error"]["data"][REFUSAL]["code"] == "rate_limited"


@pytest.mark.parametrize("asking", [TOOL, PROMPT, OLD_TOOL, OLD_PROMPT])
@pytest.mark.parametrize("id_", ["forbidden", "quarantined", "not_approved", "suspended"])
def test_what_must_not_be_known_answers_as_what_does_not_exist(id_: str, asking: Asking) -> None:
    hidden, unknown = _refused(id_, asking), _refused("unknown_object", asking)
    assert hidden == unknown
    assert hidden[1]["error"]["code"] == -32602
    assert hidden[1]["error"]["data"] == {REFUSAL: {"call_id": "CALL"}}


@pytest.mark.parametrize("id_", sorted(BY_ID))
def test_every_row_has_an_answer_in_both_eras(id_: str) -> None:
    for asking in (TOOL, PROMPT, OLD_TOOL, OLD_PROMPT):
        status, message = _refused(id_, asking)
        assert message["jsonrpc"] == "2.0"
        assert message["id"] == 7
        assert 200 <= status < 600
        if "error" in message:
            code = message["error"]["code"]
            assert code > 0 or code in (-32700, -32600, -32601, -32602, -32020, -32021, -32022)


@pytest.mark.parametrize(
    ("id_", "modern", "handshake"),
    [
        ("unknown_method", 404, 200),
        ("unknown_object", 400, 200),
        ("header_mismatch", 400, 200),
        ("log_unavailable", 503, 503),
        ("draining", 503, 503),
        ("over_budget", 200, 200),
    ],
)
def test_the_http_status_follows_the_era(id_: str, modern: int, handshake: int) -> None:
    assert _refused(id_, PROMPT)[0] == modern
    assert _refused(id_, OLD_PROMPT)[0] == handshake


def test_a_log_that_cannot_be_written_is_never_a_result() -> None:
    assert "error" in _refused("log_unavailable", TOOL)[1]


@pytest.mark.parametrize(
    ("id_", "status"),
    [
        ("not_authenticated", 401),
        ("conflicting_credentials", 400),
        ("bad_host", 421),
        ("bad_origin", 403),
        ("too_large_request", 413),
        ("unsupported_media", 415),
        ("unknown_object", 404),
        ("unknown_session", 404),
    ],
)
def test_at_the_door_http_says_it_too(id_: str, status: int) -> None:
    answer = door_answer(Refused(BY_ID[id_], "CALL"))
    assert answer.status == status
    assert json.loads(answer.body)["id"] is None


def _failed(outcome: Outcome, asking: Asking) -> Answer:
    reply = _reply(b"")
    return failed_answer(type(reply)(reply.call, outcome, reply.settlement), asking, OWN)


def test_an_upstream_error_passes_as_it_came() -> None:
    error = rb'{"code":-32602,"message":"\u00fc","data":{"n":1.10}, "vendor":1}'
    answer = _failed(Outcome(Status.RPC_ERROR, error=error), TOOL)
    assert answer.body == b'{"jsonrpc":"2.0","id":7,"error":' + error + b"}"
    assert answer.status == 400
    assert _failed(Outcome(Status.RPC_ERROR, error=error), OLD_TOOL).status == 200


@pytest.mark.parametrize("key", ["io.customhouse/refusal", r"io\u002ecustomhouse/refusal"])
def test_an_upstream_cannot_refuse_in_the_name_of_the_border(key: str) -> None:
    data = f'{{"{key}":{{"code":"denied"}},"its":"own"}}'
    error = f'{{"code":-32602,"message":"no","data":{data}}}'.encode()
    answer = _failed(Outcome(Status.RPC_ERROR, error=error), TOOL)
    told = json.loads(answer.body)["error"]
    assert told["data"] == {"its": "own"}
    assert told["message"] == "no"


def test_an_upstream_that_failed_is_a_result_with_what_is_left_of_the_budget() -> None:
    message = json.loads(_failed(Outcome(Status.FAILED, code="upstream_timeout"), TOOL).body)
    result = message["result"]
    assert result["isError"] is True
    assert result["_meta"][REFUSAL]["code"] == "upstream_timeout"
    assert result["_meta"]["io.customhouse/call"] == {"call_id": "CALL", "left": {"tokens/day": 5}}


def test_a_failure_without_a_word_for_it_is_a_broken_upstream() -> None:
    message = json.loads(_failed(Outcome(Status.UNKNOWN, code="nonsense"), PROMPT).body)
    assert message["error"]["data"][REFUSAL]["code"] == "upstream_broken"


def test_a_fault_says_nothing_but_where_to_look() -> None:
    answer = fault_answer(TOOL, "CALL")
    assert answer.status == 500
    assert json.loads(answer.body)["error"] == {
        "code": -32603,
        "message": "The gateway failed; whether the call took effect is unknown.",
        "data": {REFUSAL: {"code": "fault", "call_id": "CALL"}},
    }
