"""The MCP endpoints: which part of what is behind the border a request came in at.

/mcp                  everything the caller may use
/mcp/s/<server>       one server, under its own names
/mcp/t/<toolset>      one curated bundle of tools
/mcp.../search        each of them, as two tools that find and call all others (see search)
/token/mcp...         each of them again, without a word of OAuth: some clients would rather sign in
                      than send the key they were given, once they hear that one could
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

_BARE = "/token"
_SEARCH = "/search"
_PATH = re.compile(r"(/token)?/mcp(?:/([st])/(.*?))?(/search)?", re.DOTALL)


class Span(Enum):
    """How much an endpoint reaches; its value is how paths spell it."""

    ALL = ""
    SERVER = "s"
    TOOLSET = "t"


class Endpoint(NamedTuple):
    """*name* is the caller's word until somebody looked it up; it is "" where *span* is ALL."""

    span: Span = Span.ALL
    name: str = ""
    bare: bool = False  # under /token: nothing here may advertise OAuth
    search: bool = False  # its tools are found and called through two of the gateway's own

    @property
    def server(self) -> str:
        return self.name if self.span is Span.SERVER else ""

    @property
    def path(self) -> str:
        """The path that `endpoint_of` reads back to the same endpoint."""
        place = f"/mcp/{self.span.value}/{self.name}" if self.span is not Span.ALL else "/mcp"
        place += _SEARCH if self.search else ""
        return _BARE + place if self.bare else place


ALL = Endpoint()


@lru_cache(maxsize=64)  # few: strangers may send any path
def endpoint_of(path: str) -> Endpoint | None:
    """The endpoint that *path* is spelled as, or None: it is none. Whether it exists is not asked."""
    if path == "/mcp":
        return ALL
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    bare, span, name, search = found.groups()
    return Endpoint(Span(span or ""), name or "", bare is not None, search is not None)
