"""What a request for a model may hold: nothing but what is known to stay with this one answer.

Members, items and tools are let in by name: a provider may know others, by which a caller would
reach what is kept for everybody in its account, or have done what no policy here has seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.domain.refusal import bad_params

CHAT, RESPONSES, EMBEDDINGS = "chat/completions", "responses", "embeddings"
GIVEN: Mapping[str, str] = {CHAT: "messages", RESPONSES: "input", EMBEDDINGS: "input"}

_ALIKE = (
    *("model", "temperature", "top_p", "top_logprobs", "stream", "stream_options", "user"),
    *("safety_identifier", "tools", "tool_choice", "parallel_tool_calls", "prompt_cache_key"),
    "service_tier",
)
_MEMBERS: Mapping[str, tuple[str, ...]] = {
    CHAT: (
        *(*_ALIKE, "messages", "max_tokens", "max_completion_tokens", "n", "stop", "seed"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "functions"),
        *("function_call", "response_format", "reasoning_effort", "verbosity", "modalities"),
        "prediction",
    ),
    # What is made here is not stored: `metadata` is only said back.
    RESPONSES: (
        *(*_ALIKE, "input", "instructions", "max_output_tokens", "include", "text", "reasoning"),
        *("truncation", "max_tool_calls", "metadata"),
    ),
    EMBEDDINGS: ("model", "input", "dimensions", "encoding_format", "user", "stream"),
}
# Known, and not for here. Off, they may be said.
_NOT_HERE: Mapping[str, str] = {
    "previous_response_id": "it names what the provider keeps for everybody: send the whole input",
    "conversation": "it names what the provider keeps for everybody: send the whole input",
    "prompt": "it names what the provider keeps for everybody: send the text itself",
    "background": "an answer is waited for here",
    "web_search_options": "what the provider would do on its own does not cross this border",
    "store": "nothing is left behind at the provider",
    "metadata": "it labels what the provider stores, and nothing is left behind there",
    "audio": "answers can only be text here",
}
_OFF = (None, False)
_TIERS = (None, "auto", "default")
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Item of `input` -> the member that makes it whole: without that it would only name another.
_ITEMS: Mapping[str, str] = {
    "message": "content",
    "function_call": "arguments",
    "function_call_output": "output",
    "custom_tool_call": "input",
    "custom_tool_call_output": "output",
    "reasoning": "summary",
}
_OWN_TOOLS = ("function", "custom")
_CHOICES = (None, "auto", "none", "required", "any")
_CHOSEN = (*_OWN_TOOLS, "allowed_tools")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


def check_reach(api: str, arguments: Mapping[str, Any]) -> None:
    """Nothing of the provider's is reached but the model, at the price that is configured.

    Raises: Refused: BAD_PARAMS.
    """
    _check_members(api, arguments)
    if arguments.get("service_tier") not in _TIERS:
        raise bad_params("service_tier cannot be used here: the price is that of the default tier")
    if arguments.get("modalities") not in (None, ["text"]):
        raise bad_params("modalities can only be text here")
    _check_tools(arguments)
    given = arguments[GIVEN[api]]
    if not all(map(_is_plain, _objects(given))):
        raise bad_params(f"the members of {GIVEN[api]} must have names in small letters")
    if _refers(given):
        raise bad_params("a file or an item that the provider keeps cannot be named: send it whole")
    if api == CHAT:
        _check_messages(given)
    elif api == RESPONSES:
        _check_items(given)
        if not isinstance(arguments.get("instructions"), str | None):
            raise bad_params("instructions must be a string")


def _check_members(api: str, arguments: Mapping[str, Any]) -> None:
    for key, value in arguments.items():
        if key in _MEMBERS[api]:
            continue
        why = _NOT_HERE.get(key)
        if why is None:
            name = key if _NAME.fullmatch(key) else "a member with such a name"
            raise bad_params(f"{name} is not a parameter of {api} that can be used here")
        if value not in _OFF:  # an empty object is a yes
            raise bad_params(f"{key} cannot be used here: {why}")


def _check_tools(arguments: Mapping[str, Any]) -> None:
    if not _are_callers(arguments.get("tools")):
        raise bad_params("tools can only be the caller's own, of type function or custom")
    functions = arguments.get("functions")
    if functions is not None and not (
        isinstance(functions, list) and all(_is_function(one) for one in functions)
    ):
        raise bad_params("functions can only be the caller's own")
    choice = arguments.get("tool_choice")
    if isinstance(choice, dict):
        is_own = choice.get("type") in _CHOSEN and not _offers(choice)
    else:
        is_own = choice in _CHOICES
    if not is_own:
        raise bad_params("tool_choice can only be of the caller's own tools")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list):
        raise bad_params("messages must be a list")
    for one in messages:
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            raise bad_params(
                f"each of messages must be an object whose role is one of {', '.join(_ROLES)}"
            )
        if one.get("audio") is not None:
            raise bad_params("audio of a message names what the provider keeps: send its text")
        if _offers(one):
            raise bad_params("tools in messages can only be the caller's own")


def _check_items(items: Any) -> None:
    if isinstance(items, str):
        return
    if not isinstance(items, list):
        raise bad_params("input must be a string or a list")
    for one in items:
        kind = one.get("type", "message") if isinstance(one, dict) else None
        if not isinstance(kind, str) or kind not in _ITEMS:
            raise bad_params(f"each item of input must be of one of the types {', '.join(_ITEMS)}")
        _check_whole(kind, one)
        if _offers(one):
            raise bad_params("tools in input can only be the caller's own")


def _check_whole(kind: str, item: Mapping[str, Any]) -> None:
    if kind == "message" and item.get("role") not in _ROLES:
        raise bad_params(f"a message of input must have a role, one of {', '.join(_ROLES)}")
    if item.get(_ITEMS[kind]) is None:
        raise bad_params(f"an item of type {kind} must have its {_ITEMS[kind]}: none is kept")
    if kind == "reasoning" and item.get("id") and not item.get("encrypted_content"):
        raise bad_params("an item of type reasoning must have its encrypted_content: none is kept")


def _offers(value: Any) -> bool:
    """Whether tools that are not the caller's are anywhere in *value*."""
    return any(not _are_callers(one["tools"]) for one in _objects(value) if "tools" in one)


def _are_callers(tools: Any) -> bool:
    return tools is None or (isinstance(tools, list) and all(map(_is_callers, tools)))


def _is_callers(tool: Any) -> bool:
    if not isinstance(tool, dict) or tool.get("type") not in _OWN_TOOLS:
        return False
    # A property in its schema may have that name, and any other.
    return _is_plain(tool) and tool.get("tools") is None


def _is_plain(one: Mapping[str, Any]) -> bool:
    """Whether all that is in it has one name: some providers do not tell `Type` from `type`."""
    return all(key.isascii() and key == key.lower() for key in one)


def _is_function(one: Any) -> bool:
    return isinstance(one, dict) and _is_callers({**one, "type": one.get("type", "function")})


def _refers(given: Any) -> bool:
    """Whether any part is in the provider's keeping, which is that of all callers together."""
    return any(
        bool(one.get("file_id")) or one.get("type") == "item_reference" for one in _objects(given)
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    """Every object in decoded JSON."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found.append(one)
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found
