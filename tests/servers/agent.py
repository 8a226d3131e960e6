"""A real agent that speaks A2A 1.0, on the official SDK: JSON-RPC and HTTP+JSON, streams, push, waiting.

python -m tests.servers.agent [PORT [PUBLIC_URL]]      prints its port

What it does with a message follows from how the messageId begins, or else from the first word of
its text; anything else is answered with what was said. The ids are those by which the A2A
compatibility kit tells an agent what to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from a2a.helpers import new_task_from_user_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Part,
)
from google.protobuf import json_format  # type: ignore[import-untyped] # a stub package more
from google.protobuf.struct_pb2 import Value  # type: ignore[import-untyped] # as above
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

RPC, REST = "/rpc", "/rest"
KIT_STREAM_S = 4.5  # how long the kit wants a task to go on that it subscribes to again


def text(said: str) -> list[Part]:
    return [Part(text=said)]


def file(**content: Any) -> list[Part]:
    return [Part(media_type="text/plain", filename="output.txt", **content)]


def data(value: Any) -> list[Part]:
    return [Part(data=json_format.ParseDict(value, Value()))]


@dataclass
class Turn:
    """One message, and how to answer it."""

    message_id: str
    said: str
    data: list[Any]
    metadata: dict[str, Any]
    task: TaskUpdater
    queue: EventQueue

    async def reply(self, said: str) -> None:
        """A message in the place of a task."""
        await self.queue.enqueue_event(self.task.new_agent_message(text(said)))

    async def done(self, *parts: list[Part]) -> None:
        for one in parts:
            await self.task.add_artifact(one)
        await self.task.complete()

    async def worked(self, *parts: list[Part]) -> None:
        await self.task.start_work()
        await self.done(*parts)


Behaviour = Callable[[Turn], Awaitable[None]]


async def _chunked(turn: Turn) -> None:
    await turn.task.start_work()
    await turn.task.add_artifact(text("chunk-1 "), artifact_id="chunks", append=False)
    await turn.task.add_artifact(
        text("chunk-2"), artifact_id="chunks", append=True, last_chunk=True
    )
    await turn.task.complete()


async def _slow(turn: Turn) -> None:
    await turn.task.start_work()
    await asyncio.sleep(KIT_STREAM_S)
    await turn.task.complete()


async def _for_ever(turn: Turn) -> None:
    await turn.task.start_work()
    while True:
        await turn.task.add_artifact(text("and on"))
        await asyncio.sleep(0.02)


async def _waiting(turn: Turn) -> None:
    await turn.task.start_work()
    await asyncio.Event().wait()


async def _failing(turn: Turn) -> None:
    await turn.task.failed(turn.task.new_agent_message(text("it broke")))


async def _echo(turn: Turn) -> None:
    said = {"said": turn.said, "data": turn.data, "metadata": turn.metadata}
    await turn.worked(text(turn.said or "nothing"), data(said))


# The longest prefix that fits wins.
BY_ID: Mapping[str, Behaviour] = {
    "tck-complete-task": lambda turn: turn.task.complete(
        turn.task.new_agent_message(text("Hello from TCK"))
    ),
    "tck-artifact-text": lambda turn: turn.done(text("Generated text content")),
    "tck-artifact-file": lambda turn: turn.done(file(raw=b"tck")),
    "tck-artifact-file-url": lambda turn: turn.done(file(url="https://example.com/output.txt")),
    "tck-artifact-data": lambda turn: turn.done(data({"key": "value", "count": 42})),
    "tck-message-response": lambda turn: turn.reply("Direct message response"),
    "tck-input-required": lambda turn: turn.task.requires_input(),
    "tck-reject-task": lambda turn: turn.task.reject(turn.task.new_agent_message(text("rejected"))),
    "tck-stream-001": lambda turn: turn.worked(text("Stream hello from TCK")),
    "tck-stream-002": lambda turn: turn.task.complete(),
    "tck-stream-003": lambda turn: turn.worked(text("Stream task lifecycle")),
    "tck-stream-ordering-001": lambda turn: turn.worked(text("Ordered output")),
    "tck-stream-artifact-text": lambda turn: turn.worked(text("Streamed text content")),
    "tck-stream-artifact-file": lambda turn: turn.worked(file(raw=b"tck")),
    "tck-stream-artifact-chunked": _chunked,
    "test-resubscribe-message-id": _slow,
}
BY_WORD: Mapping[str, Behaviour] = {
    "reply": lambda turn: turn.reply("a plain message"),
    "ask": lambda turn: turn.task.requires_input(turn.task.new_agent_message(text("which one?"))),
    "login": lambda turn: turn.task.requires_auth(
        turn.task.new_agent_message(text("sign in first"))
    ),
    "reject": lambda turn: turn.task.reject(turn.task.new_agent_message(text("not for me"))),
    "fail": _failing,
    "chunks": _chunked,
    "large": lambda turn: turn.worked(text("x" * 200_000)),
    "endless": _for_ever,
    "wait": _waiting,
}


class Executor(AgentExecutor):
    """Does what it is told, and remembers what it was told."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        self._told = told

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        assert message is not None
        assert context.task_id
        assert context.context_id
        said = json_format.MessageToDict(message)
        self._told.append(said)
        turn = Turn(
            message.message_id,
            "\n".join(one["text"] for one in said.get("parts", []) if "text" in one),
            [one["data"] for one in said.get("parts", []) if "data" in one],
            said.get("metadata", {}),
            TaskUpdater(event_queue, context.task_id, context.context_id),
            event_queue,
        )
        behave = _chosen(turn)
        if context.current_task is None and not _is_plain(turn, behave):
            await event_queue.enqueue_event(new_task_from_user_message(message))
        await behave(turn)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id
        assert context.context_id
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def _chosen(turn: Turn) -> Behaviour:
    fitting = [one for one in BY_ID if turn.message_id.startswith(one)]
    if fitting:
        return BY_ID[max(fitting, key=len)]
    return BY_WORD.get(turn.said.partition(" ")[0], _echo)


def _is_plain(turn: Turn, behave: Behaviour) -> bool:
    """Whether it is answered with a message: then there is no task."""
    return behave in {BY_ID["tck-message-response"], BY_WORD["reply"]}


def skills() -> list[AgentSkill]:
    return [
        AgentSkill(
            id="quote",
            name="Quote",
            description="Says what something costs.",
            tags=["price"],
            examples=["What does a kilo of apples cost?"],
        ),
        AgentSkill(id="refund", name="Refund", description="Pays money back.", tags=["money"]),
        AgentSkill(id="echo", name="Echo", description="Says it again.", tags=["test"]),
    ]


def card(url: str, bindings: tuple[str, ...] = ("JSONRPC", "HTTP+JSON")) -> AgentCard:
    """What the agent says of itself; *url* is where it is reached."""
    paths = {"JSONRPC": RPC, "HTTP+JSON": REST}
    return AgentCard(
        name="Billing",
        description="Knows what things cost.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=url + paths[one], protocol_binding=one, protocol_version="1.0")
            for one in bindings
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=skills(),
    )


@dataclass
class Agent:
    """The agent: what it says of itself, what it was told, and the headers it was asked with."""

    bindings: tuple[str, ...] = ("JSONRPC", "HTTP+JSON")
    told: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    served: bytes | None = None  # a card in the place of its own
    moved: str = ""  # where its card redirects to
    cards: int = 0  # how often its card was asked for
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def card_url(self) -> str:
        return f"{self.url}/.well-known/agent-card.json"

    def described(self) -> AgentCard:
        return card(self.url, self.bindings)

    def app(self, public_url: str = "") -> ASGIApp:
        described = card(public_url or self.url, self.bindings)
        configs = InMemoryPushNotificationConfigStore()
        unkept = httpx.Limits(max_keepalive_connections=0)  # nobody closes the client
        sender = BasePushNotificationSender(
            httpx.AsyncClient(trust_env=False, limits=unkept), configs
        )
        answering = DefaultRequestHandler(
            agent_executor=Executor(self.told),
            task_store=InMemoryTaskStore(),
            agent_card=described,
            push_config_store=configs,
            push_sender=sender,
        )
        # The kit posts to the URL of the interface with a slash behind it.
        routes = [
            *create_agent_card_routes(described, cache_control="public, max-age=60"),
            *create_jsonrpc_routes(answering, RPC),
            *create_jsonrpc_routes(answering, RPC + "/"),
            *create_rest_routes(answering, path_prefix=REST),
        ]
        inner = Starlette(routes=routes)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/.well-known/agent-card.json":
                self.cards += 1
                if self.moved or self.served is not None:
                    await self._say_card(send)
                    return
            else:
                heard = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.asked.append({":path": scope["path"], **heard})
            await inner(scope, receive, send)

        return app

    async def _say_card(self, send: Send) -> None:
        headers = [(b"location", self.moved.encode())] if self.moved else []
        headers.append((b"content-type", b"application/json"))
        status = 302 if self.moved else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": self.served or b""})


def served_card(agent: Agent, **changes: Any) -> dict[str, Any]:
    """The card of *agent* as JSON, with some members changed."""
    said: dict[str, Any] = json.loads(json_format.MessageToJson(agent.described()))
    return {**said, **changes}


@contextmanager
def serving(agent: Agent) -> Iterator[Agent]:
    """The agent on a free port of loopback, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    agent.port = listener.getsockname()[1]
    server = uvicorn.Server(_config(agent.app()))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield agent
    finally:
        server.should_exit = True
        server.force_exit = True  # not to wait for the tasks that never end
        thread.join(10)
        listener.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    logging.getLogger("a2a").setLevel(logging.CRITICAL)  # it logs what it is meant to refuse
    return uvicorn.Config(app, log_config=None, lifespan="off", ws="none")


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    listener = socket.create_server(("127.0.0.1", port))
    agent = Agent(port=listener.getsockname()[1])
    sys.stdout.write(f"{agent.port}\n")
    sys.stdout.flush()
    app = agent.app(sys.argv[2] if len(sys.argv) > 2 else "")
    asyncio.run(uvicorn.Server(_config(app)).serve([listener]))


if __name__ == "__main__":
    main()
