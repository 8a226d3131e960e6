"""A request of the API read strictly: what is not known is refused, and nothing is read in two ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from gateway.domain.arguments import Validator, compile_schema
from gateway.domain.refusal import MALFORMED, Refused, bad_params
from gateway.edge.api.routes import BY_OPERATION, MAX_WORDS, Param, Route
from gateway.edge.api.shapes import Shape
from gateway.edge.head import Head
from gateway.edge.strict import scan_whole

MAX_BODY_BYTES = 1_048_576
MAX_PARAMETERS = 64
_DIGITS = re.compile("[0-9]{1,9}", re.ASCII)


def has_body(head: Head) -> bool:
    return head.get(b"content-length") not in (b"", b"0") or b"transfer-encoding" in head.values


def refuse_body(head: Head) -> None:
    """Raises: Refused: MALFORMED: a look has a body, which nobody would read."""
    if has_body(head):
        raise Refused(MALFORMED, detail={"problem": "a GET with a body"})


def read_query(route: Route, raw: bytes) -> dict[str, Any]:
    """The parameters of the query, by name. Raises: Refused: BAD_PARAMS."""
    known = route.parameters
    given: dict[str, Any] = {}
    for name, text in _pairs(raw):
        param = known.get(name)
        if param is None:
            raise bad_params(_unknown(name, known))
        if param.words:
            given.setdefault(name, []).append(text)
        elif name in given:
            raise bad_params(f"{name} is given twice")
        else:
            given[name] = _typed(param, text)
    if any(len(words) > MAX_WORDS for words in given.values() if isinstance(words, list)):
        raise bad_params(f"more than {MAX_WORDS} of one parameter")
    wrong = _query_check(route.operation)(given)
    if wrong is not None:
        raise bad_params(wrong)
    return given


def read_object(route: Route, body: bytes) -> dict[str, Any]:
    """The members of the body; an empty one has none. Raises: Refused: UNPARSABLE, BAD_PARAMS..."""
    members = scan_whole(body or b"{}")
    if not isinstance(members, dict):
        raise bad_params("the body is not an object")
    shape: Shape = route.body or {}
    strange = sorted(set(members) - set(shape["properties"]))
    if strange:
        raise bad_params(_unknown(strange[0], shape["properties"]))
    wrong = _body_check(route.operation)(members)
    if wrong is not None:
        raise bad_params(wrong)
    return members


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        text = raw.decode("ascii")
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:
        raise bad_params("the query is not a list of name=value in UTF-8") from None


def _typed(param: Param, text: str) -> str | int:
    if param.shape.get("type") == "integer" and _DIGITS.fullmatch(text):
        return int(text)
    return text


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name[:40], known, n=1)
    if close:
        return f"there is no parameter {name!a:.42}; did you mean {close[0]}?"
    return f"there is no parameter {name!a:.42}; known are: {', '.join(known) or 'none'}"


@cache
def _query_check(operation: str) -> Validator:
    route = BY_OPERATION[operation]
    shapes = {name: query_shape(param) for name, param in route.parameters.items()}
    required = [name for name, param in route.parameters.items() if param.required]
    return compile_schema({"type": "object", "properties": shapes, "required": required})


@cache
def _body_check(operation: str) -> Validator:
    return compile_schema(BY_OPERATION[operation].body or {})


def query_shape(param: Param) -> Shape:
    return {"type": "array", "items": param.shape} if param.words else param.shape
