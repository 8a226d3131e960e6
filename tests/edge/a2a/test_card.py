"""The card that callers get: what an agent says of itself, and no link but to the web."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.domain.card import card_text, read_card
from gateway.domain.definition import canonical
from gateway.edge.a2a.card import Press
from tests.fakes import make_definition

RPC = {"url": "https://a.example/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
SKILL = {"id": "quote", "name": "Quote", "description": "Prices.", "tags": ["price"]}
PRESS = Press("https://gateway.example", lambda _url, _payload: ("protected", "signature"))


def shown(**members: Any) -> dict[str, Any]:
    said = {"name": "Billing", "version": "1", "supportedInterfaces": [RPC], "skills": [SKILL]}
    card = read_card(json.dumps({**said, **members}).encode())
    pinned = make_definition(canonical({"instructions": card_text(card)}))
    told: dict[str, Any] = json.loads(PRESS.body("billing", pinned, ()))
    return told


def test_links_to_the_web_are_told() -> None:
    links = {
        "iconUrl": "https://a.example/icon.png",
        "documentationUrl": "https://a.example/docs",
        "provider": {"url": "https://a.example", "organization": "A"},
    }
    assert shown(**links).items() >= links.items()


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://169.254.169.254/", "data:text/html,x", 7, ["https://a"]]
)
def test_what_is_no_such_link_is_left_out(url: Any) -> None:
    told = shown(iconUrl=url, documentationUrl=url, provider={"url": url, "organization": "A"})
    assert told.keys().isdisjoint({"iconUrl", "documentationUrl"})
    assert told["provider"] == {"organization": "A"}
    assert told["supportedInterfaces"][0]["url"] == "https://gateway.example/a2a/billing"
