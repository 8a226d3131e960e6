"""Results cross the border as the upstream made them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.model import (
    Act,
    Amounts,
    Call,
    CallClass,
    Client,
    Kind,
    Outcome,
    Reply,
    Settlement,
    Status,
)
from gateway.domain.refusal import Refused
from gateway.edge.reply import Identification, final_result, result_frame
from tests.edge.people import ALICE

OWN = Identification.of("9.9")
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
MODERN, HANDSHAKE = Client(), Client("2025-11-25")


def _reply(result: bytes, client: Client = MODERN, method: str = "tools/call") -> Reply:
    call = Call(
        id="CALL",
        principal=ALICE,
        method=method,
        kind=Kind.TOOL,
        server="time",
        name="now",
        act=Act.CALL,
        weight=CallClass.FULL,
        client=client,
    )
    return Reply(call, Outcome(Status.OK, result), Settlement(3, Amounts(), {"tokens/day": 5}))


def _final(result: bytes, client: Client = MODERN, method: str = "tools/call") -> Any:
    return json.loads(final_result(_reply(result, client, method), OWN))


def test_raw_values_survive_byte_for_byte() -> None:
    odd = (
        rb'{"content":[ {"type":"text","text":"\u00fc\/ \ud83d\ude00","n":1.10,"big":12345678901234567890123}],'
        rb' "vendor":{"b":1e2,"a":-0.0},"isError" : false}'
    )
    made = final_result(_reply(odd), OWN)
    assert (
        rb'[ {"type":"text","text":"\u00fc\/ \ud83d\ude00","n":1.10,"big":12345678901234567890123}]'
        in made
    )
    assert rb'"vendor":{"b":1e2,"a":-0.0}' in made


def test_the_call_id_and_what_is_left_are_told_in_meta() -> None:
    assert _final(b"{}")["_meta"]["io.customhouse/call"] == {
        "call_id": "CALL",
        "left": {"tokens/day": 5},
    }


def test_the_meta_of_the_upstream_is_kept_but_it_does_not_speak_for_the_gateway() -> None:
    result = (
        b'{"_meta":{"vendor/a":[1.0],"io.customhouse/call":{"call_id":"LIE"},"io.customhouse/x":1}}'
    )
    meta = _final(result)["_meta"]
    assert meta["vendor/a"] == [1.0]
    assert meta["io.customhouse/call"]["call_id"] == "CALL"
    assert "io.customhouse/x" not in meta


def test_a_meta_that_is_no_object_is_replaced() -> None:
    assert _final(b'{"_meta":7}')["_meta"].keys() == {"io.customhouse/call", SERVER_INFO}


def test_the_newest_era_gets_what_its_results_must_have() -> None:
    made = _final(b'{"contents":[]}', MODERN, "resources/read")
    assert (made["resultType"], made["ttlMs"], made["cacheScope"]) == ("complete", 0, "private")
    assert made["_meta"][SERVER_INFO] == {"name": "customhouse", "version": "9.9"}


def test_what_the_upstream_said_of_itself_stays_but_nothing_is_public() -> None:
    result = (
        b'{"resultType":"complete","ttlMs":60000,"cacheScope":"public",'
        b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"theirs","version":"1"}}}'
    )
    made = _final(result, MODERN, "resources/read")
    assert (made["ttlMs"], made["cacheScope"]) == (60000, "private")
    assert made["_meta"][SERVER_INFO]["name"] == "theirs"


def test_a_tool_result_has_no_cache_hints_added() -> None:
    assert "ttlMs" not in _final(b"{}")


def test_a_question_has_no_cache_hints_added() -> None:
    asked = b'{"resultType":"input_required","inputRequests":{}}'
    assert "ttlMs" not in _final(asked, MODERN, "resources/read")


def test_the_handshake_era_gets_none_of_it() -> None:
    result = (
        b'{"resultType":"complete","ttlMs":1,"cacheScope":"private","contents":[],'
        b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"theirs","version":"1"}}}'
    )
    made = _final(result, HANDSHAKE, "resources/read")
    assert made.keys() == {"contents", "_meta"}
    assert made["_meta"].keys() == {"io.customhouse/call"}


@pytest.mark.parametrize("kind", [b'"input_required"', b'"vendor/task"', b"7"])
def test_the_handshake_era_has_no_word_for_other_kinds_of_result(kind: bytes) -> None:
    with pytest.raises(Refused) as refused:
        final_result(_reply(b'{"resultType":' + kind + b"}", HANDSHAKE), OWN)
    assert refused.value.refusal.id == "not_supported_across_eras"


@pytest.mark.parametrize("result", [b"", b"[]", b"null", b"{", b'{"a":1}{}', b'{"_meta":{"a"}}'])
def test_what_is_no_result_is_not_passed_on(result: bytes) -> None:
    with pytest.raises(Refused) as refused:
        final_result(_reply(result), OWN)
    assert refused.value.refusal.id == "upstream_broken"


def test_the_frame_echoes_the_id_as_it_was_spelled() -> None:
    frame = result_frame(b'"\\u0061"', b"{}")
    assert frame == b'{"jsonrpc":"2.0","id":"\\u0061","result":{}}'
