"""A provider of models that speaks like OpenAI's, and misbehaves as its models are named.

    steady     answers, and says what it used        mute       answers, and does not say
    liar       says that it used one token           greedy     says that it used a million
    cut        stops in the middle                   garbled    streams what is no JSON
    wordy      answers far more than was asked for   stuck      begins to stream, and no more
    sick       HTTP 500                              busy       HTTP 429
    choosy     HTTP 400                              moved      HTTP 307
    locked     HTTP 401                              silent     answers nothing, ever
    error      an error in the middle of a stream    endless    streams for as long as one listens

Run as a program it prints its URL, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

WORDS = ("The ", "Elbe ", "flows ", "to ", "the ", "sea.")
ANSWER = "".join(WORDS)
_REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized"}
_FAILURES = {"sick": 500, "busy": 429, "choosy": 400, "locked": 401}


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def mode(self) -> str:
        return str(self.body["model"]).partition("-")[0]

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion, as it reports them."""
        if self.mode == "mute":
            return None
        if self.mode == "liar":
            return 1, 1
        if self.mode == "greedy":
            return 1_000_000, 1_000_000
        given = self.body.get("messages") or self.body.get("input")
        return max(1, len(json.dumps(given)) // 4), len(WORDS)


@dataclass
class Provider:
    """`async with Provider() as provider`; each request is kept in `asked`."""

    asked: list[Asked] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # a caller hung up
    listing: int = 200  # the status with which it answers GET /models

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                await self._answer(asked, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone.set()
        except asyncio.CancelledError:
            pass  # the server ends: a task of a stream server must not end so
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if asked.path.endswith("/models"):
            await _whole(writer, self.listing, {"object": "list", "data": []})
            return
        if asked.mode == "silent":
            await reader.read(1)
            raise ConnectionResetError
        if asked.mode in _FAILURES:
            error = {"message": f"{asked.mode} today", "type": "made_up", "code": "why_not"}
            await _whole(writer, _FAILURES[asked.mode], {"error": error})
        elif asked.mode == "moved":
            await _whole(writer, 307, {}, "Location: http://127.0.0.1:1/v1\r\n")
        elif asked.body.get("stream"):
            await _stream(asked, reader, writer)
        else:
            await _whole(writer, 200, _made(asked))


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split(" ")[1], headers, json.loads(body or b"{}"))


async def _whole(writer: asyncio.StreamWriter, status: int, body: Any, more: str = "") -> None:
    text = json.dumps(body).encode()
    reason = _REASONS.get(status, "Whatever")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{more}"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(text), text))
    await writer.drain()


def _made(asked: Asked) -> dict[str, Any]:
    answer = ANSWER * 5_000 if asked.mode == "wordy" else ANSWER
    usage = asked.usage
    if asked.path.endswith("/embeddings"):
        given = asked.body["input"]
        many = len(given) if isinstance(given, list) else 1
        vectors = [
            {"object": "embedding", "index": i, "embedding": [0.5, -0.25]} for i in range(many)
        ]
        said = {"prompt_tokens": usage[0], "total_tokens": usage[0]} if usage else None
        return {"object": "list", "data": vectors, "model": asked.body["model"], "usage": said}
    if asked.path.endswith("/responses"):
        return _response(asked, answer)
    message = {"role": "assistant", "content": answer}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**_chat(asked, "chat.completion"), "choices": [choice], "usage": _used(usage)}


def _chat(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": asked.body["model"]}


def _used(usage: tuple[int, int] | None) -> dict[str, int] | None:
    if usage is None:
        return None
    prompt, completion = usage
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def _response(asked: Asked, answer: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": answer, "annotations": []}]
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    used = None
    if asked.usage is not None:
        prompt, completion = asked.usage
        used = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": asked.body["model"],
        "output": [{**item, "content": content}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": used,
    }


async def _stream(asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    responds = asked.path.endswith("/responses")
    words = WORDS * 5_000 if asked.mode == "wordy" else WORDS
    for number, word in enumerate(words):
        await _event(writer, _delta(word, number) if responds else _chunk(asked, word))
        if number == 1 and asked.mode in _MIDWAY:
            await _MIDWAY[asked.mode](asked, reader, writer)
    if responds:
        done = {"type": "response.completed", "sequence_number": len(words)}
        await _event(writer, {**done, "response": _response(asked, ANSWER)})
    else:
        options = asked.body.get("stream_options") or {}
        if options.get("include_usage") and asked.usage is not None:
            await _event(writer, {**_chunk(asked, ""), "choices": [], "usage": _used(asked.usage)})
        await _line(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _chunk(asked: Asked, word: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    return {**_chat(asked, "chat.completion.chunk"), "choices": [choice]}


def _delta(word: str, number: int) -> dict[str, Any]:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    said = {"type": "response.output_text.delta", "sequence_number": number, "delta": word}
    return {**said, **place}


async def _event(writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
    kind = said.get("type")
    named = f"event: {kind}\n" if kind else ""
    await _line(writer, f"{named}data: {json.dumps(said)}\n\n".encode())


async def _line(writer: asyncio.StreamWriter, line: bytes) -> None:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(b"%x\r\n%b\r\n" % (len(line), line))
    await writer.drain()


async def _cut(_a: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()
    raise ConnectionResetError


async def _garbled(_a: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _line(writer, b'data: {"choices":[{"delta":\n\n')


async def _stuck(_a: Asked, reader: asyncio.StreamReader, _w: asyncio.StreamWriter) -> None:
    await reader.read(1)
    raise ConnectionResetError


async def _error(_a: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await _line(writer, b'data: {"error":{"message":"out of order"}}\n\n')


async def _endless(asked: Asked, _r: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await _event(writer, _chunk(asked, "on "))
        await asyncio.sleep(0.01)


_MIDWAY = {
    "cut": _cut,
    "garbled": _garbled,
    "stuck": _stuck,
    "error": _error,
    "endless": _endless,
}


async def _main() -> None:
    async with Provider() as provider:
        sys.stdout.write(f"{provider.url}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
