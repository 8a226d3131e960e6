"""What one call of a model may cost at most, and what it did cost. Pure.

    {"messages":[{"role":"user","content":"Name a river."}],"max_completion_tokens":200,"n":2}

Held: every two bytes of the request as a token of the prompt, and both answers to their last token.
Charged: what the provider reports, unless that is much less than the text that went past us.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.meter import bytes_within, tokens
from gateway.domain.model import Amounts, Definition, ModelTerms, Usage

# How requests say how long one answer may be, and how many there are.
MOST_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
ANSWERS = ("n", "best_of")

_BYTES_PER_HELD_TOKEN = 2
_PER = 1_000_000  # prices are for so many tokens
# A token of plain prose has four bytes or five, one of white space many more: whoever is cut at
# twice the estimate was not honest about its tokens.
_CUT = 2
_SLACK_BYTES = 256
# What is as many tokens as it looks: objects of these types, or with a role, and no other members.
_TEXT_TYPES = (
    *("text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text", "content"),
    *("message", "reasoning", "function_call", "function_call_output"),
    *("custom_tool_call", "custom_tool_call_output"),
)
_PARTS = ("content", "output", "summary", "text")
_TEXT_MEMBERS = frozenset(
    (
        *(*_PARTS, "role", "type", "id", "status", "phase", "name", "namespace", "caller"),
        *("call_id", "tool_call_id", "tool_calls", "function_call", "arguments", "input"),
        *("refusal", "annotations", "logprobs", "encrypted_content", "reasoning"),
        *("reasoning_content", "cache_control", "prompt_cache_breakpoint"),
    )
)
_GIVEN = ("messages", "input", "prediction")
_PROMPT = ("messages", "input", "instructions")
_TOOLS = ("tools", "functions")
_LABELS = frozenset({"role", "type", "id", "object", "status", "call_id", "index"}) | frozenset(
    {"finish_reason", "logprobs", "annotations", "encrypted_content"}
)
_FILES = frozenset({"url", "image_url", "file_url", "file_data", "data"})
_EMBEDDED = "data:"


def ceiling(body: bytes, arguments: Mapping[str, Any], definition: Definition) -> Amounts:
    """The hold of a request: the longest prompt that *body* can be, and the longest answers."""
    terms = terms_of(definition)
    prompt, answer = prompt_ceiling(body, arguments, terms), answer_ceiling(arguments)
    return Amounts(prompt + answer, 1, cost_of(prompt, answer, terms))


def prompt_ceiling(body: bytes, arguments: Mapping[str, Any], terms: ModelTerms) -> int:
    """The most tokens that the request can be. Inputs of embeddings are a prompt each."""
    held = -(-len(body) // _BYTES_PER_HELD_TOKEN)
    opaque = n_opaque(arguments)
    if is_embedding(arguments):
        return held + opaque * terms.context_tokens
    return terms.context_tokens if opaque else min(held, terms.context_tokens)


def n_opaque(arguments: Mapping[str, Any]) -> int:
    """How many parts of a request may be any number of tokens: images, sounds, files."""
    return sum(_n_opaque(arguments.get(key)) for key in _GIVEN)


def answer_ceiling(arguments: Mapping[str, Any]) -> int:
    """The most tokens that the answers may have; what has no such bound makes none: embeddings."""
    most = max((_count(arguments, key, 0) for key in MOST_TOKENS), default=0)
    return most * max(_count(arguments, key, 1) for key in ANSWERS)


def is_embedding(arguments: Mapping[str, Any]) -> bool:
    return not any(_count(arguments, key, 0) for key in MOST_TOKENS)


def answer_bytes_within(n_tokens: int) -> int:
    """Where an answer of at most *n_tokens* is cut."""
    return bytes_within(n_tokens) * _CUT + _SLACK_BYTES


def used(
    held: Amounts, usage: Usage | None, counted: Usage, terms: ModelTerms
) -> tuple[Amounts, bool]:
    """The charge, never above *held*; and whether the provider was believed.

    It is what the provider says, where it says anything, and not so much less than we counted.
    """
    said = usage or counted
    is_believed = _is_believable(said, counted, terms.underreport_percent)
    if not is_believed:
        said = Usage(max(said.prompt, counted.prompt), max(said.completion, counted.completion))
    spent = min(said.prompt + said.completion, held.tokens)
    cost = min(cost_of(said.prompt, said.completion, terms), held.cost)
    return Amounts(spent, held.calls, cost), is_believed


def cost_of(prompt: int, completion: int, terms: ModelTerms) -> int:
    """In micro-units, rounded up, so that something never costs nothing."""
    return -(-(prompt * terms.prompt_micros + completion * terms.completion_micros) // _PER)


def counted_prompt(arguments: Mapping[str, Any]) -> int:
    """Our own count of a prompt: its text, as the tokens of plain prose. Low rather than high."""
    n_bytes = sum(text_bytes(arguments.get(key)) for key in _PROMPT)
    n_bytes += sum(_bytes_of(arguments.get(key), is_labelled=False) for key in _TOOLS)
    return tokens(n_bytes) + _n_tokens(arguments.get("input"))


def text_bytes(value: Any) -> int:
    """The bytes of all text in decoded JSON; what is said about it and embedded files are none."""
    return _bytes_of(value, is_labelled=True)


def terms_of(definition: Definition) -> ModelTerms:
    """Raises: ValueError: it is not the definition of a model."""
    if definition.terms is None:
        raise ValueError(f"{definition.object} has no terms")
    return definition.terms


def _is_believable(said: Usage, counted: Usage, percent: int) -> bool:
    """Each for itself: who reports a long prompt may have hidden a longer answer behind it."""
    least = 100 - percent
    return all(one * 100 >= ours * least for one, ours in zip(said, counted, strict=True))


def _bytes_of(value: Any, *, is_labelled: bool) -> int:
    """Of a tool all is text: in its schema every name is the caller's own."""
    n_bytes, left = 0, [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            n_bytes += len(one.encode("utf-8", "surrogatepass"))
        elif isinstance(one, dict):
            left += [
                inner for key, inner in one.items() if not (is_labelled and _is_aside(key, inner))
            ]
        elif isinstance(one, list):
            left += one
    return n_bytes


def _is_aside(key: str, value: Any) -> bool:
    is_embedded = isinstance(value, str) and value.startswith(_EMBEDDED)
    return key in _LABELS or (key in _FILES and is_embedded)


def _n_opaque(given: Any) -> int:
    """How many parts may be any number of tokens: an image, a sound, all that is not known as text."""
    count, left = 0, [given]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            count += not _is_text(one)
            left += [one.get(key) for key in _PARTS]
    return count


def _is_text(one: Mapping[str, Any]) -> bool:
    is_known = one["type"] in _TEXT_TYPES if "type" in one else isinstance(one.get("role"), str)
    members = (key for key, value in one.items() if value is not None)
    return is_known and _TEXT_MEMBERS.issuperset(members)


def _n_tokens(given: Any) -> int:
    """Of what is to be embedded, the part that comes as tokens already."""
    if not isinstance(given, list):
        return 0
    return sum(1 if type(one) is int else _n_tokens(one) for one in given)


def _count(arguments: Mapping[str, Any], key: str, otherwise: int) -> int:
    value = arguments.get(key)
    return value if type(value) is int and value > 0 else otherwise
