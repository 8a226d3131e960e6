"""Tokens and models as agents have them: what can go wrong on the way, and what the type says of it."""

import json

import anyio
import pytest

from agents.client import CallFailed, NoAnswer, RefusedByBorder, Unreachable
from agents.models import Models, Said
from agents.tokens import Applicant, Token, TokenRefused
from tests.agents.border import wire

pytestmark = pytest.mark.anyio

KEY = "key-of-the-planner"
STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCustomhouse-Run: run-1\r\n\r\n"


def answer(status: str, said: object) -> bytes:
    body = json.dumps(said)
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\r\n{body}".encode()


def stream(*events: object) -> bytes:
    said = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return (STREAM + "".join(f"data: {event}\n\n" for event in said)).encode()


def piece(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


async def token(*answers: bytes) -> Token:
    with anyio.fail_after(10):
        async with wire(*answers) as url:
            return await Applicant(url.removesuffix("/mcp"), "planner", KEY).own_token()


async def asked(*answers: bytes) -> Said:
    with anyio.fail_after(10):
        async with wire(*answers) as url:
            return await Models(url.removesuffix("/mcp"), KEY).ask("gpt", "Well?")


async def test_a_token_is_worth_what_the_border_says_and_its_secret_is_not_shown() -> None:
    said = {"access_token": "a.b.c", "scope": "tool/x/* tool/y", "expires_in": 600}
    given = await token(answer("200 OK", said))
    assert given == Token("a.b.c", ("tool/x/*", "tool/y"), 600)
    assert "a.b.c" not in repr(given)
    assert KEY not in repr(Applicant("http://127.0.0.1:1", "planner", KEY))
    assert KEY not in repr(Models("http://127.0.0.1:1", KEY))


async def test_a_token_that_is_refused_says_why() -> None:
    said = {"error": "invalid_scope", "error_description": "It is wider."}
    with pytest.raises(TokenRefused, match="wider") as refused:
        await token(answer("400 Bad Request", said))
    assert refused.value.error == "invalid_scope"


@pytest.mark.parametrize("broken", [b"", answer("200 OK", {}), b"HTTP/1.1 200 OK\r\n\r\n{"])
async def test_what_is_no_token_is_no_answer(broken: bytes) -> None:
    with pytest.raises(NoAnswer):
        await token(broken)


async def test_nobody_there_is_told_apart_from_no_answer() -> None:
    with pytest.raises(Unreachable):
        await Applicant("http://127.0.0.1:1", "planner", KEY).own_token()
    with pytest.raises(Unreachable):
        await Models("http://127.0.0.1:1", KEY).ask("gpt", "Well?")


async def test_a_model_is_heard_to_its_end() -> None:
    assert await asked(stream(piece("Yes, "), piece("well."), "[DONE]")) == Said(
        "Yes, well.", 2, "", "run-1"
    )


@pytest.mark.parametrize("events", [(piece("Yes, "),), (piece("Yes, "), "{")])
async def test_a_model_that_is_cut_off_gave_no_answer(events: tuple[object, ...]) -> None:
    with pytest.raises(NoAnswer):
        await asked(stream(*events))


async def test_a_refusal_and_a_failure_of_a_model_are_told_apart() -> None:
    refused = {"error": {"message": "No such model.", "code": "model_not_found"}}
    with pytest.raises(RefusedByBorder, match="No such"):
        await asked(answer("404 Not Found", refused))
    failed = {"error": {"message": "It broke.", "code": "upstream_broken"}}
    with pytest.raises(CallFailed, match="broke"):
        await asked(stream(piece("Yes, "), failed))
