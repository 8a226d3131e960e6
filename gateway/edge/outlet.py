"""What is behind the border beside MCP: each has its paths, and says no in its own dialect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.types import Receive, Scope, Send

from gateway.domain.model import Principal
from gateway.domain.refusal import Refused
from gateway.edge.allowance import Allowances
from gateway.edge.head import Head
from gateway.edge.line import Headers

if TYPE_CHECKING:
    from gateway.edge.watch import Watch


class Progress(Protocol):
    """How far a request has come, for whoever has to say no to it."""

    method: str  # what it is about, once that is known
    unread: bool  # it has a body that nobody has read


@dataclass(slots=True)
class Visit:
    """One request that was let in at the door: its Host, Origin and credential are good."""

    scope: Scope
    receive: Receive
    send: Send
    head: Head
    principal: Principal
    address: str
    allowances: Allowances
    progress: Progress
    watch: Callable[[], Watch]  # `async with visit.watch() as watch:` around body and call


class Outlet(Protocol):
    """Serves what the door let in."""

    def has(self, path: str) -> bool: ...

    async def serve(self, visit: Visit) -> None:
        """Answer one request.

        Raises: Refused: to be entered in the log where it has no call id, and said by `say`.
        Vanished: there is nobody to answer.
        """
        ...

    async def say(self, send: Send, refused: Refused, headers: Headers) -> None:
        """Answer with a refusal; *headers* come in addition to its own."""
        ...

    async def say_fault(self, send: Send, call_id: str, headers: Headers) -> None:
        """Answer that something went wrong, and nothing of what."""
        ...

    def reseal(self, state_key: bytes) -> None:
        """Seal with another key from here on."""
        ...


class Counter(Protocol):
    """Serves strangers: Host and Origin are good, and who asks is for it to find out."""

    def has(self, path: str) -> bool: ...

    async def serve(self, scope: Scope, receive: Receive, send: Send, head: Head) -> None:
        """Answer one request, whatever is wrong with it."""
        ...
