"""One request, from where its connection sees it: told of the response, fills the exchange."""

from __future__ import annotations

from collections.abc import Callable

from gateway.upstream.exchange import Exchange
from gateway.upstream.message import Message, UpstreamFailed, broken, parse
from gateway.upstream.response import Response
from gateway.upstream.sse import MESSAGE

_NONE_YET = Response()


class Post:
    """A call whose answer is in the response to its own request."""

    __slots__ = ("_aside", "answered", "exchange", "response")

    def __init__(
        self, exchange: Exchange, aside: Callable[[Exchange, Message], bool] | None = None
    ) -> None:
        """*aside* is shown what comes before the answer; what it takes does not go to the caller."""
        self.exchange = exchange
        self.response = _NONE_YET
        self.answered = False  # by a message that names this very request
        self._aside = aside

    @property
    def max_wire_bytes(self) -> int:
        return self.exchange.max_wire_bytes

    @property
    def status(self) -> int:
        """Of the response; 0 before there is one."""
        return self.response.status

    def begun(self) -> None:
        self.exchange.sent = True

    def headed(self, response: Response) -> bool:
        self.response = response
        if response.status >= 300:
            if response.status < 400 or not response.is_json:
                raise response.failure()
        elif not response.is_json and response.events is None:
            raise response.failure()
        return False

    def count(self, n_bytes: int) -> bool:
        return self.exchange.count(n_bytes)

    def take(self, kind: bytes, text: bytes) -> bool:
        if kind != MESSAGE:
            return False
        exchange, response = self.exchange, self.response
        refused = response.status >= 400
        try:
            message = parse(text)
        except UpstreamFailed as err:
            raise (response.failure() if refused else err) from None
        if message.method:
            if self._aside is None or not self._aside(exchange, message):
                exchange.deliver(message)
            return False
        self.answered = bytes(message.id) == exchange.id
        if not self.answered and not refuses_unread(message):
            raise response.failure() if refused else broken("the answer is for another request")
        if refused and not message.error:
            raise response.failure()
        exchange.deliver(message)
        return True

    def fail(self, failure: Exception) -> None:
        self.exchange.fail(failure)


def refuses_unread(message: Message) -> bool:
    """An error without an id: the upstream refused the request before it read that far."""
    return bool(message.error) and bytes(message.id) in {b"", b"null"}
