"""Bytes that are not, or not only, one JSON-RPC request: refused before anything is decided."""

import json

import pytest

from tests.attacks.conftest import TESTER, Border
from tests.journey.process import headers, modern

pytestmark = pytest.mark.slow

GOOD = modern("tools/call", {"name": "pipe_act", "arguments": {"mark": "malformed"}}, 1)
DEEP = b'{"a":' * 100 + b"1" + b"}" * 100


def with_arguments(raw: bytes) -> bytes:
    return GOOD.replace(b'{"mark": "malformed"}', raw)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (GOOD[:-10], 400),
        (b"", 400),
        (b"\xef\xbb\xbf" + GOOD, 400),
        (with_arguments(b'{"mark": "a", "mark": "b"}'), 400),
        (with_arguments(b'{"mark": NaN}'), 400),
        (with_arguments(b'{"mark": Infinity}'), 400),
        (with_arguments(b'{"mark": 1e999}'), 400),
        (with_arguments(b'{"mark": "\\ud800"}'), 400),
        (with_arguments(b'{"mark": "\xff"}'), 400),
        (with_arguments(DEEP), 400),
        (b"[" + GOOD + b"]", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (GOOD + GOOD, 400),
        (GOOD.replace(b'"id": 1', b'"id": 1, "id": 2'), 400),
        (GOOD.replace(b'"method": "tools/call"', b'"method": "ping", "method": "tools/call"'), 400),
        (with_arguments(b'{"mark": "' + b"x" * 5_000_000 + b'"}'), 413),
    ],
    ids=[
        "truncated",
        "empty",
        "byte order mark",
        "duplicate argument",
        "NaN",
        "Infinity",
        "a number that is not finite",
        "lone surrogate",
        "not UTF-8",
        "deeply nested",
        "batch of one",
        "empty batch",
        "brackets without end",
        "two requests",
        "duplicate id",
        "duplicate method",
        "five megabytes",
    ],
)
def test_a_malformed_body_reaches_nothing(border: Border, body: bytes, status: int) -> None:
    before = border.effects()
    response = border.post(body)
    assert response.status_code == status, response.text
    assert "error" in response.json()
    assert border.effects() == before


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2024-11-05"])
@pytest.mark.parametrize(
    "raw",
    [b'{"mark": "a", "mark": "b"}', b'{"mark": NaN}', b'{"mark": "\\ud800"}', DEEP],
    ids=["duplicate", "NaN", "surrogate", "deep"],
)
def test_the_older_era_reads_as_strictly(border: Border, version: str, raw: bytes) -> None:
    before = border.effects()
    said = headers("tools/call", key=TESTER)
    said["MCP-Protocol-Version"] = version
    assert border.post(with_arguments(raw), said).status_code == 400
    assert border.effects() == before


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Mcp-Name": "rogue_act"}, 400),
        ({"Mcp-Name": ""}, 400),
        ({"Mcp-Method": "tools/list"}, 400),
        ({"Mcp-Method": ""}, 400),
        ({"MCP-Protocol-Version": "2027-01-01"}, 400),
        ({"MCP-Protocol-Version": "latest"}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
    ids=[
        "another name",
        "no name",
        "another method",
        "no method",
        "a revision of the future",
        "no revision",
        "not JSON",
        "compressed",
    ],
)
def test_headers_that_do_not_fit_the_body_are_refused(
    border: Border, changes: dict[str, str], status: int
) -> None:
    before = border.effects()
    said = headers("tools/call", "pipe_act", TESTER)
    said = {name: value for name, value in {**said, **changes}.items() if value}
    assert border.post(GOOD, said).status_code == status
    assert border.effects() == before


def test_a_routing_header_sent_twice_is_refused(border: Border) -> None:
    before = border.effects()
    said = [*headers("tools/call", "pipe_act", TESTER).items(), ("Mcp-Name", "rogue_act")]
    response = border.client.post(border.url + "/mcp", content=GOOD, headers=said)
    assert response.status_code == 400
    assert border.effects() == before


@pytest.mark.parametrize(
    "method",
    ["tools/calls", "TOOLS/CALL", "tools/call\x00", " tools/call", "admin/policy", "rpc.discover"],
)
def test_a_method_that_is_not_in_the_table_is_refused(border: Border, method: str) -> None:
    body = modern(method, {"name": "pipe_act", "arguments": {"mark": "unknown-method"}})
    said = headers("tools/call", "pipe_act", TESTER)
    if method.isprintable():
        said["Mcp-Method"] = method.strip()
    response = border.post(body, said)
    assert response.status_code in (400, 404)
    assert "unknown-method" not in border.effects()


def test_the_message_names_no_value_of_the_caller(border: Border) -> None:
    body = with_arguments(b'{"mark": {"password": "hunter2"}}')
    assert "hunter2" not in json.dumps(border.post(body).json())
