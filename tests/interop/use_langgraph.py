"""A LangGraph agent whose model is scripted: it asks for one tool, and then says it is done.

Run by the Python of its own environment, with URL and KEY set; prints what happened as one JSON line.
"""

import asyncio
import json
import os
import sys
from typing import ClassVar

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp import McpError

ADD = {"name": "desk_add", "args": {"a": 2, "b": 3}, "id": "1"}


class Scripted(GenericFakeChatModel):
    """A model that says what it was given to say, and remembers which tools it was offered."""

    offered: ClassVar[set[str]] = set()

    def bind_tools(self, tools, **_):
        self.offered.update(tool.name for tool in tools)
        return self


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['KEY']}"}
    border = {"transport": "http", "url": os.environ["URL"], "headers": headers}
    client = MultiServerMCPClient({"customhouse": border})
    model = Scripted(messages=iter([AIMessage("", tool_calls=[ADD]), AIMessage("done")]))
    agent = create_agent(model, await client.get_tools())
    said = (await agent.ainvoke({"messages": [("user", "What is 2 and 3?")]}))["messages"]
    answers = [block["text"] for m in said if isinstance(m, ToolMessage) for block in m.content]
    async with client.session("customhouse") as session:
        try:
            refusal = f"none: {await session.call_tool('desk_where', {})}"
        except McpError as err:
            refusal = str(err)
    happened = {"offered": sorted(model.offered), "answers": answers, "refusal": refusal}
    json.dump(happened, sys.stdout)


asyncio.run(main())
