"""Every operation by its name: what the socket and the command line can ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from gateway.app.house import House
from gateway.app.operations import (
    agents,
    approvals,
    approving,
    calls,
    erasing,
    keys,
    payloads,
    policy,
    proposing,
    rotating,
    servers,
    stopping,
    tokens,
)

Operation = Callable[[House, str, Mapping[str, Any]], Awaitable[Any]]
"""(house, author, arguments) -> what became of it, JSON-able. Raises: OperationRefused."""

OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "agent.add": agents.add,
        "agent.list": agents.listed,
        "agent.limit": agents.limit,
        "agent.grant": agents.grant,
        "agent.withdraw": agents.withdraw,
        "agent.remove": agents.remove,
        "agent.disable": agents.disable,
        "agent.enable": agents.enable,
        "key.issue": keys.issue,
        "key.revoke": keys.revoke,
        "key.rotate": rotating.rotate,
        "token.revoke": tokens.revoke,
        "server.add": servers.add,
        "server.remove": servers.remove,
        "server.restart": servers.restart,
        "server.health": servers.health,
        "server.test": servers.test,
        "server.approve": approving.approve_server,
        "server.suspend": servers.suspend,
        "server.resume": servers.resume,
        "tool.approve": approving.approve,
        "tool.call": calls.call,
        "run.stop": stopping.stop_run,
        "freeze": stopping.freeze,
        "thaw": stopping.thaw,
        "policy.apply": policy.apply,
        "policy.rollback": policy.rollback,
        "policy.approve": proposing.approve,
        "policy.pending": proposing.pending,
        "approval.list": approvals.waiting,
        "approval.show": approvals.show,
        "approval.approve": approvals.approve,
        "approval.deny": approvals.deny,
        "audit.payload_read": payloads.read,
        "audit.erase": erasing.erase,
    }
)

# They wait for servers, or search a long log: nothing else may have to wait for that, least of all a
# freeze. What a stop of a run decides on, no other change touches.
UNQUEUED: frozenset[str] = frozenset({"server.test", "tool.call", "run.stop", "agent.list"})
