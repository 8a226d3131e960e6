"""Models behind a provider's API that speaks like OpenAI's: one request, relayed as it is answered.

Nothing of the caller's request goes out but its body, which the edge has made, and its trace. A
stream is passed on event by event; its last one waits at the edge until the call is settled.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import TypeGuard

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.domain import refusal
from gateway.domain.definition import canonical
from gateway.domain.model import MODERN_VERSION, Outcome, Status, Usage
from gateway.domain.model_meter import answer_bytes_within, answer_ceiling, counted_prompt
from gateway.domain.model_stream import is_last
from gateway.upstream import knock
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Exchange, TooLarge, pass_on
from gateway.upstream.listing import Ask, Introduction
from gateway.upstream.message import (
    METHOD_NOT_FOUND,
    Message,
    UpstreamFailed,
    broken,
    decode_members,
)
from gateway.upstream.model_answer import Api, Tape, read_answer
from gateway.upstream.origin import Kept, with_body
from gateway.upstream.response import Response
from gateway.upstream.spec import ModelTransport, ServerSpec
from gateway.upstream.subscribe import Declined, Told

IDLE_S = 60.0  # between two events of a stream that has begun
MAX_WAITING_BYTES = 65_536  # read and not yet passed on: then the provider has to wait, too
REJECTED = frozenset({400, 413, 422, 429})  # the provider's own no, which its caller can act on
UNSERVED = frozenset({404, 405, 501})  # it knows no such path or model
MAX_SAID_CHARS = 1_000
# The provider was not reached, or does not let us in: no call of the model can come to anything.
_SHUT = frozenset(
    row.id
    for row in (
        refusal.UPSTREAM_UNREACHABLE,
        refusal.UPSTREAM_REFUSED,
        refusal.CREDENTIAL_MISSING,
    )
)
_NOT_OFFERED = msgspec.json.encode({"code": METHOD_NOT_FOUND, "message": "not offered"})
_APIS: Mapping[str, Api] = {api.value: api for api in Api}
_ON, _NULL = msgspec.Raw(b"true"), msgspec.Raw(b"null")


class ModelConnector:
    """One model. `run` may be called by any number of tasks at once, while `own` runs.

    Raises, when made: BadTarget.
    """

    def __init__(
        self, spec: ServerSpec, transport: ModelTransport, log: FilteringBoundLogger
    ) -> None:
        self._name = spec.name
        self._idle_s = min(IDLE_S, spec.timeout_s)
        self._transport = transport
        self._kept = Kept(transport.api)
        self._log = log
        self._without_credential = _cleaning(transport.api.auth_header_value)
        self._answers = False  # the provider did, when it was asked last
        self._failure = ""  # why it did not; "" also where it was never asked

    async def own(self) -> None:
        """Keep connections for the calls; close them at the end."""
        await self._kept.own()

    async def introduce(self, ask: Ask) -> Introduction:
        """What a model is, its operator says: its provider is not asked, and need not be there.

        Whether it answers, calls find out, and `customhouse server test`: see `knock`.
        """
        return Introduction(MODERN_VERSION, frozenset({"models"}))

    async def follow(self, uri: str, told: Told) -> None:
        raise Declined(_NOT_OFFERED)

    async def run(self, exchange: Exchange) -> Outcome:
        """One call. Raises: UpstreamFailed, TooLarge, RelayFailed."""
        method = exchange.call.method
        if method == "models/list":
            listed = canonical({"models": [{"name": self._name}]})
            exchange.take_up(len(listed))
            return Outcome(Status.OK, listed, sent=False)
        if method == knock.METHOD:
            return await self._knocked(exchange)
        api = _APIS.get(method)
        if api is None:
            return Outcome(Status.RPC_ERROR, error=_NOT_OFFERED, sent=False)
        return await self._noted(self._asked(exchange, api))

    def health(self) -> Mapping[str, int | str]:
        """`answers`: 1 when the provider did, when it was asked last; `failure`: why it did not."""
        answers = int(self._answers)
        return {"connections": self._kept.size, "answers": answers, "failure": self._failure}

    async def _noted(self, asked: Awaitable[Outcome]) -> Outcome:
        """*asked*, and what it says of the provider: one slow or broken answer of many says nothing."""
        try:
            outcome = await asked
        except UpstreamFailed as err:
            if err.code in _SHUT or not self._answers:
                self._answers, self._failure = False, err.sentence
            raise
        self._answers, self._failure = True, ""
        return outcome

    async def _knocked(self, exchange: Exchange) -> Outcome:
        """Whatever a knock fails with is said of the provider; until then, what was known of it."""
        try:
            return await self._noted(knock.knock(self._kept, exchange))
        except UpstreamFailed as err:
            self._answers, self._failure = False, err.sentence
            raise

    async def _asked(self, exchange: Exchange, api: Api) -> Outcome:
        self._kept.check_credential()
        connection = await self._kept.connected(exchange.deadline)
        reading = _Reading(exchange, api, self._idle_s, self._without_credential)
        reading.connection = connection
        connection.send(reading, self._request(exchange, api))
        try:
            return await reading.outcome()
        finally:
            if not connection.abandon(reading) and reading.is_resting:
                connection.read_on()

    def _request(self, exchange: Exchange, api: Api) -> bytes:
        call = exchange.call
        origin = self._kept.origin
        path = f"{origin.target.path.rstrip('/')}/{api.value}"
        lines = (f"traceparent: {call.trace}",) if call.trace else ()
        head = origin.head("POST", path, *lines)
        body = call.params["body"]
        if api is Api.CHAT and call.arguments.get("stream") is True:
            body = _telling_usage(body)
        return origin.signed(with_body(head, body), call)


class _Unserved(UpstreamFailed):
    """The provider knows nothing of what was asked: it made nothing."""


class _Reading:
    """One request and what is answered to it, from both sides: the connection's and the caller's."""

    def __init__(
        self, exchange: Exchange, api: Api, idle_s: float, cleaned: Callable[[str], str]
    ) -> None:
        arguments = exchange.call.arguments
        self.connection: Connection | None = None
        self._exchange = exchange
        self._api = api
        self._idle_s = idle_s
        self._cleaned = cleaned  # of our credential
        self._streams = arguments.get("stream") is True
        self._status = 0
        self._waiting_bytes = 0
        self.is_resting = False  # nothing more is read until the caller has taken what was
        self._prompt = counted_prompt(arguments)
        self._most_bytes = answer_bytes_within(answer_ceiling(arguments))
        options = arguments.get("stream_options")
        tells = isinstance(options, dict) and options.get("include_usage") is True
        self._tape = Tape(api, tells_usage=tells)
        exchange.counted = Usage(self._prompt, 0)

    # -- the connection's side -----------------------------------------------

    @property
    def max_wire_bytes(self) -> int:
        return self._exchange.max_wire_bytes

    def begun(self) -> None:
        self._exchange.sent = True

    def headed(self, response: Response) -> bool:
        self._status = status = response.status
        if status in REJECTED:
            response.is_json, response.events = True, None  # whatever it is said to be
            return False
        if status != 200:
            raise _failure(response)
        if self._streams and response.events is None:
            raise broken("a stream was asked for, and something else is the answer")
        if not self._streams and not response.is_json:
            raise broken("the answer is not said to be JSON")
        return False

    def count(self, n_bytes: int) -> bool:
        return self._exchange.count(n_bytes)

    def take(self, kind: bytes, text: bytes) -> bool:
        raw = msgspec.Raw(text)
        if self._status != 200:
            self._exchange.deliver(Message(error=raw if text else _NULL))
            return True
        if not self._streams:
            self._exchange.deliver(Message(result=raw))
            return True
        self._waiting_bytes += len(text)
        if self._waiting_bytes > MAX_WAITING_BYTES and self.connection is not None:
            self.is_resting = True
            self.connection.pause()
        self._exchange.deliver(Message(method=kind.decode("latin-1"), params=raw))
        return is_last(text, of_chat=self._api is Api.CHAT)

    def fail(self, failure: Exception) -> None:
        self._exchange.fail(failure)

    # -- the caller's side ---------------------------------------------------

    async def outcome(self) -> Outcome:
        """Raises: UpstreamFailed, TooLarge, RelayFailed."""
        try:
            message = await self._next(None)
        except _Unserved:
            call = self._exchange.call
            return self._rejected(_unserved(self._status, self._api, call.server))
        if message.error:
            return self._rejected(_error(self._status, bytes(message.error), self._cleaned))
        if not self._streams:
            return self._answered(bytes(message.result))
        while True:
            await self._relay(message)
            if self._tape.is_over:
                return self._ended()
            message = await self._next(self._idle_s)

    async def _next(self, within_s: float | None) -> Message:
        exchange = self._exchange
        while not exchange.messages:
            if exchange.failure is not None:
                raise exchange.failure.with_traceback(None)
            exchange.waiter = exchange.loop.create_future()
            try:
                async with asyncio.timeout(within_s):
                    await exchange.waiter
            except TimeoutError:
                sentence = f"the stream was silent for {within_s} s"
                raise UpstreamFailed(refusal.UPSTREAM_TIMEOUT.id, sentence) from None
        return exchange.messages.pop(0)

    async def _relay(self, message: Message) -> None:
        text = bytes(message.params)
        frame = self._tape.read(message.method.encode("latin-1"), text)
        self._exchange.counted = Usage(self._prompt, self._tape.completion_tokens)
        if self._tape.text_bytes > self._most_bytes:
            raise TooLarge
        if frame:
            await pass_on(self._exchange, frame)
        self._waiting_bytes -= len(text)
        if self.is_resting and self._waiting_bytes <= MAX_WAITING_BYTES // 2:
            self.is_resting = False
            if self.connection is not None:
                self.connection.read_on()

    def _ended(self) -> Outcome:
        tape = self._tape
        status = Status.TOOL_ERROR if tape.has_failed else Status.OK
        return self._made(status, tape.recorded, tape.usage)

    def _answered(self, body: bytes) -> Outcome:
        answer = read_answer(self._api, body)
        self._exchange.counted = Usage(self._prompt, -(-answer.text_bytes // 4))
        if self._api is not Api.EMBEDDINGS and answer.text_bytes > self._most_bytes:
            raise TooLarge
        return self._made(Status.OK, body, answer.usage)

    def _made(self, status: Status, result: bytes, usage: Usage | None) -> Outcome:
        exchange = self._exchange
        return Outcome(
            status,
            result,
            received_bytes=exchange.received_bytes,
            upstream_s=perf_counter() - exchange.began_s,
            usage=usage,
            counted=exchange.counted,
        )

    def _rejected(self, error: bytes) -> Outcome:
        """The provider does not take the request as it is: it made nothing, and nothing is owed for it."""
        exchange = self._exchange
        return Outcome(
            Status.RPC_ERROR,
            error=error,
            code=refusal.code_of_status(self._status),
            received_bytes=exchange.received_bytes,
            upstream_s=perf_counter() - exchange.began_s,
            counted=Usage(0, 0),
        )


def _failure(response: Response) -> UpstreamFailed:
    """Why *response* is neither an answer nor a no that its caller can act on."""
    status = response.status
    if status in {401, 403}:
        return response.failure()
    sentence = response.failure().sentence if 300 <= status < 400 else f"HTTP {status}"
    code = refusal.code_of_status(status)
    kind = _Unserved if status in UNSERVED else UpstreamFailed
    return kind(refusal.UPSTREAM_BROKEN.id, sentence, code)


def _unserved(status: int, api: Api, model: str) -> bytes:
    """What the provider said is left out: where it is no API of models, that may be anything."""
    where = f"POST .../{api.value}: check `url` and `model.id` of models.{model}."
    return msgspec.json.encode(
        {"code": status, "message": f"The provider answered {status} to {where}"}
    )


def _error(status: int, body: bytes, cleaned: Callable[[str], str]) -> bytes:
    """A provider's no: its status, and its words as far as they are in its API's shape."""
    said: object = None
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
        said = msgspec.json.decode(body)
    error = said.get("error") if isinstance(said, dict) else None
    words = error.get("message") if isinstance(error, dict) else None
    message = words if isinstance(words, str) else f"the provider answered HTTP {status}"
    told: dict[str, object] = {"code": status, "message": cleaned(message)[:MAX_SAID_CHARS]}
    if isinstance(error, dict):
        words_of = {key: error.get(key) for key in ("type", "param", "code")}
        told["data"] = {key: cleaned(one) for key, one in words_of.items() if _is_word(one)}
    return msgspec.json.encode(told)


def _cleaning(credential: str) -> Callable[[str], str]:
    """What cuts *credential*, with and without its scheme, out of a text: before it is shortened."""
    forms = {credential.strip(), credential.partition(" ")[2].strip()} - {""}
    if not forms:
        return str
    ranked = sorted(forms, key=len, reverse=True)
    found = re.compile("|".join(map(re.escape, ranked)), re.IGNORECASE)
    return lambda text: found.sub("[credential]", text)


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_SAID_CHARS


def _telling_usage(body: bytes) -> bytes:
    """The same request, whose answer says at its end what it used: it is charged by that."""
    members = decode_members(body)
    options = members.get("stream_options", _NULL)
    told = {**(decode_members(options) if options != _NULL else {}), "include_usage": _ON}
    return msgspec.json.encode({**members, "stream_options": told})
