"""The older dialect at the same place: agents/tasks/create and agents/tasks/result, over JSON-RPC."""

from __future__ import annotations

import msgspec

from gateway.domain.a2a_legacy import BadTask, from_legacy, to_legacy
from gateway.domain.refusal import bad_params
from gateway.edge.a2a.calls import Request
from gateway.edge.a2a.exchange import Exchange
from gateway.edge.a2a.journey import Journey
from gateway.edge.a2a.methods import find_method
from gateway.edge.a2a.tasks import decoded
from gateway.edge.outlet import Visit


async def serve_legacy(journey: Journey, visit: Visit, exchange: Exchange, call_id: str) -> None:
    """Answer one request of the dialect: it is governed as what it means."""
    older = exchange.asked
    task = older.params.get("task")
    named = task.get("id") if isinstance(task, dict) else older.params.get("task_id")

    def request() -> Request:
        try:
            meant = from_legacy(older.method, older.params)
        except BadTask as err:
            raise bad_params(str(err)) from None
        if meant.agent not in ("", older.peer):
            raise bad_params("agent_id is not whom it is sent to")
        asked = older._replace(method=meant.method, params=meant.params)
        return Request(asked, find_method(meant.method), visit.head, visit.principal, call_id)

    def told(result: bytes) -> bytes:
        return msgspec.json.encode(to_legacy(str(named), decoded(result, call_id)))

    await journey.answer(request, exchange, visit.address, call_id, told)
