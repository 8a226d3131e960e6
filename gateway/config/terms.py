"""The kinds of value that are small tables: a model's terms, the rules of a peer, the limits of runs.

model = { id = "gpt-5-mini", class = "small", context = 128000, prompt = 150000, completion = 600000 }
rules = { max_bytes = 65536, depth = 4, data = ["public"], skills = ["quote"], schema = "file:message.json" }
runs = { depth = 4, wall_s = 3600, cost = 5000000 }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from gateway.config import issuers
from gateway.config.kinds import BOUNDS, Parse, Unfit, integer, names, text, texts
from gateway.config.values import Rules
from gateway.domain.model import ModelTerms
from gateway.domain.run import RunLimits

SIZES = ("small", "medium", "large")
MAX_AMOUNT = 2**53 - 1
_DAY_S = 86_400


def size(raw: Any) -> str:
    if raw not in SIZES:
        raise Unfit(f"expected one of {', '.join(SIZES)}")
    return str(raw)


def key_file(raw: Any) -> str:
    """A file of public keys."""
    if not text(raw).startswith("file:") or raw == "file:":
        raise Unfit('expected a file of public keys, such as "file:worker.jwks.json"')
    return str(raw)


def key_set(raw: Any) -> str:
    """Public keys, from a file or from a URL on the way to which nobody can change them."""
    return key_file(raw) if text(raw).startswith("file:") else issuers.key_set(raw)


def schema_file(raw: Any) -> Path:
    if not text(raw).startswith("file:") or raw == "file:":
        raise Unfit('expected a file with a JSON Schema, such as "file:message.json"')
    return Path(raw.removeprefix("file:")).expanduser()


_amount = integer(0, MAX_AMOUNT)


def price(raw: Any) -> int:
    """Of a million tokens, in micro-units."""
    try:
        return int(_amount(raw))
    except Unfit:
        unit = "expected micro-units for a million tokens, as a whole number"
        raise Unfit(f"{unit}: 0.15 for a million tokens is 150_000") from None


BOUNDS[price] = BOUNDS[_amount]

# Key -> how it is read, and where the value goes.
MODEL: Mapping[str, tuple[Parse, str]] = {
    "id": (text, "id"),
    "class": (size, "size"),
    "context": (integer(1, 1_000_000_000), "context_tokens"),
    "prompt": (price, "prompt_micros"),
    "completion": (price, "completion_micros"),
    "underreport": (integer(0, 100), "underreport_percent"),
}
RULES: Mapping[str, tuple[Parse, str]] = {
    "max_bytes": (integer(0, 16 * 1_048_576), "max_bytes"),
    "depth": (integer(0, 64), "depth"),
    "data": (names, "data"),
    "skills": (texts, "skills"),
    "schema": (schema_file, "schema"),
}
RUNS: Mapping[str, tuple[Parse, str]] = {
    one.name: (integer(0, _DAY_S if one.name == "wall_s" else MAX_AMOUNT), one.name)
    for one in fields(RunLimits)
}


def model(raw: Any) -> ModelTerms:
    values = _read(raw, MODEL)
    if "id" not in values:
        raise Unfit('expected at least what the provider calls it, such as { id = "gpt-5-mini" }')
    return ModelTerms(**values)


def rules(raw: Any) -> Rules:
    return Rules(**_read(raw, RULES))


def runs(raw: Any) -> RunLimits:
    return RunLimits(**_read(raw, RUNS))


def _read(raw: Any, keys: Mapping[str, tuple[Parse, str]]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise Unfit(f"expected a table of some of {', '.join(keys)}")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in keys:
            raise Unfit(f"there is no key {ascii(key)[:60]} in it; known are: {', '.join(keys)}")
        parse, member = keys[key]
        try:
            values[member] = parse(value)
        except Unfit as err:
            raise Unfit(f"{key}: {err}") from None
    return values
