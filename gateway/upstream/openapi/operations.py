"""The operations of an OpenAPI document -> tools, and a reason for each that is none.

GET /pets/{petId}   operationId: getPet   ->   tool getPet(petId), readOnlyHint
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import msgspec

from gateway.upstream.listing import MAX_LISTING_BYTES
from gateway.upstream.openapi.binding import (
    IN_BRACES,
    META_KEY,
    Binding,
    Credential,
    is_kept,
    is_path,
    placeholders,
)
from gateway.upstream.openapi.document import BadDocument
from gateway.upstream.openapi.parts import Parts, Unusable
from gateway.upstream.openapi.schema import BadReference, References, Room, Translation

MAX_OPERATIONS = 2_000
_MAX_DESCRIPTION = 4_000
_MAX_NAME = 64
_VERSION = re.compile(r"3\.[01](\.[0-9]{1,3})?")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_METHODS: tuple[Method, ...] = get_args(Method)
_BEARER = Credential(scheme="Bearer")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. Either *definition* or *left_out* says what became of it."""

    name: str
    method: str
    path: str
    summary: str = ""
    tags: tuple[str, ...] = ()
    definition: bytes = b""  # of the tool, as JSON
    secured: bool = False  # the document says that a call of it carries a credential
    left_out: str = ""
    without: tuple[str, ...] = ()  # its optional parts that a call cannot give


@dataclass(frozen=True, slots=True)
class Api:
    """A whole document."""

    title: str
    servers: tuple[str, ...]  # the base URLs it names; they may be relative to its own
    operations: tuple[Operation, ...]

    @property
    def tools(self) -> tuple[Operation, ...]:
        return tuple(one for one in self.operations if one.definition)


def read_api(document: Mapping[str, Any], *, writes: bool) -> Api:
    """What *document* offers; without *writes* only what it says is reading.

    Raises: BadDocument: it is not OpenAPI 3.0 or 3.1, or its tools would be too many or too large.
    """
    version = document.get("openapi")
    # Without quotes, 3.1 is a number in YAML.
    if not isinstance(version, str | float) or not _VERSION.fullmatch(str(version)):
        raise BadDocument("it is not OpenAPI 3.0 or 3.1")
    said = document.get("info")
    information = said if isinstance(said, dict) else {}
    reader = _Reader(document, References(document), writes)
    return Api(
        title=str(information.get("title") or "")[:200],
        servers=tuple(_server_urls(document.get("servers"))),
        operations=tuple(reader.operations()),
    )


@dataclass(slots=True)
class _Reader:
    document: Mapping[str, Any]
    references: References
    writes: bool
    names: set[str] = field(default_factory=set)
    # Two, because a schema is known to be too large before it is written out.
    schemas: Room = field(default_factory=lambda: Room(MAX_LISTING_BYTES))
    definitions: Room = field(default_factory=lambda: Room(MAX_LISTING_BYTES))

    def operations(self) -> Iterator[Operation]:
        paths = self.document.get("paths")
        count = 0
        for path, raw in paths.items() if isinstance(paths, dict) else ():
            item = self._followed(raw)
            for method in _METHODS:
                operation = item.get(method.lower())
                if not isinstance(operation, dict):
                    continue
                count += 1
                if count > MAX_OPERATIONS:
                    raise BadDocument(f"it has more than {MAX_OPERATIONS} operations")
                found = self._operation(method, str(path), item, operation)
                self.definitions.take(len(found.definition))
                yield found

    def _followed(self, raw: Any) -> Mapping[str, Any]:
        try:
            value, _ = self.references.follow(raw)
        except BadReference:
            return {}
        return value if isinstance(value, dict) else {}

    def _operation(
        self, method: Method, path: str, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> Operation:
        tags = operation.get("tags")
        described = Operation(
            name=self._name(method, path, operation.get("operationId")),
            method=method,
            path=path[:300],
            summary=_one_line(operation.get("summary") or item.get("summary")),
            tags=tuple(str(tag)[:60] for tag in tags[:10]) if isinstance(tags, list) else (),
        )
        try:
            self._refuse(method, item, operation)
            credential = self._credential(operation)
            header = credential.header if credential else ""
            parts = self._parts(method, path, item, operation, header)
            binding = Binding(
                method=method,
                path=path,
                arguments=tuple(parts.arguments),
                body_type=parts.body_type,
                body_required=parts.body_required,
                credential=credential,
            )
        except (Unusable, BadReference) as err:
            return replace(described, left_out=str(err))
        body = _definition(described, operation.get("description"), parts, binding)
        secured = credential is not None and self._security(operation) is not None
        return replace(described, definition=body, secured=secured, without=tuple(parts.without))

    def _name(self, method: str, path: str, given: Any) -> str:
        """The operation's id; where it has none, or another one has it, what is its own."""
        whole = given if isinstance(given, str) and given else f"{method.lower()}{path}"
        name = _UNFIT.sub("_", whole).strip("_")[:_MAX_NAME] or method.lower()
        if name in self.names:
            own = hashlib.sha256(f"{method} {path}".encode("utf-8", "surrogatepass")).hexdigest()
            name = f"{name[: _MAX_NAME - 9]}_{own[:8]}"
        self.names.add(name)
        return name

    def _refuse(
        self, method: Method, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> None:
        if method != "GET" and not self.writes:
            raise Unusable("it writes; such operations are taken in with --writes only")
        if "servers" in operation or "servers" in item:
            raise Unusable("it names a server of its own, and all calls go to one")

    def _parts(
        self,
        method: Method,
        path: str,
        item: Mapping[str, Any],
        operation: Mapping[str, Any],
        credential_header: str,
    ) -> Parts:
        parts = Parts(
            self.references, Translation(self.references, self.schemas), credential_header
        )
        parameters = list(self._parameters(item, operation))
        _check_path(path, parameters)
        for parameter in parameters:
            parts.parameter(parameter)
        if method not in ("GET", "DELETE"):
            parts.body(operation.get("requestBody"))
        return parts

    def _parameters(
        self, item: Mapping[str, Any], operation: Mapping[str, Any]
    ) -> Iterator[Mapping[str, Any]]:
        """Those of the path, each replaced by one of the operation that has its place and name."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for listed in (item.get("parameters"), operation.get("parameters")):
            for raw in listed if isinstance(listed, list) else ():
                value, _ = self.references.follow(raw)
                if isinstance(value, dict):
                    found[str(value.get("in")), str(value.get("name"))] = value
        yield from found.values()

    def _security(self, operation: Mapping[str, Any]) -> list[Any] | None:
        """What the document says of credentials; None: nothing."""
        wanted = operation.get("security", self.document.get("security"))
        return wanted if isinstance(wanted, list) else None

    def _credential(self, operation: Mapping[str, Any]) -> Credential | None:
        """The header for the server's credential, as the document asks for it. Raises: Unusable."""
        wanted = self._security(operation)
        if wanted is None:
            return _BEARER  # it says nothing; one that is configured is meant
        asked = [one for one in wanted if isinstance(one, dict) and one]
        for requirement in asked:
            if len(requirement) == 1:
                found = self._scheme(next(iter(requirement)))
                if found is not None:
                    return found
        if asked and len(asked) == len(wanted):
            raise Unusable("its credential is not a bearer token or an API key in a header")
        return None

    def _scheme(self, name: str) -> Credential | None:
        components = self.document.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, dict) else None
        scheme = self._followed(schemes.get(name)) if isinstance(schemes, dict) else {}
        kind, header = scheme.get("type"), str(scheme.get("name"))
        if kind in ("oauth2", "openIdConnect"):
            return _BEARER
        if kind == "http":
            return _BEARER if str(scheme.get("scheme")).lower() == "bearer" else None
        if kind != "apiKey" or scheme.get("in") != "header":
            return None
        if header.lower() == "authorization":
            return Credential()
        return None if is_kept(header) else Credential(header)


def _check_path(path: str, parameters: list[Mapping[str, Any]]) -> None:
    """Raises: Unusable: a path that is not plain, or whose placeholders are not its parameters."""
    bare = IN_BRACES.sub("x", path)
    if not is_path(path) or not is_path(bare) or "{" in bare or "}" in bare:
        raise Unusable("its path has parts that are not supported in one")
    named = {str(one.get("name")) for one in parameters if one.get("in") == "path"}
    if named != placeholders(path):
        raise Unusable("the placeholders of its path are not its path parameters")


def _definition(described: Operation, said: Any, parts: Parts, binding: Binding) -> bytes:
    description = str(said) if isinstance(said, str) else ""
    text = "\n\n".join(part for part in (described.summary, description) if part)
    definition: dict[str, Any] = {
        "name": described.name,
        "description": text[:_MAX_DESCRIPTION] or f"{described.method} {described.path}",
        "inputSchema": parts.input_schema(),
        "annotations": _annotations(described.method),
        "_meta": {META_KEY: binding},
    }
    if described.summary:
        definition["title"] = described.summary
    if described.tags:
        definition["_meta"]["io.customhouse/tags"] = described.tags
    return msgspec.json.encode(definition)


def _annotations(method: str) -> dict[str, bool]:
    """What HTTP says of its methods; whether an API keeps to it, it does not say."""
    if method == "GET":
        return {"readOnlyHint": True, "openWorldHint": True}
    return {
        "readOnlyHint": False,
        "destructiveHint": method != "POST",
        "idempotentHint": method in ("PUT", "DELETE"),
        "openWorldHint": True,
    }


def _server_urls(servers: Any) -> Iterator[str]:
    """The base URLs of a document, its variables at their defaults."""
    for server in servers[:10] if isinstance(servers, list) else ():
        url = server.get("url") if isinstance(server, dict) else None
        variables = server.get("variables") if isinstance(server, dict) else None
        if not isinstance(url, str):
            continue
        for name, variable in variables.items() if isinstance(variables, dict) else ():
            default = variable.get("default") if isinstance(variable, dict) else None
            url = url.replace(f"{{{name}}}", str(default))
        if "{" not in url and len(url) <= 2_000:
            yield url


def _one_line(text: Any) -> str:
    return " ".join(text.split())[:200] if isinstance(text, str) else ""
