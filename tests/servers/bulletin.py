"""A server on the SDK over HTTP whose lists grow and whose one resource changes, in either era.

python -m tests.servers.bulletin     prints its port
"""

import asyncio
import json
import socket
import sys
from typing import Any

import mcp_types as t
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourceUpdated,
    ToolsListChanged,
)

NEWS = "news:///today"
LEVELS = ("debug", "info", "warning", "emergency")
Context = ServerRequestContext[Any]


class Bulletin:
    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.tools = ["grow", "print", "log"]

    async def list_tools(self, _ctx: Context, _params: Any) -> t.ListToolsResult:
        schema = {"type": "object"}
        return t.ListToolsResult(tools=[t.Tool(name=n, input_schema=schema) for n in self.tools])

    async def call_tool(self, ctx: Context, params: t.CallToolRequestParams) -> t.CallToolResult:
        if params.name == "grow":
            self.tools.append(f"tool{len(self.tools)}")
            await self.bus.publish(ToolsListChanged())
        elif params.name == "print":
            for _ in range((params.arguments or {}).get("times", 1)):
                await self.bus.publish(ResourceUpdated(NEWS))
        elif params.name == "log":
            for level in LEVELS:
                data = {"level": level, "data": level}
                note = t.LoggingMessageNotification(
                    params=t.LoggingMessageNotificationParams.model_validate(data)
                )
                await ctx.session.send_notification(note, related_request_id=ctx.request_id)
        return t.CallToolResult(content=[t.TextContent(type="text", text=json.dumps(self.tools))])


async def list_resources(_ctx: Context, _params: Any) -> t.ListResourcesResult:
    return t.ListResourcesResult(resources=[t.Resource(name="today", uri=NEWS)])


def server() -> Server[Any]:
    bulletin = Bulletin()
    return Server(
        "bulletin",
        on_list_tools=bulletin.list_tools,
        on_call_tool=bulletin.call_tool,
        on_list_resources=list_resources,
        on_subscriptions_listen=ListenHandler(bulletin.bus),
    )


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        server().streamable_http_app(), log_level="warning", timeout_graceful_shutdown=1
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
