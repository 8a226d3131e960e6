"""A stdio MCP server without an SDK, of either era, whose tools misbehave when they are asked to.

python lines.py [modern|legacy|silent|dies-at-probe|dies|mute] [stubborn]
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

ERA = sys.argv[1]
STUBBORN = "stubborn" in sys.argv
MODERN = "2026-07-28"
waiting: dict[str, Any] = {}  # calls that are never answered, by name of their argument
cancelled: list[Any] = []
asked: dict[str, Any] = {}  # what we asked the client
listening: list[Any] = []


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: dict[str, Any]) -> None:
    send({"id": request["id"], "result": result})


def text(request: dict[str, Any], value: Any) -> None:
    answer(request, {"content": [{"type": "text", "text": json.dumps(value)}], "vendor": 1})


def capabilities() -> dict[str, Any]:
    return {"tools": {"listChanged": True}}


def discover(request: dict[str, Any]) -> None:
    if ERA == "dies-at-probe":
        os._exit(3)
    elif ERA == "silent":
        return
    elif ERA != "modern":
        send({"id": request["id"], "error": {"code": -32602, "message": "initialize first"}})
    else:
        body = {"supportedVersions": [MODERN], "capabilities": capabilities(), "instructions": "hi"}
        answer(request, body)


def initialize(request: dict[str, Any]) -> None:
    assert "_meta" not in request["params"]
    server = {"name": "lines", "version": "1"}
    version = request["params"]["protocolVersion"]
    body = {"protocolVersion": version, "capabilities": capabilities(), "serverInfo": server}
    answer(request, {**body, "instructions": "old"})


def echo(request: dict[str, Any], **arguments: Any) -> None:
    text(request, {"arguments": arguments, "_meta": request["params"].get("_meta")})


def wait(request: dict[str, Any], key: str) -> None:
    waiting[key] = request


def release(request: dict[str, Any], keys: list[str]) -> None:
    for key in keys:
        text(waiting.pop(key), key)
    text(request, "released")


def progress(request: dict[str, Any], n: int) -> None:
    token = request["params"].get("_meta", {}).get("progressToken")
    for step in range(n):
        params = {"progressToken": token, "progress": step}
        send({"method": "notifications/progress", "params": params})
    text(request, "done")


def foreign_progress(request: dict[str, Any], of: Any) -> None:
    params = {"progressToken": of, "progress": 1}
    send({"method": "notifications/progress", "params": params})
    text(request, "done")


def descendants(request: dict[str, Any]) -> None:
    """Start one child in our group and one that leaves it; both ignore everything but SIGKILL."""
    code = (
        "import signal,time\nfor s in (1,2,15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(600)"
    )
    command = [sys.executable, "-S", "-c", code]
    near = subprocess.Popen(command)
    far = subprocess.Popen(command, start_new_session=True)
    text(request, [os.getpid(), near.pid, far.pid])


def wrong_id(request: dict[str, Any]) -> None:
    send({"id": 987_654, "result": {"content": []}})
    send({"id": "1", "result": {"content": []}})
    text(request, "right")


def noise(request: dict[str, Any], n: int) -> None:
    sys.stdout.write("not json\n" * n + "\n[1]\n{}\n\xff\n")
    text(request, "after noise")


def long_line(request: dict[str, Any], n: int) -> None:
    for _ in range(n // 65_536):
        sys.stdout.write("x" * 65_536)
    sys.stdout.flush()


def stderr(request: dict[str, Any], line: str, n: int = 1) -> None:
    sys.stderr.write(line * n)
    sys.stderr.flush()
    text(request, "written")


def ask(request: dict[str, Any], method: str) -> None:
    own_id = f"ask-{len(asked)}"
    asked[own_id] = request
    send({"id": own_id, "method": method, "params": {}})


def change(request: dict[str, Any], n: int) -> None:
    for _ in range(n):
        meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": listening[-1:]}}
        send({"method": "notifications/tools/list_changed", "params": meta})
    text(request, len(listening))


def descriptors() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir())


TOOLS: dict[str, Callable[..., None]] = {
    "echo": echo,
    "wait": wait,
    "release": release,
    "cancelled": lambda request: text(request, cancelled),
    "progress": progress,
    "foreign progress": foreign_progress,
    "die": lambda request: os._exit(9),
    "close output": lambda request: os.close(1),
    "environment": lambda request: text(request, dict(os.environ)),
    "descriptors": lambda request: text(request, descriptors()),
    "descendants": descendants,
    "wrong id": wrong_id,
    "noise": noise,
    "long line": long_line,
    "big": lambda request, n: answer(request, {"x": "a" * n}),
    "stderr": stderr,
    "ask": ask,
    "change": change,
}


def call(request: dict[str, Any]) -> None:
    params = request["params"]
    TOOLS[params["name"]](request, **params.get("arguments", {}))


def handle(message: dict[str, Any]) -> None:
    method = message.get("method")
    if method is None:
        request = asked.pop(message["id"])
        text(request, message.get("error") or message.get("result"))
    elif method == "server/discover":
        discover(message)
    elif method == "initialize":
        initialize(message)
    elif method == "tools/call":
        call(message)
    elif method == "tools/list":
        answer(message, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})
    elif method == "subscriptions/listen":
        listening.append(message["id"])
    elif method == "notifications/cancelled":
        cancelled.append(message["params"]["requestId"])


def main() -> None:
    if STUBBORN:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if ERA == "dies":
        sys.stderr.write("cannot read my configuration\n")
        sys.exit(4)
    for line in sys.stdin:
        if ERA != "mute":
            handle(json.loads(line))
    if STUBBORN:
        threading.Event().wait()  # the end of the input means nothing to it


if __name__ == "__main__":
    main()
