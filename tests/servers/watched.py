"""A stdio MCP server without an SDK, of either era, whose resources can be followed.

python watched.py [modern|legacy]
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

ERA = sys.argv[1]
MODERN = "2026-07-28"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
UPDATED = "notifications/resources/updated"
CAPABILITIES = {
    "tools": {},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
}
PRIVATE = "note:///private"  # cannot be followed
followed: dict[str, Any] = {}  # by URI: the id of the listen, or None
counts = {"subscribed": 0, "unsubscribed": 0}
levels: list[str] = []
writing = threading.Lock()
quiet = threading.Event()


def send(*messages: dict[str, Any]) -> None:
    text = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages)
    with writing:
        sys.stdout.write(text)
        sys.stdout.flush()


def updated(uri: str, part: str = "") -> dict[str, Any]:
    params: dict[str, Any] = {"uri": uri + part}
    if ERA == "modern":
        params["_meta"] = {SUBSCRIPTION: followed.get(uri)}
    return {"method": UPDATED, "params": params}


def touch(uri: str, times: int = 1, part: str = "") -> Any:
    send(*(updated(uri, part) for _ in range(times)))
    return times


def flood(uri: str, times: int) -> Any:
    """As fast as the pipe takes it, for as long as it takes."""
    lines = [updated(uri)] * 1_000

    def shout() -> None:
        for _ in range(times // 1_000):
            if quiet.is_set():
                return
            send(*lines)

    quiet.clear()
    threading.Thread(target=shout, daemon=True).start()
    return times


def hush() -> Any:
    quiet.set()


def log(level: str) -> Any:
    send({"method": "notifications/message", "params": {"level": level, "data": level}})
    return levels


def state() -> Any:
    return {**counts, "followed": sorted(followed), "levels": levels}


def die() -> Any:
    os._exit(3)


TOOLS: dict[str, Callable[..., Any]] = {
    "touch": touch,
    "flood": flood,
    "hush": hush,
    "log": log,
    "state": state,
    "die": die,
}


def listen(request: dict[str, Any]) -> None:
    wanted = request["params"]["notifications"].get("resourceSubscriptions", [])
    honoured = [uri for uri in wanted if uri != PRIVATE]
    for uri in honoured:
        counts["subscribed"] += 1
        followed[uri] = request["id"]
    params = {
        "notifications": {"resourceSubscriptions": honoured},
        "_meta": {SUBSCRIPTION: request["id"]},
    }
    send({"method": "notifications/subscriptions/acknowledged", "params": params})


def subscribe(uri: str) -> dict[str, Any]:
    if uri == PRIVATE:
        return {"error": {"code": -32601, "message": "it cannot be followed"}}
    counts["subscribed"] += 1
    followed[uri] = None
    return {"result": {}}


def unsubscribe(uri: str) -> dict[str, Any]:
    counts["unsubscribed"] += 1
    followed.pop(uri, None)
    return {"result": {}}


def cancel(request_id: Any) -> None:
    for uri in [uri for uri, listening in followed.items() if listening == request_id]:
        counts["unsubscribed"] += 1
        del followed[uri]


def lists(method: str) -> dict[str, Any]:
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    if method == "resources/templates/list":
        return {"resourceTemplates": [{"name": "note", "uriTemplate": "note:///{name}"}]}
    return {"resources": [{"name": "one", "uri": "note:///1"}, {"name": "p", "uri": PRIVATE}]}


def answer(method: str, params: dict[str, Any]) -> dict[str, Any]:
    if method == "server/discover" and ERA == "modern":
        return {"result": {"supportedVersions": [MODERN], "capabilities": CAPABILITIES}}
    if method == "initialize":
        info = {"name": "watched", "version": "1"}
        version = params["protocolVersion"]
        said = {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": info}
        return {"result": said}
    if method == "tools/call":
        text = json.dumps(TOOLS[params["name"]](**params.get("arguments", {})))
        return {"result": {"content": [{"type": "text", "text": text}]}}
    if method == "logging/setLevel":
        levels.append(params["level"])
        return {"result": {}}
    if method.endswith("/list"):
        return {"result": lists(method)}
    if method in ("resources/subscribe", "resources/unsubscribe") and ERA == "legacy":
        return (subscribe if method.endswith("/subscribe") else unsubscribe)(params["uri"])
    return {"error": {"code": -32601, "message": "Method not found"}}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        method, params = message.get("method", ""), message.get("params", {})
        if method == "subscriptions/listen" and ERA == "modern":
            listen(message)
        elif method == "notifications/cancelled":
            cancel(params["requestId"])
        elif "id" in message:
            send({"id": message["id"], **answer(method, params)})


if __name__ == "__main__":
    main()
