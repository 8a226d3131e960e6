"""An MCP server on the SDK whose tools ask the client: of the older era, or of the newest.

python -m tests.servers.curious older     asks with requests, in the middle of a call
python -m tests.servers.curious newest    asks in results (`input_required`)
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import warnings
from typing import Any

import anyio
import mcp_types as t
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp.shared.message import SessionMessage

Context = ServerRequestContext[Any, Any]
FORM = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
PAGE, PAGE_ID = "https://example.com/sign", "page-1"
TOOLS = ("greet", "greet_twice", "sign", "sample", "roots", "remember", "nag", "wait")
remembered: list[str] = []


def said(value: Any) -> t.CallToolResult:
    return t.CallToolResult(content=[t.TextContent(type="text", text=json.dumps(value))])


async def list_tools(_ctx: Context, _params: Any) -> t.ListToolsResult:
    schema = {"type": "object"}
    return t.ListToolsResult(tools=[t.Tool(name=name, input_schema=schema) for name in TOOLS])


def plain(answer: t.ElicitResult) -> Any:
    return {"action": answer.action, "content": answer.content}


# -- the older era ----------------------------------------------------------------------------------


async def greet(ctx: Context, _arguments: dict[str, Any]) -> Any:
    await ctx.session.report_progress(1, 2, "asking")
    answer = await ctx.session.elicit_form("Who?", FORM, related_request_id=ctx.request_id)
    await ctx.session.report_progress(2, 2, "asked")
    return plain(answer)


async def greet_twice(ctx: Context, arguments: dict[str, Any]) -> Any:
    return [await greet(ctx, arguments), await greet(ctx, arguments)]


async def sign(ctx: Context, _arguments: dict[str, Any]) -> Any:
    answer = await ctx.session.elicit_url(
        "Sign here", PAGE, PAGE_ID, related_request_id=ctx.request_id
    )
    return plain(answer)


async def sample(ctx: Context, _arguments: dict[str, Any]) -> Any:
    question = t.SamplingMessage(role="user", content=t.TextContent(type="text", text="2+2"))
    answer = await ctx.session.create_message(
        [question], max_tokens=9, related_request_id=ctx.request_id
    )
    return answer.content.text if answer.content.type == "text" else ""


async def roots(ctx: Context, _arguments: dict[str, Any]) -> Any:
    return [str(root.uri) for root in (await ctx.session.list_roots()).roots]


async def remember(_ctx: Context, arguments: dict[str, Any]) -> Any:
    remembered.append(str(arguments.get("word", "")))
    return {"words": remembered, "pid": os.getpid()}


async def nag(ctx: Context, arguments: dict[str, Any]) -> Any:
    return [(await greet(ctx, arguments))["action"] for _ in range(int(arguments["times"]))]


async def wait(_ctx: Context, arguments: dict[str, Any]) -> Any:
    await anyio.sleep(float(arguments["seconds"]))
    return "waited"


BEHAVIOURS = {
    "greet": greet,
    "greet_twice": greet_twice,
    "sign": sign,
    "sample": sample,
    "roots": roots,
    "remember": remember,
    "nag": nag,
    "wait": wait,
}


async def call_older(ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
    with warnings.catch_warnings():  # sampling and roots are deprecated, and part of the era
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        return said(await BEHAVIOURS[params.name](ctx, params.arguments or {}))


# -- the newest -------------------------------------------------------------------------------------

QUESTIONS: dict[str, t.InputRequest] = {
    "greet": t.ElicitRequest(
        params=t.ElicitRequestFormParams(message="Who?", requested_schema=FORM)
    ),
    "sign": t.ElicitRequest(params=t.ElicitRequestURLParams(message="Sign here", url=PAGE)),
    "sample": t.CreateMessageRequest(
        params=t.CreateMessageRequestParams(
            messages=[
                t.SamplingMessage(role="user", content=t.TextContent(type="text", text="2+2"))
            ],
            max_tokens=9,
        )
    ),
    "roots": t.ListRootsRequest(),
}


async def call_newest(
    ctx: Context, params: t.CallToolRequestParams
) -> t.CallToolResult | t.InputRequiredResult:
    given = {key: answer.model_dump() for key, answer in (params.input_responses or {}).items()}
    if params.name in ("remember", "wait"):
        return said(await BEHAVIOURS[params.name](ctx, params.arguments or {}))
    if params.name in ("greet_twice", "nag"):
        wanted = 2 if params.name == "greet_twice" else int((params.arguments or {})["times"])
        done = json.loads(params.request_state or "[]")
        done += [{key: given["q"][key] for key in ("action", "content")}] if given else []
        if len(done) >= wanted:
            return said(done if params.name == "greet_twice" else [one["action"] for one in done])
        state = json.dumps(done)
        return t.InputRequiredResult(input_requests={"q": QUESTIONS["greet"]}, request_state=state)
    if not given:
        return t.InputRequiredResult(input_requests={"q": QUESTIONS[params.name]})
    answer = given["q"]
    if params.name == "sample":
        return said(answer["content"]["text"])
    if params.name == "roots":
        return said([str(root["uri"]) for root in answer["roots"]])
    return said({"action": answer["action"], "content": answer["content"]})


# -- both -------------------------------------------------------------------------------------------


def server(era: str) -> Server[dict[str, Any]]:
    return Server(
        "curious",
        get_tool_input_schema=lambda _: None,
        on_list_tools=list_tools,
        on_call_tool=call_older if era == "older" else call_newest,
    )


async def main(era: str) -> None:
    """Serve, and know nothing of the other era: the SDK would speak both."""
    made = server(era)
    foreign = "server/discover" if era == "older" else "initialize"
    heard, passed_on = anyio.create_memory_object_stream[Any](0)

    async def listen(read: Any, write: Any) -> None:
        async with heard:
            async for item in read:
                message = getattr(item, "message", None)
                if getattr(message, "method", "") != foreign:
                    await heard.send(item)
                    continue
                error = t.ErrorData(code=t.METHOD_NOT_FOUND, message="Method not found")
                answer = t.JSONRPCError(jsonrpc="2.0", id=getattr(message, "id", None), error=error)
                await write.send(SessionMessage(answer))

    async with stdio_server() as (read, write), anyio.create_task_group() as group:
        group.start_soon(listen, read, write)
        await made.run(passed_on, write, made.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
