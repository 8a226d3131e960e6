"""A stdio MCP server without an SDK that asks whatever it is told to, whomever it may ask.

python -S nosy.py older|newest
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

ERA = sys.argv[1]
MODERN = "2026-07-28"
declared: dict[str, Any] = {}
held: dict[str, Any] = {}  # calls that wait to be let go
asked: dict[str, dict[str, Any]] = {}  # our request -> the call it is for
answers: dict[Any, list[Any]] = {}  # by id of the call
seen: list[str] = []  # notifications of the client


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], result: dict[str, Any]) -> None:
    send({"id": request["id"], "result": result})


def text(request: dict[str, Any], value: Any) -> None:
    answer(request, {"content": [{"type": "text", "text": json.dumps(value)}]})


def request_of(call: dict[str, Any], method: str, params: dict[str, Any]) -> str:
    own_id = f"q-{len(asked)}"
    asked[own_id] = call
    send({"id": own_id, "method": method, "params": params})
    return own_id


def ask(
    call: dict[str, Any], method: str, params: dict[str, Any] | None = None, times: int = 1
) -> None:
    """Older: all at once, as requests. Newest: in one result."""
    if ERA == "newest":
        given = call["params"].get("inputResponses")
        if given is not None:
            text(call, given)
            return
        question = {"method": method, "params": params or {}}
        answer(call, {"resultType": "input_required", "inputRequests": {"q": question}})
        return
    answers[call["id"]] = []
    call["times"] = times
    for _ in range(times):
        request_of(call, method, params or {})


def ask_and_take_back(call: dict[str, Any], method: str) -> None:
    own_id = request_of(call, method, {"message": "?"})
    held["taken back"] = (call, own_id)


def take_back(call: dict[str, Any]) -> None:
    first, own_id = held.pop("taken back")
    send({"method": "notifications/cancelled", "params": {"requestId": own_id}})
    text(first, "taken back")
    text(call, "done")


def ask_and_end(call: dict[str, Any], method: str) -> None:
    """Ends the call without waiting for the answer."""
    request_of(call, method, {"message": "?"})
    text(call, "ended")


def ask_and_die(call: dict[str, Any], method: str) -> None:
    request_of(call, method, {"message": "?"})
    held["to die"] = call


def hold(call: dict[str, Any], key: str) -> None:
    held[key] = call


def release(call: dict[str, Any], key: str) -> None:
    text(held.pop(key), key)
    text(call, "released")


def log(call: dict[str, Any]) -> None:
    send({"method": "notifications/message", "params": {"level": "info", "data": "hello"}})
    text(call, "logged")


TOOLS: dict[str, Callable[..., None]] = {
    "ask": ask,
    "ask_and_take_back": ask_and_take_back,
    "take_back": take_back,
    "ask_and_end": ask_and_end,
    "ask_and_die": ask_and_die,
    "die": lambda call: os._exit(3),
    "hold": hold,
    "release": release,
    "log": log,
    "who": lambda call: text(call, {"pid": os.getpid(), "declared": declared}),
    "told": lambda call: text(call, call["params"]["_meta"]),
    "seen": lambda call: text(call, seen),
}


def answered(message: dict[str, Any]) -> None:
    call = asked.get(message["id"])
    if call is None or call["id"] not in answers:
        return
    answers[call["id"]].append(message.get("error") or message["result"])
    if len(answers[call["id"]]) == call["times"]:
        text(call, answers.pop(call["id"]))


def initialize(message: dict[str, Any]) -> None:
    if ERA == "newest":
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        return
    declared.update(message["params"]["capabilities"])
    version = message["params"]["protocolVersion"]
    server = {"name": "nosy", "version": "1"}
    body = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    answer(message, body)


def discover(message: dict[str, Any]) -> None:
    if ERA == "older":
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
        return
    answer(message, {"supportedVersions": [MODERN], "capabilities": {"tools": {}}})


def handle(message: dict[str, Any]) -> None:
    method = message.get("method")
    if method is None:
        answered(message)
    elif method == "server/discover":
        discover(message)
    elif method == "initialize":
        initialize(message)
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        answer(message, {"tools": tools})
    elif method == "tools/call":
        params = message["params"]
        TOOLS[params["name"]](message, **params.get("arguments", {}))
    elif method.startswith("notifications/"):
        seen.append(method)


if __name__ == "__main__":
    for line in sys.stdin:
        handle(json.loads(line))
