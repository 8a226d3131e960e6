"""The arguments of one operation: path, query, headers and JSON body as one flat input schema.

    GET /pets/{id}?limit=  and a body {"id", "name"}   ->   id, limit, body_id, name

No two have one name, and none can set what belongs to the connection or to the credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.upstream.openapi.binding import Argument, folded, is_json, is_kept
from gateway.upstream.openapi.schema import References, Schema, Translation

MAX_ARGUMENTS = 100
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_NAME = 64
_JOINED = {"form": ",", "simple": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_COMBINED = frozenset({"allOf", "anyOf", "oneOf", "not"})


class Unusable(ValueError):
    """The operation cannot become a tool; one sentence why."""


@dataclass(slots=True)
class Parts:
    """Filled part by part; the order is that of the document."""

    references: References
    translation: Translation
    credential_header: str = ""  # no argument may set it
    properties: Schema = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    arguments: list[Argument] = field(default_factory=list)
    body_type: str = ""
    body_required: bool = False
    without: list[str] = field(default_factory=list)  # optional parts that cannot be sent

    def input_schema(self) -> Schema:
        schema: Schema = {"type": "object", "properties": self.properties}
        if self.required:
            schema["required"] = self.required
        return {**schema, "additionalProperties": False}

    def parameter(self, given: Mapping[str, Any]) -> None:
        """Take in one parameter. Raises: Unusable: it is required, and cannot be sent."""
        name, place = str(given.get("name")), given.get("in")
        required = given.get("required") is True or place == "path"
        schema = self.translation.of(given.get("schema", {}))
        many = _may_be(schema, "array")
        why = self._objection(given, name)
        if _may_be(schema, "object") or (many and place == "path"):
            why = why or "is not a plain value"
        if why and required:
            raise Unusable(f"its parameter {name!a:.40} {why}")
        if why:
            self.without.append(f"its parameter {name!a:.40} {why}")
            return
        if isinstance(given.get("description"), str) and "description" not in schema:
            schema["description"] = given["description"][:2_000]
        self._add(
            Argument(
                argument=self._free_name(name, str(place)),
                part="path" if place == "path" else "header" if place == "header" else "query",
                name=name,
                joined=_joining(given) if many else "",
            ),
            schema,
            required=required,
        )

    def _objection(self, given: Mapping[str, Any], name: str) -> str:
        place = given.get("in")
        if place not in ("path", "query", "header"):
            return "goes in a cookie, or in no place that there is"
        if "schema" not in given or given.get("style", "form") not in (*_JOINED, None):
            return "is written in a way that is not supported"
        if place == "header" and (is_kept(name) or folded(name) == folded(self.credential_header)):
            return "is a header that belongs to the connection or to the credential"
        return "" if name and name.isprintable() and len(name) <= 200 else "has no usable name"

    def body(self, given: Any) -> None:
        """Take in the request body. Raises: Unusable."""
        value, _ = self.references.follow(given)
        if not isinstance(value, dict):
            return
        self.body_required = value.get("required") is True
        content = value.get("content")
        media = content if isinstance(content, dict) else {}
        kind = next((key for key in media if is_json(key)), "")
        if not kind:
            if self.body_required:
                raise Unusable("its body is not JSON")
            self.without.append("its body is not JSON")
            return
        self.body_type = kind
        described = media[kind] if isinstance(media[kind], dict) else {}
        self._take_body(self.translation.of(described.get("schema", {})))

    def _take_body(self, schema: Schema) -> None:
        members = schema.get("properties")
        flat = members and not _COMBINED & schema.keys() and not _may_be(schema, "null")
        flat = flat and not schema.get("additionalProperties")  # a map beside its named members
        if not flat or not isinstance(members, dict):
            name = self._free_name("body", "request")
            self._add(Argument(name, "body"), schema, required=self.body_required)
            return
        needed = set(schema.get("required", ())) if self.body_required else set()
        for member, part in members.items():
            name = self._free_name(member, "body")
            self._add(Argument(name, "member", member), part, required=member in needed)

    def _add(self, argument: Argument, schema: Schema, *, required: bool) -> None:
        if len(self.arguments) >= MAX_ARGUMENTS:
            raise Unusable(f"it has more than {MAX_ARGUMENTS} arguments")
        self.arguments.append(argument)
        self.properties[argument.argument] = schema
        if required:
            self.required.append(argument.argument)

    def _free_name(self, name: str, place: str) -> str:
        plain = _UNFIT.sub("_", name).strip("_")[:_MAX_NAME] or place
        tries = self._tries(plain, place)
        return next(one for one in tries if one not in self.properties)

    def _tries(self, plain: str, place: str) -> Iterator[str]:
        yield plain
        yield f"{place}_{plain}"[:_MAX_NAME]
        for number in range(2, MAX_ARGUMENTS + 3):
            yield f"{plain[: _MAX_NAME - 4]}_{number}"


def _joining(given: Mapping[str, Any]) -> str:
    style = given.get("style") or ("form" if given.get("in") == "query" else "simple")
    explode = given.get("explode", style == "form")
    return "" if style == "form" and explode is not False else _JOINED[str(style)]


def _may_be(schema: Schema, kind: str) -> bool:
    """Whether a value of *schema* can be of *kind*, as far as its types say."""
    said = schema.get("type")
    if isinstance(said, str | list):
        return kind in ([said] if isinstance(said, str) else said)
    if kind == "object" and "properties" in schema:
        return True
    if kind == "array" and "items" in schema:
        return True
    below = [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ())]
    return any(_may_be(part, kind) for part in below)
