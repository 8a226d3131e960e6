"""A pydantic-ai agent whose model is scripted: it asks for one tool, and then says it is done.

Run by the Python of its own environment, with URL and KEY set; prints what happened as one JSON line.
"""

import asyncio
import json
import os
import sys

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

offered: set[str] = set()


def scripted(messages, about) -> ModelResponse:
    offered.update(tool.name for tool in about.function_tools)
    if len(messages) == 1:
        return ModelResponse([ToolCallPart("desk_add", {"a": 2, "b": 3})])
    return ModelResponse([TextPart("done")])


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['KEY']}"}
    tools = MCPToolset(os.environ["URL"], headers=headers)
    async with Agent(FunctionModel(scripted), toolsets=[tools]) as agent:
        said = (await agent.run("What is 2 and 3?")).all_messages()
        parts = [part for message in said for part in message.parts]
        answers = [str(part.content) for part in parts if isinstance(part, ToolReturnPart)]
        try:
            refusal = f"none: {await tools.direct_call_tool('desk_where', {})}"
        except ModelRetry as err:
            refusal = str(err)
    happened = {"offered": sorted(offered), "answers": answers, "refusal": refusal}
    json.dump(happened, sys.stdout)


asyncio.run(main())
