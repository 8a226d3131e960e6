"""One request of an approved binding: every argument fills its own place and no other."""

import json
from typing import Any

import msgspec
import pytest

from gateway.upstream.fetch import parse_target
from gateway.upstream.openapi.binding import Argument, Binding, Credential, binding_of
from gateway.upstream.openapi.request import Base, Unsendable

TARGET = parse_target("https://api.example.com/v1/", allow_private=False, carries_secret=True)
PET = Binding("GET", "/pets/{id}", (Argument("id", "path", "id"),))
FIND = Binding(
    "GET",
    "/pets",
    (
        Argument("q", "query", "q"),
        Argument("tags", "query", "tag[]"),
        Argument("sort", "query", "sort", joined="|"),
        Argument("trace", "header", "X-Trace"),
    ),
    credential=Credential("X-Key"),
)
ADD = Binding(
    "POST",
    "/pets",
    (Argument("name", "member", "name"), Argument("body_id", "member", "id")),
    body_type="application/json",
)


def sent(binding: Binding, raw: str, secret: str = "") -> tuple[str, dict[str, str], bytes]:
    """The target, the headers and the body of the request for arguments as they came in."""
    arguments = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    head, _, body = Base(TARGET, secret).request(binding, arguments).partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    return first, headers, body


def refused(binding: Binding, raw: str) -> str:
    with pytest.raises(Unsendable) as caught:
        sent(binding, raw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("rex", "rex"),
        ("rex & co?x=1#y", "rex%20%26%20co%3Fx%3D1%23y"),
        ("50%", "50%25"),
        ("a:b;c@d", "a%3Ab%3Bc%40d"),
        ("z\u00fcrich", "z%C3%BCrich"),
        ("...", "..."),
        (7, "7"),
        (True, "true"),
    ],
)
def test_an_argument_in_the_path_stays_one_segment(value: Any, segment: str) -> None:
    first, headers, body = sent(PET, json.dumps({"id": value}))
    assert first == f"GET /v1/pets/{segment} HTTP/1.1"
    assert headers["Host"] == "api.example.com"
    assert (body, "Content-Length" in headers) == (b"", False)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "../users", "a/b", "a\\b", "..;x", "..;/x"),
        *("%2e%2e", "%252E%252e", "a%2Fb", "a%255cb", "%2e%2e%3bx"),
        *("a\r\nX: y", "\x00", "a\u2028b", "\u202e"),
    ],
)
def test_an_argument_that_reads_like_a_path_is_refused(text: str) -> None:
    why = refused(PET, json.dumps({"id": text}))
    assert why == "id is empty, or reads like a path"


@pytest.mark.parametrize("raw", ["{}", '{"id": null}', '{"id": [1]}', '{"id": {"a": 1}}'])
def test_a_path_needs_one_plain_value(raw: str) -> None:
    assert refused(PET, raw).startswith("id is ")


def test_two_arguments_cannot_join_into_a_step_upwards() -> None:
    joined = Binding("GET", "/a/{x}{y}/b", (Argument("x", "path", "x"), Argument("y", "path", "y")))
    assert sent(joined, '{"x": "1", "y": "2"}')[0] == "GET /v1/a/12/b HTTP/1.1"
    dotted = Binding("GET", "/a/.{x}/b", (Argument("x", "path", "x"),))
    assert sent(dotted, '{"x": "git"}')[0] == "GET /v1/a/.git/b HTTP/1.1"
    assert refused(dotted, '{"x": ";y"}') == "the arguments make a path that leads upwards"


def test_a_query_holds_each_value_apart() -> None:
    raw = '{"q": "a&b=c", "tags": ["x y", 1e3], "sort": ["a,b", "c|d"]}'
    first, headers, _ = sent(FIND, raw, "s3cret")
    assert (
        first
        == "GET /v1/pets?q=a%26b%3Dc&tag%5B%5D=x%20y&tag%5B%5D=1e3&sort=a%2Cb%7Cc%7Cd HTTP/1.1"
    )
    assert headers["X-Key"] == "s3cret"
    assert "Authorization" not in headers


@pytest.mark.parametrize("raw", ['{"q": {"a": 1}}', '{"tags": [[1]]}', '{"tags": [null]}'])
def test_a_query_holds_plain_values_only(raw: str) -> None:
    assert "plain value" in refused(FIND, raw)


@pytest.mark.parametrize("text", ["a\r\nHost: evil", "\u00fc", "x\n", " x", "", "x" * 5_000])
def test_an_argument_in_a_header_stays_one_line(text: str) -> None:
    assert refused(FIND, json.dumps({"trace": text})).startswith("trace has characters")


def test_arguments_that_make_too_long_a_url_are_refused() -> None:
    assert "more than 8192 bytes" in refused(FIND, json.dumps({"q": "x" * 9_000}))


def test_null_and_nothing_are_left_away() -> None:
    assert sent(FIND, '{"q": null}')[0] == "GET /v1/pets HTTP/1.1"


def test_a_body_is_made_of_its_members_as_they_came() -> None:
    _, headers, body = sent(ADD, '{"body_id": 12345678901234567890, "name": "\\u00fc"}')
    assert body == b'{"name":"\\u00fc","id":12345678901234567890}'
    assert headers["Content-Length"] == str(len(body))
    assert headers["Content-Type"] == "application/json"


def test_without_members_an_optional_body_is_left_away_and_a_required_one_is_empty() -> None:
    assert sent(ADD, "{}")[1:] == (
        {**sent(ADD, "{}")[1], "Content-Length": "0"},
        b"",
    )
    assert "Content-Type" not in sent(ADD, "{}")[1]
    assert sent(msgspec.structs.replace(ADD, body_required=True), "{}")[2] == b"{}"


def test_a_whole_body_is_sent_byte_for_byte() -> None:
    whole = Binding("PUT", "/x", (Argument("body", "body"),), body_type="application/json")
    assert sent(whole, '{"body": [1.50, {"a": 1}]}')[2] == b'[1.50, {"a": 1}]'


@pytest.mark.parametrize(
    ("credential", "line"),
    [
        (Credential(scheme="Bearer"), ("Authorization", "Bearer s3cret")),
        (Credential("X-Key"), ("X-Key", "s3cret")),
        (Credential(), ("Authorization", "s3cret")),
        (None, None),
    ],
)
def test_the_credential_goes_where_the_document_said_and_nowhere_else(
    credential: Credential | None, line: tuple[str, str] | None
) -> None:
    headers = sent(msgspec.structs.replace(PET, credential=credential), '{"id": 1}', "s3cret")[1]
    assert [(k, v) for k, v in headers.items() if "s3cret" in v] == ([line] if line else [])


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "x"}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "TRACE", "path": "/"}}}',
        b'{"_meta": {"io.customhouse/openapi": 1}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/a/../b"}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/{a}"}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "PUT", "path": "/",'
        b' "bodyType": "application/json\\r\\n"}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/ HTTP/1.1\\r\\nX: y"}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/", "arguments":'
        b' [{"argument": "a", "in": "header", "name": "Cookie"}]}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "GET", "path": "/",'
        b' "credential": {"header": "Host"}}}}',
        b'{"_meta": {"io.customhouse/openapi": {"method": "PUT", "path": "/",'
        b' "bodyType": "application/json\\r\\nX: y"}}}',
        b"[]",
    ],
)
def test_what_is_no_binding_is_none(body: bytes) -> None:
    assert binding_of(body) is None
