"""Callers of an agent behind the gateway: the official client, and the house that stands between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from a2a.client import Client, ClientConfig, create_client
from a2a.types import Message, Part, Role, SendMessageRequest, StreamResponse, Task

from tests.journey.process import KEY, write_policy

BOBS, CAROLS = KEY.replace("only", "bobs"), KEY.replace("only", "caro")
KEYS = {"CH_KEY": KEY, "CH_BOB": BOBS, "CH_CAROL": CAROLS}
CONFIG = """
listen = "127.0.0.1:0"
[peers.billing]
url = "{card}"
approve = "first-seen"
[peers.other]
url = "{card}"
approve = "first-seen"
[agents.alice]
roles = ["caller"]
key = "env:CH_KEY"
[agents.bob]
roles = ["caller"]
key = "env:CH_BOB"
[agents.carol]
roles = ["clerk"]
key = "env:CH_CAROL"
"""
POLICY = """\
p, caller, default, peer/billing/*, call, -, allow
p, caller, default, peer/other/*, call, -, allow
p, clerk, default, peer/billing/quote, call, -, allow
"""


def house(folder: Path, card_url: str) -> Path:
    """The configuration of a gateway before the agent whose card is at *card_url*."""
    write_policy(folder, POLICY)
    config = folder / "customhouse.toml"
    config.write_text(CONFIG.format(card=card_url))
    return config


@asynccontextmanager
async def caller(
    url: str,
    key: str = KEY,
    *,
    binding: str = "JSONRPC",
    streaming: bool = False,
    peer: str = "billing",
    run: str = "",
) -> AsyncIterator[Client]:
    """The official client, which knows no more than the place of the card."""
    auth = {"Authorization": f"Bearer {key}", **({"Customhouse-Run": run} if run else {})}
    async with httpx.AsyncClient(headers=auth, timeout=20, trust_env=False) as http:
        config = ClientConfig(
            httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding]
        )
        yield await create_client(f"{url}/a2a/{peer}", config)


def asking(
    said: str, *, task_id: str = "", context_id: str = "", skill: str = "", **more: Any
) -> SendMessageRequest:
    message = Message(
        message_id=more.pop("message_id", uuid4().hex),
        role=Role.ROLE_USER,
        parts=[Part(text=said)],
        task_id=task_id,
        context_id=context_id,
    )
    if skill:
        message.metadata["io.customhouse/skill"] = skill
    return SendMessageRequest(message=message, **more)


async def told(client: Client, request: SendMessageRequest) -> list[StreamResponse]:
    return [event async for event in client.send_message(request)]


async def task_of(client: Client, said: str, **more: Any) -> Task:
    """The task that a message makes, as far as it had come when that was answered."""
    [event] = await told(client, asking(said, **more))
    return event.task


class Hook:
    """Where a caller is told of its tasks."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[dict[str, str], dict[str, Any]]] = asyncio.Queue()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await self.told.put((headers, json.loads(body)))


@asynccontextmanager
async def hooked() -> AsyncIterator[Hook]:
    hook = Hook()
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield hook
