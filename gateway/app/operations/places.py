"""How people name a definition, and how it is shown to them.

docs/search                     the tool `search` of the server `docs`
prompt/docs/summary             any other kind by its full object name
resource/docs/file:///a/b       whose names may hold slashes
peer/billing/quote              a skill of a peer
model/gpt                       a model
server/docs/                    the server's own instructions
"""

from __future__ import annotations

from typing import Any

from gateway.domain.catalogue import Catalogue
from gateway.domain.model import Kind, object_name
from gateway.domain.operator import OperationRefused, usage
from gateway.store.pins import Pin, Place

_DEFINED = frozenset(Kind) - {Kind.ADMIN}


def place_of(text: str) -> Place:
    """Raises: OperationRefused (usage): not the name of a definition."""
    word, _, rest = text.partition("/")
    if word == Kind.MODEL and rest:
        return rest, Kind.MODEL, rest
    server, slash, name = rest.partition("/")
    if slash and word in _DEFINED:
        return server, Kind(word), name
    if not word or not rest:
        raise _unnamed(text)
    return word, Kind.TOOL, rest


def wire_place(catalogue: Catalogue, text: str) -> Place | None:
    """What *text* is called on /mcp; None when nothing is called so there."""
    if "/" in text:
        return None
    for kind in (Kind.TOOL, Kind.PROMPT):
        definition = catalogue.by_wire(kind, text)
        if definition is not None:
            return definition.server, definition.kind, definition.name
    return None


def place_from(kind: str, server: str, name: str) -> Place:
    """Raises: OperationRefused (usage): there are no definitions of that kind."""
    try:
        found = Kind(kind)
    except ValueError:
        raise _unnamed(f"{kind}/{server}/{name}") from None
    if found not in _DEFINED:
        raise _unnamed(f"{kind}/{server}/{name}")
    return server, found, name


def object_of(place: Place) -> str:
    server, kind, name = place
    return object_name(kind, server, name)


def pin_row(pin: Pin, wire_name: str) -> dict[str, Any]:
    """One definition for a list, without its body."""
    server, kind, name = pin.place
    return {
        "object": object_of(pin.place),
        "server": server,
        "kind": str(kind),
        "name": name,
        "wire_name": wire_name,
        "approval": str(pin.approval),
        "reason": pin.reason,
        "digest": pin.digest,
        "approved_digest": pin.approved_digest,
        "gone": pin.gone,
    }


def _unnamed(text: str) -> OperationRefused:
    return usage(
        f"{text!a:.80} does not name a definition",
        "say SERVER/TOOL, or KIND/SERVER/NAME such as prompt/docs/summary",
    )
