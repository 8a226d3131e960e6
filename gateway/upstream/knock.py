"""Whether a model's provider answers, and takes our credential: its list of models is asked for.

    GET {url}/models    401, 403: it does not take the credential. A redirect, 500 and above: it
                        does not answer as it should. All else, also a 404: it answers.

Nothing of the list is read: which model there is, its operator says.
"""

from __future__ import annotations

import msgspec

from gateway.domain.model import Outcome
from gateway.upstream.connection import Unread
from gateway.upstream.exchange import Exchange, conclude
from gateway.upstream.message import Message, broken
from gateway.upstream.origin import Kept
from gateway.upstream.response import Response

METHOD = "models/knock"  # of a request of our own, which no caller can make
_ANY_BYTES = 2**62  # the body is not read, so that its size is no matter


async def knock(kept: Kept, exchange: Exchange) -> Outcome:
    """Ask once, within the bounds of *exchange*. Raises: UpstreamFailed."""
    kept.check_credential()
    path = f"{kept.origin.target.path.rstrip('/')}/models"
    connection = await kept.connected(exchange.deadline)
    knocking = _Knocking(exchange)
    head = kept.origin.head("GET", path, "Accept: application/json")
    connection.send(knocking, kept.origin.signed(head + b"\r\n"))
    try:
        return await conclude(exchange)
    finally:
        connection.abandon(knocking)


def status_of(outcome: Outcome) -> int:
    """With which a knock was answered."""
    return int(msgspec.json.decode(outcome.result)["status"])


class _Knocking(Unread):
    """What a connection carries: the status is all that is wanted."""

    max_wire_bytes = _ANY_BYTES

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def begun(self) -> None:
        self._exchange.sent = True

    def headed(self, response: Response) -> bool:
        status = response.status
        if status in {401, 403} or 300 <= status < 400:
            raise response.failure()
        if status >= 500:
            raise broken(f"HTTP {status}")
        self._exchange.deliver(Message(result=msgspec.Raw(b'{"status":%d}' % status)))
        return True

    def fail(self, failure: Exception) -> None:
        self._exchange.fail(failure)
