"""Whether a gateway can be used with a key: asked as clients of both eras ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from gateway.cli.border import VERSION_META, Border, Lost, decoded, routing
from gateway.cli.session import PATIENCE_S, Session, received
from gateway.domain.operator import Exit

NEWEST, OLDER = "2026-07-28", "2025-11-25"
MAX_PAGES = 100
_REFUSAL, _SERVER = "io.customhouse/refusal", "io.modelcontextprotocol/serverInfo"
_CLIENT = {"name": "customhouse connect", "version": "1"}
_FIXES = {
    "not_authenticated": "issue a key, and give it by --key: customhouse key issue AGENT",
    "bad_host": 'add the host to allowed_hosts, such as ["tools.example.com"]',
    "rate_limited": "wait a moment",
    "too_many_streams": "too many sessions are open: end some, or wait",
}
_HIDDEN = "see whether there is such an endpoint, and whether policy lets the agent see it"


@dataclass(frozen=True, slots=True)
class Step:
    """One question to the gateway, and how it went."""

    what: str
    ok: bool
    says: str
    fix: str = ""
    exit_code: Exit = Exit.YES

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "ok": self.ok, "says": self.says, "fix": self.fix}


class Refused(Exception):
    """The gateway said no; the message is its sentence."""

    def __init__(self, error: Any) -> None:
        said = error if isinstance(error, dict) else {}
        data = said.get("data")
        refusal = data.get(_REFUSAL) if isinstance(data, dict) else None
        self.code = str(refusal.get("code", "")) if isinstance(refusal, dict) else ""
        super().__init__(str(said.get("message", ""))[:500] or "it gives no reason")


class Stranger(Exception):
    """Somebody else answers, who now has seen the key; the message says who."""


def checked(border: Border) -> Iterator[Step]:
    """Introduce ourselves and list tools, in the newest era and in the older one."""
    with closing(border):
        newest = _tried(f"discover and list tools ({NEWEST})", lambda: _newest(border))
        yield newest
        if newest.exit_code is not Exit.UNREACHABLE:
            yield _tried(f"open a session and list tools ({OLDER})", lambda: _older(border))


def _tried(what: str, ask: Callable[[], str]) -> Step:
    try:
        return Step(what, True, ask())
    except Lost as err:
        fix = "is it the right URL, and does the gateway run there? customhouse serve"
        return Step(what, False, str(err), fix, Exit.UNREACHABLE)
    except Refused as no:
        return Step(what, False, str(no), _FIXES.get(no.code, _HIDDEN), Exit.NO)
    except Stranger as other:
        fix = (
            "give the URL of the gateway with --url; if you do not know who that is, revoke the key"
        )
        return Step(what, False, str(other), fix, Exit.NO)


def _newest(border: Border) -> str:
    def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
        meta = {VERSION_META: NEWEST, "io.modelcontextprotocol/clientCapabilities": {}}
        meta["io.modelcontextprotocol/clientInfo"] = _CLIENT
        message = _message(method, {**params, "_meta": meta})
        exchange = border.exchange("POST", routing(message), json.dumps(message).encode())
        return _result(received(exchange, PATIENCE_S))

    meta = ask("server/discover", {}).get("_meta")
    _refuse_stranger(meta.get(_SERVER) if isinstance(meta, dict) else None)
    return _counted(ask)


def _older(border: Border) -> str:
    session = Session(border, lambda line: None)
    capabilities = {"protocolVersion": OLDER, "capabilities": {}, "clientInfo": _CLIENT}
    line = json.dumps(_message("initialize", capabilities)).encode()
    exchange = border.exchange("POST", {}, line)
    result = _result(received(exchange, PATIENCE_S))
    _refuse_stranger(result.get("serverInfo"))
    session.open(line, exchange, {"result": result})
    try:
        list(received(session.post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')))

        def ask(method: str, params: dict[str, Any]) -> dict[str, Any]:
            said = json.dumps(_message(method, params)).encode()
            return _result(received(session.post(said), PATIENCE_S))

        return _counted(ask)
    finally:
        session.end()


def _refuse_stranger(server: Any) -> None:
    """Raises: Stranger."""
    name = server.get("name") if isinstance(server, dict) else None
    if name != "customhouse":
        raise Stranger(f"this is not the gateway, but {name!a:.60}")


def _counted(ask: Callable[[str, dict[str, Any]], dict[str, Any]]) -> str:
    count, params = 0, dict[str, Any]()
    for _ in range(MAX_PAGES):
        page = ask("tools/list", params)
        tools = page.get("tools")
        count += len(tools) if isinstance(tools, list) else 0
        if not page.get("nextCursor"):
            break
        params = {"cursor": page["nextCursor"]}
    if not count:
        return "the agent may use no tool: policy allows none, or none is approved"
    return f"{count} tools"


def _message(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def _result(lines: Iterator[bytes]) -> dict[str, Any]:
    """The result among *lines*. Raises: Refused, Lost: there is none."""
    for line in lines:
        message = decoded(line)
        if isinstance(message, dict) and isinstance(message.get("result"), dict):
            result: dict[str, Any] = message["result"]
            return result
        if isinstance(message, dict) and "error" in message:
            raise Refused(message["error"])
    raise Lost("it answers, and not as an MCP server would")
