"""An MCP server whose one tool has an effect that outlives any crash: a line, fsynced, per call.

python -m tests.journey.effects FILE stdio
python -m tests.journey.effects FILE http PORT_FILE
"""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

VERSION = "2026-07-28"
TOOL = {
    "name": "act",
    "description": "Write the mark down, then answer with it.",
    "inputSchema": {
        "type": "object",
        "properties": {"mark": {"type": "string"}, "wait_ms": {"type": "integer"}},
        "required": ["mark"],
    },
}


class Effects:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if "id" not in request:
            return None
        result = self._result(request["method"], request.get("params", {}))
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            return {"jsonrpc": "2.0", "id": request["id"], "error": error}
        return {"jsonrpc": "2.0", "id": request["id"], "result": result}

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        hints = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            return {**hints, "supportedVersions": [VERSION], "capabilities": {"tools": {}}}
        if method == "tools/list":
            return {**hints, "tools": [TOOL]}
        if method == "tools/call":
            return self._act(params["arguments"])
        return None

    def _act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        os.write(self._file, f"{arguments['mark']}\n".encode())
        os.fsync(self._file)
        time.sleep(arguments.get("wait_ms", 0) / 1000)  # the call is under way, not the test
        return {
            "resultType": "complete",
            "content": [{"type": "text", "text": arguments["mark"]}],
        }


def serve_stdio(effects: Effects) -> None:
    for line in sys.stdin.buffer:
        answer = effects.answer(json.loads(line))
        if answer is not None:
            sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
            sys.stdout.buffer.flush()


def serve_http(effects: Effects) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    async def post(request: Request) -> Response:
        answer = effects.answer(await request.json())
        return JSONResponse(answer) if answer is not None else Response(status_code=202)

    app = Starlette(routes=[Route("/mcp", post, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="uvloop"))
    server.run(sockets=[listener])


def main() -> None:
    effects = Effects(Path(sys.argv[1]))
    if sys.argv[2] == "stdio":
        serve_stdio(effects)
    else:
        serve_http(effects)


if __name__ == "__main__":
    main()
