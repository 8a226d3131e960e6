"""One request for a model: read strictly, checked where it could cost or reach more than it says.

    {"model":"gpt","messages":[...],"stream":true}        what the caller sends
    {"model":"gpt-5-mini","messages":[...],"stream":true,"max_completion_tokens":4096}

What is not looked at is passed on as it came, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.model import Definition
from gateway.domain.model_meter import MOST_TOKENS, terms_of
from gateway.domain.refusal import UNPARSABLE, Refused, bad_params
from gateway.edge.models.reach import CHAT, EMBEDDINGS, GIVEN, RESPONSES, check_reach
from gateway.edge.strict import UNREADABLE, scan, unreadable

CLASS = "class:"
MAX_MODEL_CHARS = 256
MAX_ANSWERS = 128
# How each API bounds its answer: the first is imposed where the caller says nothing.
_BOUNDS: Mapping[str, tuple[str, ...]] = {
    CHAT: ("max_completion_tokens", "max_tokens"),
    RESPONSES: ("max_output_tokens",),
    EMBEDDINGS: (),
}
_STREAM_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks of a model, before it is known which."""

    api: str
    model: str  # as the caller says: a name, or a class
    members: Mapping[str, msgspec.Raw]
    arguments: Mapping[str, Any]

    @property
    def streams(self) -> bool:
        return self.arguments.get("stream") is True

    @property
    def _bounds(self) -> list[str]:
        return [key for key in _BOUNDS[self.api] if self.arguments.get(key) is not None]

    def check_fits(self, definition: Definition) -> None:
        """Raises: Refused: BAD_PARAMS: no answer of the model can be so long."""
        most = terms_of(definition).context_tokens
        for key in self._bounds:
            if self.arguments[key] > most:
                raise bad_params(f"{key} is more than the model's context of {most}")

    def as_sent(self, definition: Definition) -> tuple[bytes, Mapping[str, Any]]:
        """The body for *definition*'s provider, raw and decoded."""
        terms = terms_of(definition)
        changed: dict[str, Any] = {"model": terms.id}
        if self.api == RESPONSES:
            changed["store"] = False  # else it is kept, where others could ask for it
        keys = _BOUNDS[self.api]
        if keys and not self._bounds:
            changed[keys[0]] = min(definition.max_result_tokens, terms.context_tokens)
        raws = {key: msgspec.Raw(msgspec.json.encode(value)) for key, value in changed.items()}
        return msgspec.json.encode({**self.members, **raws}), {**self.arguments, **changed}


def read_wish(api: str, body: bytes) -> Wish:
    """Raises: Refused: UNPARSABLE, TOO_LARGE_REQUEST, or BAD_PARAMS: it cannot be asked so here."""
    members, arguments = _parsed(body)
    model = arguments.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise bad_params(f"model must be a string of 1 to {MAX_MODEL_CHARS} characters")
    if arguments.get(GIVEN[api]) is None:
        raise bad_params(f"{GIVEN[api]} is missing")
    _check_amounts(api, arguments)
    _check_stream(api, arguments)
    check_reach(api, arguments)
    return Wish(api, model, members, arguments)


def _parsed(body: bytes) -> tuple[Mapping[str, msgspec.Raw], dict[str, Any]]:
    try:
        members = _MEMBERS.decode(body)
        arguments = scan(body)
    except msgspec.ValidationError:
        raise bad_params("the body must be one JSON object") from None
    except UNREADABLE as err:
        raise unreadable(err) from None
    if members.keys() != arguments.keys():
        raise Refused(UNPARSABLE)
    return members, arguments


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _check_amounts(api: str, arguments: Mapping[str, Any]) -> None:
    """How much is answered is said in numbers, once, and by the words that this API has for it."""
    bounds = [key for key in MOST_TOKENS if arguments.get(key) is not None]
    for key in bounds:
        if key not in _BOUNDS[api]:
            raise bad_params(f"{key} is not a parameter of {api}")
        if type(arguments[key]) is not int or arguments[key] < 1:
            raise bad_params(f"{key} must be a whole number above 0")
    if len(bounds) > 1:
        raise bad_params(f"{bounds[0]} and {bounds[1]} are two words for one bound: say one")
    many = arguments.get("n")
    if many is not None and (type(many) is not int or not 1 <= many <= MAX_ANSWERS):
        raise bad_params(f"n must be a whole number from 1 to {MAX_ANSWERS}")


def _check_stream(api: str, arguments: Mapping[str, Any]) -> None:
    stream = arguments.get("stream")
    if stream is not None and type(stream) is not bool:
        raise bad_params("stream must be true or false")
    if stream and api == EMBEDDINGS:
        raise bad_params("embeddings are not streamed")
    options = arguments.get("stream_options")
    if options is None:
        return
    if not isinstance(options, dict) or not stream:
        raise bad_params("stream_options must be an object, and only where stream is true")
    if not options.keys() <= _STREAM_OPTIONS:
        raise bad_params("stream_options can only be include_usage and include_obfuscation here")
    if type(options.get("include_usage", False)) is not bool:
        raise bad_params("stream_options.include_usage must be true or false")
