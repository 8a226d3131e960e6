"""What the upstream answers beside MCP: a model of a provider, and an agent that speaks A2A.

POST /v1/chat/completions            the text it was given; streamed: that, and words behind it
GET  /.well-known/agent-card.json    the card of an agent with one skill
POST /rpc                            SendMessage: a task that is done; streamed: its artifact in parts
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from tests.bench.wire import Message, Server

CHAT, CARD, RPC = "/v1/chat/completions", "/.well-known/agent-card.json", "/rpc"
EVENTS = 500  # with text in them, of each stream
EVERY_S = 0.002  # so that each comes alone, as from a model that thinks

_JSON = b"Content-Type: application/json\r\n"
_WORD = "word "
_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
# A task nobody holds may be collected half-way.
_streaming: set[asyncio.Task[None]] = set()


class _Said(msgspec.Struct):
    content: str


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Chat(msgspec.Struct):
    messages: list[_Said]
    stream: bool = False
    stream_options: _Options = msgspec.field(default_factory=_Options)


class _Part(msgspec.Struct):
    text: str


class _Message(msgspec.Struct):
    parts: list[_Part]


class _Params(msgspec.Struct):
    message: _Message


class _Rpc(msgspec.Struct):
    id: int | str
    method: str
    params: _Params


_chat, _rpc = msgspec.json.Decoder(_Chat).decode, msgspec.json.Decoder(_Rpc).decode


def _chatted(server: Server, request: Message) -> str:
    asked = _chat(request.body)
    text = asked.messages[-1].content
    if asked.stream:
        _stream(server, _chunks(text, asked.stream_options))
        return text
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    said = {**_chat_head("chat.completion"), "choices": [choice], "usage": _usage(8)}
    server.respond(200, _JSON, _encode(said))
    return text


def _chunks(text: str, options: _Options) -> Iterator[bytes]:
    head = _chat_head("chat.completion.chunk")
    for number in range(EVENTS):
        delta = {"content": _WORD if number else text}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield _encode({**head, "choices": [choice]})
    if options.include_usage:
        yield _encode({**head, "choices": [], "usage": _usage(EVENTS)})
    yield b"[DONE]"


def _chat_head(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{next(_numbers)}", "object": kind, "created": 1, "model": "bench"}


def _usage(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 8, "completion_tokens": completion, "total_tokens": 8 + completion}


def _carded(server: Server, request: Message) -> str:
    url = f"http://{request.headers[b'host'].decode()}{RPC}"
    interface = {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
    skill = {"id": "echo", "name": "Echo", "description": "Says it again.", "tags": ["bench"]}
    card = {
        "name": "Office",
        "description": "Says again what it was told.",
        "version": "1",
        "supportedInterfaces": [interface],
        "capabilities": {"streaming": True},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [skill],
    }
    server.respond(200, _JSON, _encode(card))
    return ""


def _told(server: Server, request: Message) -> str:
    asked = _rpc(request.body)
    text = asked.params.message.parts[0].text
    number = next(_numbers)
    task = {"id": f"bench-task-{number}", "contextId": f"bench-context-{number}"}
    if asked.method == "SendStreamingMessage":
        frames = ({"jsonrpc": "2.0", "id": asked.id, "result": one} for one in _events(task, text))
        _stream(server, map(_encode, frames))
        return text
    artifact = {"artifactId": "said", "parts": [{"text": text}]}
    done = {"state": "TASK_STATE_COMPLETED"}
    result = {"task": {**task, "status": done, "artifacts": [artifact]}}
    server.respond(200, _JSON, _encode({"jsonrpc": "2.0", "id": asked.id, "result": result}))
    return text


def _events(task: Mapping[str, str], text: str) -> Iterator[dict[str, Any]]:
    yield {"task": {**task, "status": {"state": "TASK_STATE_WORKING"}}}
    about = {"taskId": task["id"], "contextId": task["contextId"]}
    for number in range(EVENTS):
        parts = [{"text": _WORD if number else text}]
        artifact = {"artifactId": "said", "parts": parts}
        yield {"artifactUpdate": {**about, "artifact": artifact, "append": number > 0}}
    yield {"statusUpdate": {**about, "status": {"state": "TASK_STATE_COMPLETED"}}}


def _stream(server: Server, events: Iterator[bytes]) -> None:
    task = asyncio.ensure_future(_streamed(server, events))
    _streaming.add(task)
    task.add_done_callback(_streaming.discard)


async def _streamed(server: Server, events: Iterator[bytes]) -> None:
    server.begin(200, b"Content-Type: text/event-stream\r\n")
    for event in events:
        server.piece(b"data: %b\n\n" % event)
        await asyncio.sleep(EVERY_S)
    server.piece(b"")


# Each answers one request, and says with which text; "": no call.
ANSWERS: Mapping[bytes, Callable[[Server, Message], str]] = {
    CHAT.encode(): _chatted,
    CARD.encode(): _carded,
    RPC.encode(): _told,
}
