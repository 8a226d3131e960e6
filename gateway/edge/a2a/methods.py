"""Every method of A2A 1.0: what it acts on, how much of it is written down, and what names its object.

A method that is not in this table is refused, in either binding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from gateway.domain.model import Act, CallClass, Kind
from gateway.edge.a2a.errors import NotCalled


class Naming(Enum):
    """What the object of a call is named by."""

    PEER = "peer"  # the agent itself: its card
    MESSAGE = "message"  # the skill that the message names, or that of the task it goes on with
    TASK = "task"  # the skill of the task, by its id
    TASKS = "tasks"  # all that the caller has


@dataclass(frozen=True, slots=True)
class Method:
    """One row. *member*: the parameter that holds the id of the task."""

    kind: Kind
    act: Act
    weight: CallClass
    naming: Naming
    member: str = ""
    streams: bool = False


def find_method(name: str) -> Method:
    """Raises: NotCalled."""
    row = METHODS.get(name)
    if row is None:
        raise NotCalled(name)
    return row


def _message(*, streams: bool = False) -> Method:
    return Method(Kind.PEER, Act.CALL, CallClass.FULL, Naming.MESSAGE, streams=streams)


def _of_task(member: str, *, streams: bool = False) -> Method:
    return Method(Kind.PEER, Act.CALL, CallClass.FULL, Naming.TASK, member, streams)


CARD = Method(Kind.SERVER, Act.LIST, CallClass.SINGLE, Naming.PEER)
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "SendMessage": _message(),
        "SendStreamingMessage": _message(streams=True),
        # -- later rounds of the call that made the task
        "GetTask": _of_task("id"),
        "CancelTask": _of_task("id"),
        "SubscribeToTask": _of_task("id", streams=True),
        "CreateTaskPushNotificationConfig": _of_task("taskId"),
        "GetTaskPushNotificationConfig": _of_task("taskId"),
        "ListTaskPushNotificationConfigs": _of_task("taskId"),
        "DeleteTaskPushNotificationConfig": _of_task("taskId"),
        # -- what the answer holds is the caller's own
        "ListTasks": Method(Kind.PEER, Act.LIST, CallClass.FULL, Naming.TASKS),
        # -- what the gateway answers itself
        "GetExtendedAgentCard": CARD,
    }
)
