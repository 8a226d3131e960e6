"""What the fixture's tools do when they are called."""

import base64
import json
import struct
import warnings
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as t
from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.conformance import definitions, rounds
from tests.conformance.rounds import Asked, said

Context = ServerRequestContext[Any, Any]
Tool = Callable[[Context, t.CallToolRequestParams], Awaitable[Asked]]

STEP_S = 0.05  # the suite wants to see frames arrive one by one
RECONNECT_S = 0.2


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _red_pixel() -> bytes:
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (_chunk(b"IHDR", header), _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    )


def _silence() -> bytes:
    samples = b"\x80" * 8  # 1 ms of 8-bit mono at 8 kHz
    shape = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape
    body += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


PICTURE = base64.b64encode(_red_pixel()).decode()
SOUND = base64.b64encode(_silence()).decode()


def picture() -> t.ImageContent:
    """A red pixel."""
    return t.ImageContent(type="image", data=PICTURE, mime_type="image/png")


def embedded(uri: str, mime_type: str, text: str) -> t.EmbeddedResource:
    """A resource inside a result."""
    contents = t.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return t.EmbeddedResource(type="resource", resource=contents)


async def simple_text(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    return said("This is a simple text response for testing.")


async def region(_ctx: Context, params: t.CallToolRequestParams) -> Asked:
    return said(f"region: {(params.arguments or {}).get('region', 'none')}")


async def greet(_ctx: Context, params: t.CallToolRequestParams) -> Asked:
    return said(f"Hello, {(params.arguments or {}).get('name', 'stranger')}!")


async def image(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    return t.CallToolResult(content=[picture()])


async def audio(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    sound = t.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")
    return t.CallToolResult(content=[sound])


async def resource(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    text = "This is an embedded resource content."
    return t.CallToolResult(content=[embedded("test://embedded-resource", "text/plain", text)])


async def mixed(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    text = json.dumps({"test": "data", "value": 123})
    return t.CallToolResult(
        content=[
            t.TextContent(type="text", text="Multiple content types test:"),
            picture(),
            embedded("test://mixed-content-resource", "application/json", text),
        ]
    )


async def fail(_ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    sentence = "This tool intentionally returns an error for testing"
    return said(sentence).model_copy(update={"is_error": True})


async def _log(ctx: Context, line: str) -> None:
    with warnings.catch_warnings():  # logging is deprecated, and still part of 2025-11-25
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)


async def log_three(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    await _log(ctx, "Tool execution started")
    await anyio.sleep(STEP_S)
    await _log(ctx, "Tool processing data")
    await anyio.sleep(STEP_S)
    await _log(ctx, "Tool execution completed")
    return said("Tool with logging executed successfully")


async def log_one(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    await _log(ctx, "This line was asked for")
    return said("Logged, if it was asked for")


async def progress(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(STEP_S)
    return said("Progress reported")


async def sample(ctx: Context, params: t.CallToolRequestParams) -> Asked:
    question = t.TextContent(type="text", text=str((params.arguments or {}).get("prompt", "")))
    message = t.SamplingMessage(role="user", content=question)
    with warnings.catch_warnings():  # sampling is deprecated, and still part of 2025-11-25
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        answer = await ctx.session.create_message(
            [message], max_tokens=100, related_request_id=ctx.request_id
        )
    text = answer.content.text if answer.content.type == "text" else answer.content.type
    return said(f"LLM response: {text}")


async def _elicit(ctx: Context, message: str, schema: dict[str, Any], verb: str) -> Asked:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    content = json.dumps(answer.content or {})
    return said(f"{verb}: action={answer.action}, content={content}")


async def elicit(ctx: Context, params: t.CallToolRequestParams) -> Asked:
    message = str((params.arguments or {}).get("message", ""))
    return await _elicit(ctx, message, definitions.CONTACT_FORM, "User response")


async def elicit_defaults(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    return await _elicit(ctx, "Who are you?", definitions.DEFAULTS_FORM, "Elicitation completed")


async def elicit_enums(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    return await _elicit(ctx, "Please choose", definitions.ENUMS_FORM, "Elicitation completed")


async def reconnect(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    """SEP-1699: the stream ends here; the answer is waiting when the client comes back."""
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await anyio.sleep(RECONNECT_S)
    return said("Reconnection test completed")


async def need_sampling(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        wanted: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(t.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs sampling", wanted)
    return said("The client can sample")


async def stream_then_ask(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    await ctx.session.report_progress(1, 2, "Half way")
    question = rounds.form("What is your name?", name="string")
    return t.InputRequiredResult(input_requests={"user_name": question})


async def ask(_ctx: Context, params: t.CallToolRequestParams) -> Asked:
    return rounds.ask(params.name, params)


async def ask_twice(_ctx: Context, params: t.CallToolRequestParams) -> Asked:
    return rounds.ask_twice(params)


async def ask_what_it_can(ctx: Context, _params: t.CallToolRequestParams) -> Asked:
    return rounds.ask_what_the_client_can(ctx.session.client_capabilities)


BEHAVIOURS: dict[str, Tool] = {
    "echo_region": region,
    "greet": greet,
    "json_schema_2020_12_tool": simple_text,
    "passing_tool": simple_text,
    "test_audio_content": audio,
    "test_elicitation": elicit,
    "test_elicitation_sep1034_defaults": elicit_defaults,
    "test_elicitation_sep1330_enums": elicit_enums,
    "test_embedded_resource": resource,
    "test_error_handling": fail,
    "test_image_content": image,
    "test_input_required_result_capabilities": ask_what_it_can,
    "test_input_required_result_multi_round": ask_twice,
    "test_logging_tool": log_one,
    "test_missing_capability": need_sampling,
    "test_multiple_content_types": mixed,
    "test_reconnection": reconnect,
    "test_sampling": sample,
    "test_simple_text": simple_text,
    "test_streaming_elicitation": stream_then_ask,
    "test_tool_with_logging": log_three,
    "test_tool_with_progress": progress,
    **dict.fromkeys(rounds.QUESTIONS, ask),
}
