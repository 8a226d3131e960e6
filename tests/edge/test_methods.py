"""The table of methods, and how each names its object."""

from __future__ import annotations

import json
from typing import Any

import mcp_types.methods
import pytest

from gateway.domain.model import Act, Call, CallClass, Client, Kind, Principal
from gateway.domain.refusal import Refused
from gateway.edge.calls import Asked, Place, read_meta, to_call
from gateway.edge.endpoint import ALL, Endpoint, Span
from gateway.edge.head import Head
from gateway.edge.ids import new_call_id
from gateway.edge.methods import METHODS, Era, find_method
from gateway.edge.strict import parse
from gateway.edge.ties import NewRuns, ties_of
from tests.edge.definitions import BASIC, catalogue
from tests.edge.fakes import FakeSnapshot
from tests.edge.people import ALICE, BOB, NOW_US

PLACE = Place(catalogue(BASIC), FakeSnapshot(), {})


def _call(
    method: str, params: dict[str, Any], server: str = "", principal: Principal = ALICE
) -> Call:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    message = parse(body)
    endpoint = Endpoint(Span.SERVER, server) if server else ALL
    meta = read_meta(message)
    ties = ties_of(Head({}), meta, principal, NewRuns(b"", lambda: NOW_US))
    asked = Asked(message, endpoint, principal, Client(), meta, ties=ties)
    row = find_method(method, modern=METHODS[method].era is not Era.HANDSHAKE, notifies=False)
    return to_call(asked, row, PLACE, new_call_id(NOW_US))


def test_every_method_that_the_sdk_knows_is_in_the_table() -> None:
    known = {
        *mcp_types.methods.SPEC_CLIENT_METHODS,
        *mcp_types.methods.SPEC_CLIENT_NOTIFICATION_METHODS,
    }
    assert known <= METHODS.keys(), known - METHODS.keys()


@pytest.mark.parametrize(
    "method", ["", "tools/Call", "tools/call ", "tools/call\x00", "rpc.discover"]
)
def test_a_method_that_is_not_in_the_table_is_refused(method: str) -> None:
    with pytest.raises(Refused):
        find_method(method, modern=True, notifies=False)


@pytest.mark.parametrize(
    ("method", "modern"),
    [
        ("initialize", True),
        ("ping", True),
        ("server/discover", False),
        ("subscriptions/listen", False),
        ("resources/subscribe", True),
        ("resources/unsubscribe", True),
        ("logging/setLevel", True),
        ("tasks/list", True),
        ("sampling/createMessage", True),
        ("notifications/cancelled", True),
    ],
)
def test_a_method_of_the_other_era_or_not_offered_or_no_request_is_refused(
    method: str, modern: bool
) -> None:
    with pytest.raises(Refused):
        find_method(method, modern=modern, notifies=False)


def test_a_request_without_an_id_is_no_way_around_an_answer() -> None:
    with pytest.raises(Refused):
        find_method("tools/call", modern=True, notifies=True)


def test_what_has_an_effect_is_written_in_full() -> None:
    full = {name for name, row in METHODS.items() if row.offered and row.weight is CallClass.FULL}
    assert full == {
        *("tools/call", "prompts/get", "resources/read", "completion/complete"),
        *("subscriptions/listen", "resources/subscribe"),
        *("tasks/get", "tasks/update", "tasks/cancel"),
    }


def test_a_wire_name_becomes_the_name_the_server_knows() -> None:
    call = _call("tools/call", {"name": "time_now", "arguments": {"a": 1}, "extra": [1.50]})
    assert (call.kind, call.server, call.name, call.act) == (Kind.TOOL, "time", "now", Act.CALL)
    assert call.params == {"name": b'"now"', "arguments": b'{"a": 1}', "extra": b"[1.5]"}
    assert call.arguments == {"a": 1}
    assert call.definition is not None


def test_at_the_endpoint_of_a_server_its_own_names_count() -> None:
    assert _call("tools/call", {"name": "now"}, "time").definition is not None
    assert _call("tools/call", {"name": "time_now"}, "time").definition is None
    assert _call("tools/call", {"name": "search"}, "time").definition is None


@pytest.mark.parametrize("name", ["nope", "now", "time_", "TIME_NOW", "time_now ", "docs_time_now"])
def test_a_name_that_means_nothing_is_still_a_call(name: str) -> None:
    call = _call("tools/call", {"name": name})
    assert (call.definition, call.server, call.name) == (None, "", name)


def test_what_is_not_approved_is_named_all_the_same_so_that_the_log_can_say_why() -> None:
    for name in ("docs_poisoned", "docs_proposed"):
        assert _call("tools/call", {"name": name}).definition is not None


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="no name"),
        pytest.param({"name": None}, id="name null"),
        pytest.param({"name": 7}, id="name a number"),
        pytest.param({"name": ""}, id="name empty"),
        pytest.param({"name": "x" * 2000}, id="name endless"),
        pytest.param({"name": "time_now", "arguments": [1]}, id="arguments a list"),
        pytest.param({"name": "time_now", "arguments": "a"}, id="arguments a string"),
    ],
)
def test_params_that_name_nothing_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        _call("tools/call", params)
    assert refused.value.refusal.id == "bad_params"


def test_arguments_that_are_null_are_no_arguments_here_and_upstream() -> None:
    call = _call("tools/call", {"name": "time_now", "arguments": None})
    assert call.arguments == {}
    assert "arguments" not in call.params


def test_the_callers_meta_is_kept_apart_and_raw() -> None:
    meta = {
        "vendor/x": {"v": 1.10},
        "progressToken": 7,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    call = _call("tools/call", {"name": "time_now", "_meta": meta})
    assert call.meta["vendor/x"] == b'{"v": 1.1}'
    assert "_meta" not in call.params
    assert call.trace == meta["traceparent"]


@pytest.mark.parametrize("trace", ["00-x", 7, None, f"00-{'A' * 32}-{'b' * 16}-01", "a\r\nb"])
def test_a_trace_that_is_none_is_dropped(trace: Any) -> None:
    assert _call("tools/call", {"name": "time_now", "_meta": {"traceparent": trace}}).trace == ""


def test_a_uri_belongs_to_the_server_that_lists_it_or_has_a_template_for_it() -> None:
    assert _call("resources/read", {"uri": "file:///readme"}).server == "docs"
    page = _call("resources/read", {"uri": "file:///pages/7"})
    assert (page.kind, page.server, page.name) == (Kind.RESOURCE, "docs", "file:///pages/7")
    assert page.definition is not None
    assert page.definition.kind is Kind.TEMPLATE


def test_a_uri_of_two_servers_means_the_one_that_the_caller_sees_if_it_is_one() -> None:
    assert _call("resources/read", {"uri": "file:///shared"}).definition is None
    assert _call("resources/read", {"uri": "file:///shared"}, principal=BOB).server == "time"
    assert _call("resources/read", {"uri": "file:///shared"}, "docs").server == "docs"


def test_a_uri_of_nobody_is_a_call_without_a_definition() -> None:
    call = _call("resources/read", {"uri": "file:///etc/passwd"})
    assert (call.definition, call.server, call.name) == (None, "", "file:///etc/passwd")


def test_a_completion_names_the_prompt_and_the_server_gets_its_own_name_for_it() -> None:
    ref = {"type": "ref/prompt", "name": "docs_summarise", "title": "T"}
    call = _call("completion/complete", {"ref": ref, "argument": {"name": "a", "value": "b"}})
    assert (call.kind, call.server, call.name, call.act) == (
        Kind.PROMPT,
        "docs",
        "summarise",
        Act.COMPLETE,
    )
    assert json.loads(call.params["ref"]) == {**ref, "name": "summarise"}


def test_a_completion_names_a_template_by_its_uri() -> None:
    ref = {"type": "ref/resource", "uri": "file:///pages/{page}"}
    call = _call("completion/complete", {"ref": ref})
    assert (call.kind, call.server, call.name) == (Kind.TEMPLATE, "docs", "file:///pages/{page}")
    assert json.loads(call.params["ref"]) == ref


@pytest.mark.parametrize(
    "ref", [None, 7, {}, {"type": "ref/tool", "name": "x"}, {"type": "ref/prompt"}]
)
def test_a_completion_of_nothing_is_refused(ref: Any) -> None:
    with pytest.raises(Refused):
        _call("completion/complete", {"ref": ref})


def test_a_list_is_of_the_whole_endpoint() -> None:
    call = _call("tools/list", {}, "docs")
    assert (call.kind, call.server, call.name, call.act, call.weight) == (
        Kind.TOOL,
        "docs",
        "*",
        Act.LIST,
        CallClass.SINGLE,
    )
