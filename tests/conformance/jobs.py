"""The fixture's tasks (`io.modelcontextprotocol/tasks`), as a middleware: the SDK has none.

What is answered here goes out as it is. Everything the suite does not look at is left out.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import mcp_types as t
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

Context = ServerRequestContext[Any, Any]
Answers = dict[str, Any]
TASKS = "io.modelcontextprotocol/tasks"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
HEADER_MISMATCH, MISSING_CAPABILITY = -32020, -32021
WANTED: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
TTL_MS, POLL_MS = 600_000, 100
WHEN = "2026-07-28T00:00:00Z"
COMPLETE = {"resultType": "complete"}

TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "confirm_delete": ("A task that asks before it deletes", NO_ARGUMENTS),
    "failing_job": ("A task whose tool fails", NO_ARGUMENTS),
    "multi_input": ("A task that asks two things at once", NO_ARGUMENTS),
    "protocol_error_job": ("A task that breaks", NO_ARGUMENTS),
    "slow_compute": ("A task that takes as long as it is told to", NO_ARGUMENTS),
    "test_tool_with_task": ("Asks in a round, then goes on as a task", NO_ARGUMENTS),
}


def form(message: str) -> dict[str, Any]:
    properties = {"name": {"type": "string"}, "confirm": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties}
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def text(sentence: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": sentence}], **more}


@dataclass
class Job:
    """One task: what it came to so far."""

    id: str
    status: str = "working"
    end: dict[str, Any] = field(default_factory=dict)  # result or error
    questions: dict[str, Any] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    runs: asyncio.Task[None] | None = None

    def shown(self) -> dict[str, Any]:
        said = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": WHEN,
            "lastUpdatedAt": WHEN,
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        }
        return {**said, **self.end, **({"inputRequests": self.questions} if self.questions else {})}

    async def ask(self, **questions: Any) -> None:
        self.questions, self.status = questions, "input_required"
        self.answered.clear()
        await self.answered.wait()
        self.status = "working"

    def answer(self, answers: Answers) -> None:
        for key in answers:
            self.questions.pop(key, None)
        if not self.questions:
            self.answered.set()


Work = Callable[[Job, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]


async def compute(_job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(float(arguments.get("seconds", 0)))
    return text("computed")


async def fail(_job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    return text("it did not work", isError=True)


async def panic(_job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    raise MCPError(t.INTERNAL_ERROR, "it broke")


async def confirm(job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    await job.ask(confirm=form("Delete it?"))
    return text("deleted")


async def ask_two(job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    await job.ask(first=form("One?"), second=form("Two?"))
    return text("both answered")


async def repeat(_job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    return text(f"Hello, {arguments['name']}!")


WORK: dict[str, Work] = {
    "confirm_delete": confirm,
    "failing_job": fail,
    "multi_input": ask_two,
    "protocol_error_job": panic,
    "slow_compute": compute,
    "test_tool_with_task": repeat,
}


class Jobs:
    """Give `answer` to a server as a middleware."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._ids = (f"job-{n}" for n in itertools.count(1))

    async def answer(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        params = dict(ctx.params or {})
        meta = params.get("_meta") or {}
        if CAPABILITIES not in meta or ctx.request_id is None:
            return await call_next(ctx)  # another era, or no request
        if ctx.method == "server/discover":
            return _advertised(await call_next(ctx))
        declares = TASKS in (meta[CAPABILITIES].get("extensions") or {})
        if ctx.method in ("tasks/get", "tasks/update", "tasks/cancel"):
            if not declares:
                raise MCPError(MISSING_CAPABILITY, "The tasks extension is needed", WANTED)
            return self._about(ctx, params)
        if ctx.method == "tools/call" and params.get("name") in WORK:
            return await self._called(params, declares=declares)
        return await call_next(ctx)

    def _about(self, ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
        named = ctx.request.headers.get("mcp-name") if ctx.request is not None else None
        if named != params.get("taskId"):
            raise MCPError(HEADER_MISMATCH, "Mcp-Name is not the task")
        job = self._jobs.get(str(named))
        if job is None:
            raise MCPError(t.INVALID_PARAMS, "Unknown task")
        if ctx.method == "tasks/get":
            return {**COMPLETE, **job.shown()}
        if ctx.method == "tasks/update":
            job.answer(params.get("inputResponses") or {})
        elif job.status not in ("completed", "failed") and job.runs is not None:
            job.runs.cancel()
            job.status, job.questions = "cancelled", {}
        return dict(COMPLETE)

    async def _called(self, params: dict[str, Any], *, declares: bool) -> dict[str, Any]:
        name, arguments = params["name"], dict(params.get("arguments") or {})
        if name == "test_tool_with_task":
            given = params.get("inputResponses")
            if given is None:
                return {
                    "resultType": "input_required",
                    "inputRequests": {"user_name": form("What is your name?")},
                    "requestState": "asked",
                }
            arguments["name"] = given["user_name"]["content"]["name"]
        if name == "slow_compute" and (not declares or not arguments.get("seconds")):
            return {**COMPLETE, **await compute(Job(""), arguments)}
        if not declares and name == "confirm_delete":
            return {**COMPLETE, **text("nothing was deleted, for nobody can be asked")}
        if not declares:
            raise MCPError(MISSING_CAPABILITY, "The tasks extension is needed", WANTED)
        job = Job(next(self._ids))
        self._jobs[job.id] = job
        job.runs = asyncio.create_task(_run(job, WORK[name], arguments))
        return {**job.shown(), "resultType": "task"}


async def _run(job: Job, work: Work, arguments: dict[str, Any]) -> None:
    try:
        job.end = {"result": await work(job, arguments)}
        job.status = "completed"
    except MCPError as err:
        job.end = {"error": {"code": err.error.code, "message": err.error.message}}
        job.status = "failed"


def _advertised(result: HandlerResult) -> HandlerResult:
    assert result is not None
    said = (
        result if isinstance(result, dict) else result.model_dump(by_alias=True, exclude_none=True)
    )
    extensions = {**(said["capabilities"].get("extensions") or {}), TASKS: {}}
    return {**said, "capabilities": {**said["capabilities"], "extensions": extensions}}
