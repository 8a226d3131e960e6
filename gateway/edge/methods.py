"""Every method of both protocol eras: what it acts on, how, and how much of it is written down.

A method that is not in this table is refused, and so is one that is not offered yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from gateway.domain.model import Act, CallClass, Kind
from gateway.domain.refusal import UNKNOWN_METHOD, Refused

_NOTIFICATIONS = "notifications/"


class Era(Enum):
    """Which revisions know a method: those with a handshake, the stateless ones, or both."""

    BOTH = "both"
    HANDSHAKE = "handshake"
    MODERN = "modern"


class Naming(Enum):
    """Where the params name the object."""

    NOTHING = "nothing"  # the gateway answers for all that the caller may see
    NAME = "name"
    URI = "uri"
    REF = "ref"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Method:
    """One row. *in_rounds*: its result may ask for input, and it may be asked again with it.

    *once*: under an idempotency key it has one effect, however often it is asked.
    """

    kind: Kind
    act: Act
    weight: CallClass
    naming: Naming = Naming.NOTHING
    era: Era = Era.BOTH
    offered: bool = True
    in_rounds: bool = False
    once: bool = False


def find_method(name: str, *, modern: bool, notifies: bool) -> Method:
    """The row of *name* in the era of the caller, for a request or for a notification.

    Raises: Refused: UNKNOWN_METHOD: not in the table, of the other era, of the other shape (a
    request without an id would have an effect and no answer), or not offered.
    """
    row = METHODS.get(name)
    if row is None or not row.offered or name.startswith(_NOTIFICATIONS) is not notifies:
        raise Refused(UNKNOWN_METHOD)
    if row.era is not Era.BOTH and (row.era is Era.MODERN) is not modern:
        raise Refused(UNKNOWN_METHOD)
    return row


def _list(kind: Kind) -> Method:
    return Method(kind, Act.LIST, CallClass.SINGLE)


def _greeting(era: Era) -> Method:
    return Method(Kind.SERVER, Act.LIST, CallClass.SINGLE, era=era)


def _free(era: Era = Era.BOTH) -> Method:
    return Method(Kind.SERVER, Act.LIST, CallClass.FREE, era=era)


def _task() -> Method:
    return Method(Kind.SERVER, Act.LIST, CallClass.FULL, Naming.TASK, Era.MODERN)


def _not_offered(kind: Kind, act: Act) -> Method:
    return Method(kind, act, CallClass.FULL, offered=False)


_FULL = CallClass.FULL
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        # -- what goes to an upstream
        "tools/call": Method(Kind.TOOL, Act.CALL, _FULL, Naming.NAME, in_rounds=True, once=True),
        "prompts/get": Method(Kind.PROMPT, Act.GET, _FULL, Naming.NAME, in_rounds=True),
        "resources/read": Method(Kind.RESOURCE, Act.READ, _FULL, Naming.URI, in_rounds=True),
        "completion/complete": Method(Kind.PROMPT, Act.COMPLETE, _FULL, Naming.REF),
        # -- what the gateway answers itself
        "tools/list": _list(Kind.TOOL),
        "prompts/list": _list(Kind.PROMPT),
        "resources/list": _list(Kind.RESOURCE),
        "resources/templates/list": _list(Kind.TEMPLATE),
        "server/discover": _greeting(Era.MODERN),
        "initialize": _greeting(Era.HANDSHAKE),
        # -- what is rated and not written down
        "ping": _free(Era.HANDSHAKE),
        "notifications/initialized": _free(Era.HANDSHAKE),
        "notifications/cancelled": _free(),
        "notifications/progress": _free(),
        "notifications/roots/list_changed": _free(),
        "notifications/elicitation/complete": _free(),
        "logging/setLevel": _free(Era.HANDSHAKE),
        "resources/unsubscribe": Method(
            Kind.RESOURCE, Act.SUBSCRIBE, CallClass.FREE, Naming.URI, Era.HANDSHAKE
        ),  # its effect is the outcome of what it ends
        # -- what is open from its intent to its outcome; so is the stream that a session GETs
        "subscriptions/listen": Method(Kind.SERVER, Act.SUBSCRIBE, _FULL, era=Era.MODERN),
        "resources/subscribe": Method(
            Kind.RESOURCE, Act.SUBSCRIBE, _FULL, Naming.URI, Era.HANDSHAKE
        ),
        # -- later rounds of a call that became a task; who may have them is in the id of the task
        "tasks/get": _task(),
        "tasks/update": _task(),
        "tasks/cancel": _task(),
        # -- what is not offered: tasks of 2025-11-25
        "tasks/list": _not_offered(Kind.TOOL, Act.LIST),
        "tasks/result": _not_offered(Kind.TOOL, Act.READ),
        "notifications/tasks/status": _not_offered(Kind.TOOL, Act.READ),
        # -- what only a server may ask of a client
        "sampling/createMessage": _not_offered(Kind.SERVER, Act.CALL),
        "elicitation/create": _not_offered(Kind.SERVER, Act.CALL),
        "roots/list": _not_offered(Kind.SERVER, Act.LIST),
    }
)
