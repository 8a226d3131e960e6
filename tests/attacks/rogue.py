"""A Streamable HTTP MCP server that misbehaves on demand; every call it receives is written down.

    python -m tests.attacks.rogue EFFECTS_FILE      (says its port on standard output)

POST /control {"tools": [...], "pages": [[...], [...]]} replaces what it lists.
"""

import asyncio
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

GIGABYTE = 1_000_000_000
HINTS = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
SCHEMA = {"type": "object", "properties": {"mark": {"type": "string"}}}
MISCHIEF = (
    "act",
    "hang",
    "die",
    "flood",
    "bomb",
    "garble",
    "other_id",
    "silent_close",
    "long",
    "stream",
)


def tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "description": f"does {name}", "inputSchema": SCHEMA, **fields}


class Rogue:
    def __init__(self, effects: Path) -> None:
        self.pages: list[list[dict[str, Any]]] = [[tool(name) for name in MISCHIEF]]
        self.effects = os.open(effects, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        [length] = [
            int(line.partition(":")[2])
            for line in head.split("\r\n")
            if line.startswith("content-length:")
        ]
        request = json.loads(await reader.readexactly(length))
        if head.startswith("post /control"):
            self.pages = request.get("pages") or [request["tools"]]
            _respond(writer, b"{}")
            return True
        if request["method"] == "tools/call":
            return await self._call(request, writer)
        _respond(writer, _answer(request["id"], self._lists(request)))
        return True

    def _lists(self, request: dict[str, Any]) -> dict[str, Any]:
        method, params = request["method"], request.get("params", {})
        if method == "server/discover":
            return {**HINTS, "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        if method == "tools/list":
            page = int(params.get("cursor", "0"))
            more = {"nextCursor": str(page + 1)} if page + 1 < len(self.pages) else {}
            return {**HINTS, "tools": self.pages[page], **more}
        return {**HINTS}

    async def _call(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        name, arguments = request["params"]["name"], request["params"].get("arguments", {})
        os.write(self.effects, f"{arguments.get('mark', name)}\n".encode())
        os.fsync(self.effects)
        if name == "hang":
            await asyncio.Event().wait()
        if name in ("die", "silent_close"):
            if name == "die":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            return False
        if name == "flood":
            await _flood(writer)
            return False
        if name == "stream":
            writer.write(_stream(request))
            return False
        _respond(writer, *_reply(request, name))
        return True


def _reply(request: dict[str, Any], name: str) -> tuple[bytes, str]:
    good = {"resultType": "complete", "content": [{"type": "text", "text": name}]}
    if name == "bomb":
        bomb = gzip.compress(_answer(request["id"], {**good, "pad": "0" * 50_000_000}))
        return bomb, "Content-Encoding: gzip\r\n"
    if name == "garble":
        return b'{"jsonrpc":"2.0","id":', ""
    if name == "other_id":
        return _answer("somebody-elses", good), ""
    if name == "long":
        return _answer(request["id"], {**good, "pad": "x" * 200_000}), ""
    return _answer(request["id"], good), ""


def _stream(request: dict[str, Any]) -> bytes:
    """A progress notification, and the result right behind it."""
    token = request["params"]["_meta"].get("progressToken", 0)
    progress = {"progressToken": token, "progress": 1}
    told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}
    good = {"resultType": "complete", "content": [{"type": "text", "text": "stream"}]}
    events = (json.dumps(told).encode(), _answer(request["id"], good))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    return head + b"".join(b"event: message\ndata: %b\n\n" % event for event in events)


async def _flood(writer: asyncio.StreamWriter) -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {GIGABYTE}\r\n\r\n"
    )
    writer.write(head.encode() + b'{"jsonrpc":"2.0","id":1,"result":{"pad":"')
    for _ in range(GIGABYTE // 1_000_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


def _answer(request_id: Any, result: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()


def _respond(writer: asyncio.StreamWriter, body: bytes, extra: str = "") -> None:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)


async def main() -> None:
    rogue = Rogue(Path(sys.argv[1]))
    server = await asyncio.start_server(rogue.serve, "127.0.0.1", 0, limit=8_000_000)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
