"""The card of another agent: read strictly, judged, and made into tools."""

import json
from typing import Any

import pytest

from gateway.domain.card import (
    BadCard,
    Interface,
    card_members,
    card_text,
    pinned,
    read_card,
    skill_of,
    skills_as_tools,
)
from gateway.domain.definition import canonical

RPC = {"url": "https://a.example/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
REST = {"url": "https://a.example/v1", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"}
SKILL = {"id": "quote", "name": "Quote", "description": "Prices.", "tags": ["price"]}


def card(**changes: Any) -> bytes:
    said = {"name": "Billing", "supportedInterfaces": [RPC], "skills": [SKILL], "version": "1"}
    return json.dumps({**said, **changes}).encode()


def interface(*offered: dict[str, Any]) -> Interface:
    return read_card(card(supportedInterfaces=list(offered))).interface


def test_json_rpc_is_preferred_wherever_it_stands() -> None:
    assert interface(REST, RPC) == Interface("https://a.example/rpc", "JSONRPC")


def test_http_json_is_used_where_there_is_no_json_rpc() -> None:
    old = {**RPC, "protocolVersion": "0.3"}
    assert interface(old, REST) == Interface("https://a.example/v1", "HTTP+JSON")


def test_the_tenant_of_an_interface_is_part_of_it() -> None:
    assert interface({**RPC, "tenant": "acme"}).tenant == "acme"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b'{"name": "a", "name": "b"}', "twice"),
        (b'{"name": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[]", "not an object"),
        (card(skills={}), "not a list"),
        (card(skills=["quote"]), "not an object"),
        (card(skills=[SKILL] * 501), "501 skills"),
        (card(signatures=[{"protected": 1}]), "incomplete"),
        (card(signatures=[{"protected": "a", "signature": "b"}] * 9), "more than 8"),
        (card(supportedInterfaces=[{**RPC, "protocolVersion": "0.3"}]), "no interface"),
        (card(supportedInterfaces=[{**RPC, "url": 7}]), "no interface"),
    ],
    ids=[
        "half",
        "a-member-twice",
        "not-a-number",
        "deep",
        "a-list",
        "skills-no-list",
        "a-skill-no-object",
        "too-many-skills",
        "half-a-signature",
        "too-many-signatures",
        "only-an-older-protocol",
        "a-url-that-is-none",
    ],
)
def test_a_card_that_cannot_be_used_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(BadCard, match=why):
        read_card(body)


@pytest.mark.parametrize("place", ["version", "skills", "supportedInterfaces"])
@pytest.mark.parametrize("said", ["1e999", "1" + "0" * 400, '"\\ud800"', '{"\\udc00": 1}'])
def test_a_card_without_a_canonical_form_is_no_card(place: str, said: str) -> None:
    """It is pinned, listed and signed in that form: nothing else may find out that it has none."""
    changes: dict[str, Any] = {
        "version": "@",
        "skills": [{**SKILL, "tags": ["@"]}],
        "supportedInterfaces": [{**RPC, "tenant": "@"}],
    }
    body = card(**{place: changes[place]}).replace(b'"@"', said.encode())
    with pytest.raises(BadCard):
        read_card(body)


def test_what_the_protocol_does_not_know_is_not_read() -> None:
    read = read_card(card(url="https://elsewhere.example/", skills=[{**SKILL, "price": 1}]))
    assert "url" not in read.members
    assert "price" not in read.members["skills"][0]


@pytest.mark.parametrize("skill_id", ["*", "a/b", "", "x" * 129, "a b", None])
def test_a_skill_whose_id_would_mean_something_else_in_policy_is_no_tool(skill_id: Any) -> None:
    [tool] = skills_as_tools(read_card(card(skills=[{**SKILL, "id": skill_id}])))
    assert "name" not in tool


def test_what_is_said_of_a_skill_is_bounded() -> None:
    long = {"description": "d" * 50_000, "tags": ["t" * 900] * 90, "examples": ["e" * 900] * 90}
    [tool] = skills_as_tools(read_card(card(skills=[{**SKILL, **long}])))
    assert len(tool["description"]) < 12_000


def test_the_pinned_definitions_say_where_the_agent_is_and_what_it_said() -> None:
    read = read_card(card(capabilities={"streaming": True}))
    peer = canonical({"instructions": card_text(read)})
    skill = canonical(skills_as_tools(read)[0])
    for body in (peer, skill):
        found = pinned(body)
        assert found is not None
        assert (found.interface, found.streams) == (read.interface, True)
    assert card_members(peer) == {
        name: value for name, value in read.members.items() if name != "skills"
    }
    assert skill_of(skill) == SKILL


@pytest.mark.parametrize("body", [b"{}", b'{"_meta": {}}', b'{"instructions": "Be kind."}', b"7"])
def test_another_definition_says_of_no_agent_where_it_is(body: bytes) -> None:
    assert pinned(body) is None
