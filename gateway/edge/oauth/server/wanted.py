"""What a client asks of the token endpoint, read strictly: a form in which no parameter comes twice."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from gateway.domain.budget import MAX_AMOUNT, METERS
from gateway.domain.model import Kind
from gateway.domain.revocation import LONGEST_TOKEN_S
from gateway.domain.run import NEW_RUN, is_run_id

MAX_PARAMETERS = 40
MAX_OBJECTS = 64
MAX_OBJECT_CHARS = 512
EVERYTHING = "*"  # what a scope is called that restricts nothing
# RFC 6749 s3.3; "*" stands at the end, or nowhere, as in policy.
_OBJECT = re.compile(rf"(?:{'|'.join(Kind)})/[\x21\x23-\x29\x2b-\x5b\x5d-\x7e]*\*?")
_METERS = frozenset(METERS)

Budget = tuple[tuple[str, int], ...]


class Unfit(Exception):
    """No token for this request. *error*: as RFC 6749, 8693 and 8707 call it; *why*: a sentence in
    which nothing of the request is repeated."""

    def __init__(self, error: str, why: str) -> None:
        super().__init__(why)
        self.error = error
        self.why = why


def malformed(why: str) -> Unfit:
    return Unfit("invalid_request", why)


@dataclass(frozen=True, slots=True)
class Wanted:
    """None, "" and () where nothing is said."""

    objects: tuple[str, ...] | None = None  # (): everything that policy lets
    budget: Budget = ()
    life_s: int | None = None
    run: str = ""  # NEW_RUN: one that nobody used yet
    resource: str = ""


def read_form(body: bytes) -> dict[str, str]:
    """The parameters of *body*. Raises: Unfit."""
    try:
        pairs = parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as err:
        raise malformed("The body is not a form of few parameters in UTF-8.") from err
    form = dict(pairs)
    if len(form) != len(pairs):
        raise malformed("A parameter comes twice.")
    return form


def read_wanted(form: Mapping[str, str], passed_over: frozenset[str] = frozenset()) -> Wanted:
    """*passed_over*: words in a scope that are none of the gateway's. Raises: Unfit."""
    run = form.get("run", "")
    if run and not is_run_id(run) and run != NEW_RUN:
        raise malformed(
            "The run is 8 to 64 letters, digits, dots, dashes and underscores, or: new."
        )
    resource, audience = form.get("resource", ""), form.get("audience", "")
    if resource and audience and resource != audience:
        raise Unfit("invalid_target", "A token is for one resource: say one.")
    return Wanted(
        objects=_objects(form.get("scope", ""), passed_over),
        budget=_budget(form["budget"]) if form.get("budget") else (),
        life_s=_life_s(form["expires_in"]) if form.get("expires_in") else None,
        run=run,
        resource=resource or audience,
    )


def _objects(scope: str, passed_over: frozenset[str]) -> tuple[str, ...] | None:
    words = scope.split(" ") if scope else []
    names = tuple(name for name in dict.fromkeys(words) if name not in passed_over)
    if not names:
        return None
    if names == (EVERYTHING,):
        return ()
    if len(names) > MAX_OBJECTS or any(len(name) > MAX_OBJECT_CHARS for name in names):
        raise Unfit("invalid_scope", f"A scope has at most {MAX_OBJECTS} objects.")
    if not all(_OBJECT.fullmatch(name) for name in names):
        why = "A scope holds names of objects as in policy, such as tool/docs/*, with one space between."
        raise Unfit("invalid_scope", why)
    return names


def _budget(said: str) -> Budget:
    try:
        budget: Any = json.loads(
            said, object_pairs_hook=_once, parse_float=_no_number, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        budget = None
    if not isinstance(budget, dict) or not budget or not budget.keys() <= _METERS:
        raise malformed("The budget is a JSON object of calls, tokens and cost.")
    amounts = budget.values()
    if not all(type(amount) is int and 0 <= amount <= MAX_AMOUNT for amount in amounts):
        raise malformed("Each amount of the budget is a whole number, 0 or more.")
    return tuple(sorted(budget.items()))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(said := dict(pairs)) < len(pairs):
        raise ValueError("a member comes twice")
    return said


def _no_number(_word: str) -> Any:
    raise ValueError("not a whole number")


def _life_s(said: str) -> int:
    if not (said.isascii() and said.isdigit() and len(said) < 10 and int(said) > 0):
        raise malformed("expires_in is a number of seconds.")
    return min(int(said), LONGEST_TOKEN_S)
