"""The fixture: an MCP server that has everything the official suite asks for, in both eras.

python -m tests.conformance.fixture --port 0     prints "listening on 127.0.0.1:PORT"
"""

import argparse
import asyncio
import json
import socket
import sys
import warnings
from typing import Any

import mcp_types as t
import uvicorn
from mcp import MCPError
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.conformance import definitions, rounds, tools
from tests.conformance.jobs import Jobs
from tests.conformance.tools import Context

RETRY_MS = 100
TEMPLATE_HEAD, TEMPLATE_TAIL = "test://template/", "/data"
TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content",
}


class Events(EventStore):
    """Every frame of every stream of the older era, so that a client may come back for them."""

    def __init__(self) -> None:
        self._frames: list[tuple[str, t.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: t.JSONRPCMessage | None) -> str:
        self._frames.append((stream_id, message))
        return str(len(self._frames) - 1)

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        if not last_event_id.isdecimal() or int(last_event_id) >= len(self._frames):
            return None
        last = int(last_event_id)
        stream_id = self._frames[last][0]
        for index, (owner, message) in enumerate(self._frames[last + 1 :], last + 1):
            if owner == stream_id and message is not None:
                await send_callback(EventMessage(message, str(index)))
        return stream_id


class Fixture:
    """The handlers, and the two lists that the trigger tools change."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._tool_added = False
        self._prompt_added = False

    async def list_tools(self, _ctx: Context, _params: Any) -> t.ListToolsResult:
        added = [definitions.PASSING_TOOL] if self._tool_added else []
        listed = [*definitions.STATIC_TOOLS, *added]
        return t.ListToolsResult(tools=sorted(listed, key=lambda tool: tool.name))

    async def call_tool(self, ctx: Context, params: t.CallToolRequestParams) -> rounds.Asked:
        if params.name == "test_trigger_tool_change":
            self._tool_added = not self._tool_added
            await self.bus.publish(ToolsListChanged())
            return rounds.said("The list of tools has changed")
        if params.name == "test_trigger_prompt_change":
            self._prompt_added = not self._prompt_added
            await self.bus.publish(PromptsListChanged())
            return rounds.said("The list of prompts has changed")
        behaviour = tools.BEHAVIOURS.get(params.name)
        if behaviour is None:
            raise MCPError(t.INVALID_PARAMS, f"Unknown tool: {params.name}")
        return await behaviour(ctx, params)

    async def list_prompts(self, _ctx: Context, _params: Any) -> t.ListPromptsResult:
        added = [definitions.PASSING_PROMPT] if self._prompt_added else []
        listed = [*definitions.STATIC_PROMPTS, *added]
        return t.ListPromptsResult(prompts=sorted(listed, key=lambda prompt: prompt.name))

    async def get_prompt(
        self, _ctx: Context, params: t.GetPromptRequestParams
    ) -> t.GetPromptResult | t.InputRequiredResult:
        if params.name == "test_input_required_result_prompt" and not rounds.answered(
            rounds.PROMPT_QUESTION, params.input_responses
        ):
            return t.InputRequiredResult(input_requests=rounds.PROMPT_QUESTION)
        blocks = _prompt_blocks(params.name, params.arguments or {})
        return t.GetPromptResult(
            messages=[t.PromptMessage(role="user", content=block) for block in blocks]
        )


def _prompt_blocks(name: str, given: dict[str, str]) -> list[t.ContentBlock]:
    def text(sentence: str) -> t.TextContent:
        return t.TextContent(type="text", text=sentence)

    if name == "test_prompt_with_arguments":
        arg1, arg2 = given.get("arg1", ""), given.get("arg2", "")
        return [text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]
    if name == "test_prompt_with_embedded_resource":
        uri = given.get("resourceUri", "test://example-resource")
        carried = tools.embedded(uri, "text/plain", "Embedded resource content for testing.")
        return [carried, text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [tools.picture(), text("Please analyze the image above.")]
    known = {definitions.PASSING_PROMPT.name, *(p.name for p in definitions.STATIC_PROMPTS)}
    if name not in known:
        raise MCPError(t.INVALID_PARAMS, f"Unknown prompt: {name}")
    return [text("This is a simple prompt for testing.")]


async def list_resources(_ctx: Context, _params: Any) -> t.ListResourcesResult:
    return t.ListResourcesResult(resources=definitions.RESOURCES)


async def list_templates(_ctx: Context, _params: Any) -> t.ListResourceTemplatesResult:
    return t.ListResourceTemplatesResult(resource_templates=definitions.TEMPLATES)


async def read_resource(_ctx: Context, params: t.ReadResourceRequestParams) -> t.ReadResourceResult:
    uri = params.uri
    if uri == "test://static-binary":
        blob = t.BlobResourceContents(uri=uri, mime_type="image/png", blob=tools.PICTURE)
        return t.ReadResourceResult(contents=[blob])
    if uri in TEXTS:
        contents = t.TextResourceContents(uri=uri, mime_type="text/plain", text=TEXTS[uri])
        return t.ReadResourceResult(contents=[contents])
    if uri.startswith(TEMPLATE_HEAD) and uri.endswith(TEMPLATE_TAIL):
        asked = uri.removeprefix(TEMPLATE_HEAD).removesuffix(TEMPLATE_TAIL)
        text = json.dumps({"id": asked, "templateTest": True, "data": f"Data for ID: {asked}"})
        contents = t.TextResourceContents(uri=uri, mime_type="application/json", text=text)
        return t.ReadResourceResult(contents=[contents])
    # SEP-2164: which resource was missing belongs into the error.
    raise MCPError(t.INVALID_PARAMS, "Resource not found", {"uri": uri})


async def complete(_ctx: Context, _params: t.CompleteRequestParams) -> t.CompleteResult:
    return t.CompleteResult(completion=t.Completion(values=[], total=0, has_more=False))


async def agree(_ctx: Context, _params: Any) -> t.EmptyResult:
    """To subscriptions and log levels: the fixture sends what it sends."""
    return t.EmptyResult()


def server() -> Server[dict[str, Any]]:
    """The fixture as one SDK server."""
    fixture = Fixture()
    with warnings.catch_warnings():  # set_logging_level is deprecated, and part of 2025-11-25
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        made: Server[dict[str, Any]] = Server(
            "conformance-fixture",
            version="1.0.0",
            get_tool_input_schema=definitions.SCHEMAS.get,
            on_list_tools=fixture.list_tools,
            on_call_tool=fixture.call_tool,
            on_list_resources=list_resources,
            on_list_resource_templates=list_templates,
            on_read_resource=read_resource,
            on_subscribe_resource=agree,
            on_unsubscribe_resource=agree,
            on_subscriptions_listen=ListenHandler(fixture.bus),
            on_list_prompts=fixture.list_prompts,
            on_get_prompt=fixture.get_prompt,
            on_completion=complete,
            on_set_logging_level=agree,
        )
    made.middleware.append(Jobs().answer)
    made.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=made.name)
    )
    return made


async def serve(port: int) -> None:
    """Serve on loopback until told to stop; say the port once it is open."""
    app = server().streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)
    listener = socket.create_server(("127.0.0.1", port))
    host, bound = listener.getsockname()[:2]
    sys.stdout.write(f"listening on {host}:{bound}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Parse the port and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
