"""A skill of a peer, called as a tool: the same tasks, under the same names as over A2A."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.domain.a2a import encoded
from gateway.domain.message_rules import MessageRules, message_of_tool, problem_of
from gateway.domain.model import Call, Reply, Status
from gateway.domain.peer_task import Owner, is_id
from gateway.domain.peer_tool import renamed
from gateway.domain.refusal import MESSAGE_REFUSED, OUTCOME_UNWRITTEN, Refused, bad_params
from gateway.edge.a2a.errors import NoTask
from gateway.edge.a2a.tasks import Tasks, Telling, decoded
from gateway.store.ledger import LogUnavailable

_TOLD = frozenset({Status.OK, Status.TOOL_ERROR})


async def inward(tasks: Tasks, call: Call, rules: MessageRules | None) -> tuple[Call, Telling]:
    """*call* in the names of the peer, and how its result is told.

    Raises: Refused: MESSAGE_REFUSED. BAD_PARAMS. NoTask: also a task of another skill.
    """
    _check(call, rules)
    arguments, contexts = dict(call.arguments), dict[str, str]()
    task, context = None, arguments.get("contextId")
    if arguments.get("taskId"):
        task = await tasks.own(call.principal, call.server, arguments["taskId"])
        if task.skill != call.name:
            raise NoTask
        arguments["taskId"] = task.upstream_id
    if context:
        if not is_id(context):
            raise bad_params("contextId must be 1 to 256 visible characters of ASCII")
        owner = Owner.of(call.principal)
        inner = tasks.ids.upstream_context(owner, call.server, context)
        if task is not None and task.context == context:
            inner = task.upstream_context
        arguments["contextId"] = inner
        contexts[inner] = context
    if arguments == call.arguments:
        return call, tasks.telling(call)
    raw = encoded(arguments)
    call = replace(call, arguments=arguments, params={**call.params, "arguments": raw})
    return call, tasks.telling(call, task, contexts)


async def outward(telling: Telling, reply: Reply) -> Reply:
    """*reply* in the names of the caller, once what it tells of a task is durable.

    Raises: Refused: OUTCOME_UNWRITTEN. UPSTREAM_BROKEN.
    """
    outcome = reply.outcome
    if outcome.status not in _TOLD:
        return reply
    result: Any = decoded(outcome.result, reply.call.id)
    said = result.get("structuredContent") if isinstance(result, dict) else None
    if not isinstance(said, dict):
        return reply
    telling.admitted(reply.call)
    if said.get("taskId"):
        state = {"state": said.get("state", "")}
        try:
            await telling.heard({**said, "status": state})
        except LogUnavailable as err:
            raise Refused(OUTCOME_UNWRITTEN, reply.call.id) from err
    told = renamed(outcome.result, telling.task_name, telling.context_name)
    return reply._replace(outcome=replace(outcome, result=told))


def _check(call: Call, rules: MessageRules | None) -> None:
    """Raises: Refused: MESSAGE_REFUSED."""
    problem = problem_of(rules, message_of_tool(call)) if rules is not None else None
    if problem is not None:
        raise Refused(MESSAGE_REFUSED, detail={"problem": problem})
