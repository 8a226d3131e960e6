"""A model through the border, as OpenAI's API has it: asked, and heard while it speaks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from agents.client import (
    CONNECT_S,
    CROSSED,
    DEADLINE_S,
    CallFailed,
    NoAnswer,
    RefusedByBorder,
    Unreachable,
)

CALL_HEADER, RUN_HEADER = "customhouse-call", "customhouse-run"
LAST = "[DONE]"


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said, in how many pieces it came, and which call that was."""

    text: str
    pieces: int
    call_id: str
    run: str


@dataclass(frozen=True, slots=True)
class Models:
    """The models behind *border* (its URL, without a path) for the agent to whom *key* belongs."""

    border: str
    key: str = field(repr=False)

    async def ask(
        self, model: str, prompt: str, *, run: str = "", deadline_s: float = DEADLINE_S
    ) -> Said:
        """Raises: RefusedByBorder, CallFailed, NoAnswer, Unreachable."""
        said = {"role": "user", "content": prompt}
        body = {"model": model, "messages": [said], "stream": True}
        headers = {"Authorization": f"Bearer {self.key}", **({RUN_HEADER: run} if run else {})}
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        try:
            with anyio.fail_after(deadline_s):
                # Proxies of the environment are not used: they would see the key.
                async with (
                    httpx2.AsyncClient(trust_env=False, timeout=timeout, headers=headers) as http,
                    http.stream("POST", f"{self.border}/v1/chat/completions", json=body) as answer,
                ):
                    return await _heard(answer)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as err:
            raise Unreachable(f"no border answers there ({type(err).__name__})") from err
        except (httpx2.TransportError, TimeoutError, ValueError) as err:
            raise NoAnswer(f"{model} did not answer to its end") from err


async def _heard(answer: httpx2.Response) -> Said:
    call_id = answer.headers.get(CALL_HEADER, "")
    if answer.status_code != httpx2.codes.OK:
        await answer.aread()
        raise _no(answer.json(), call_id)
    pieces = [piece async for piece in _pieces(answer, call_id)]
    return Said("".join(pieces), len(pieces), call_id, answer.headers.get(RUN_HEADER, ""))


async def _pieces(answer: httpx2.Response, call_id: str) -> AsyncIterator[str]:
    """Raises: NoAnswer: it ended before its last event, which says that all of it is settled."""
    async for line in answer.aiter_lines():
        if not line.startswith("data:"):
            continue
        event = line.removeprefix("data:").strip()
        if event == LAST:
            return
        said = json.loads(event)
        if "error" in said:
            raise _no(said, call_id)
        for choice in said.get("choices", ()):
            if piece := choice.get("delta", {}).get("content"):
                yield piece
    raise NoAnswer("the stream ended before its last event")


def _no(said: Any, call_id: str) -> CallFailed | RefusedByBorder:
    error = said["error"] if isinstance(said, dict) and isinstance(said.get("error"), dict) else {}
    sentence, code = str(error.get("message", "no reason was given")), str(error.get("code", ""))
    if not code or code in CROSSED:
        return CallFailed(sentence, code, call_id)
    return RefusedByBorder(sentence, {"code": code, "call_id": call_id})
