"""Where servers are described by others: fetched and read for a person to look at. Nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from gateway.app.wiring import is_plainly_local
from gateway.config import OpenApi
from gateway.config.sources import fit_name
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.upstream.fetch import BadTarget
from gateway.upstream.message import UpstreamFailed
from gateway.upstream.openapi.connector import Document
from gateway.upstream.openapi.document import BadDocument, read_document
from gateway.upstream.openapi.operations import Operation, read_api
from gateway.upstream.spec import HttpTransport

FETCH_S = 20.0


@dataclass(frozen=True, slots=True)
class ApiSeen:
    """An OpenAPI document as a server that could be added."""

    title: str
    name: str  # "": none could be made of its title, or of its file's name
    table: Mapping[str, Any]
    operations: Sequence[Operation]

    @property
    def wants_credential(self) -> bool:
        return any(one.secured for one in self.operations)


def document_at(place: str) -> bytes:
    """The bytes of a document at a path or a URL. Raises: OperationRefused."""
    where: HttpTransport | str = place
    if "://" in place:
        where = HttpTransport(place, allow_private=is_plainly_local(place))

    try:
        return asyncio.run(Document(where).read(FETCH_S))
    except (UpstreamFailed, BadTarget) as err:
        raise OperationRefused(
            f"{_shown(place)}: {err}",
            "what is not read whole is not taken in",
            "name a file, or a URL that this machine may connect to",
            Exit.UNREACHABLE,
        ) from err


def api_seen(place: str, body: bytes, *, writes: bool, url: str = "") -> ApiSeen:
    """What the OpenAPI document *body*, found at *place*, would be as a server.

    Raises: OperationRefused: it is none, or nobody says where its API is.
    """
    try:
        api = read_api(read_document(body), writes=writes)
    except BadDocument as err:
        raise OperationRefused(
            f"{_shown(place)} cannot be used: {err}",
            "a tool is made of each operation of a document of OpenAPI 3.0 or 3.1",
            "correct the document, or say what the file is with --format",
            Exit.INVALID,
        ) from err
    document = place if "://" in place else str(Path(place).expanduser().absolute())
    told = OpenApi(document, writes)
    table = {
        "url": url or _base(api.servers, document),
        "openapi": {"document": told.document, "writes": True} if writes else told.document,
    }
    called = api.title or Path(urlsplit(place).path).stem
    return ApiSeen(called, fit_name(called), table, api.operations)


def _base(servers: Sequence[str], document: str) -> str:
    """The first base URL of a document; a relative one is relative to where the document is.

    This machine's own address is taken from a person, or from where a person found the document:
    a document of somebody else's would choose what is asked behind the firewall.
    """
    remote = "://" in document
    for server in servers or (("/",) if remote else ()):
        whole = urljoin(document, server) if remote else server
        if urlsplit(whole).scheme not in ("http", "https"):
            continue
        if is_plainly_local(whole) and urlsplit(whole).netloc != urlsplit(document).netloc:
            raise usage(
                "the document names an address of this machine", "if so, give it with --url"
            )
        return whole
    raise usage("the document does not say at which URL its API is", "give it with --url")


def _shown(place: str) -> str:
    return place.partition("?")[0] if "://" in place else place
