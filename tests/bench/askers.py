"""Callers of what is beside MCP: of models, of an agent, and of the token endpoint."""

import itertools
from base64 import b64encode
from urllib.parse import urlencode

import msgspec

from tests.bench.answers import EVENTS
from tests.bench.load import Target, WrongReply
from tests.bench.wire import Client, connect

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_JSON, _SSE, _FORM = "application/json", "text/event-stream", "application/x-www-form-urlencoded"
_numbers = itertools.count(1)


class _Given(msgspec.Struct):
    access_token: str


class Asker:
    """One caller on one kept connection; unique texts, and no answer goes unchecked."""

    def __init__(self, client: Client, target: Target, authorization: str = "") -> None:
        self._client = client
        self._head = (
            f"POST {target.path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
            f"Authorization: {authorization or f'Bearer {target.token}'}\r\nA2A-Version: 1.0\r\n"
        )

    async def chat(self) -> None:
        """One completion. Raises: WrongReply, as all of these."""
        text = f"chat-{next(_numbers):012x}"
        _holds(await self._post(_chat(text)), text)

    async def chat_streamed(self) -> None:
        """The same as a stream, to its last event."""
        text = f"chat-{next(_numbers):012x}"
        body = await self._post(_chat(text, b',"stream":true'), accept=_SSE)
        _holds(body, text)
        holds_every_event(body, b'"delta"')
        _holds(body, "data: [DONE]")

    async def send(self) -> None:
        """One message to the agent, and the task it makes."""
        text = f"send-{next(_numbers):012x}"
        body = await self._post(_message("SendMessage", text))
        _holds(body, text)
        _holds(body, "TASK_STATE_COMPLETED")

    async def send_streamed(self) -> None:
        """The same as a stream, to the last word on the task."""
        text = f"send-{next(_numbers):012x}"
        body = await self._post(_message("SendStreamingMessage", text), accept=_SSE)
        _holds(body, text)
        holds_every_event(body, b'"artifactUpdate"')
        _holds(body, "TASK_STATE_COMPLETED")

    async def token(self, **form: str) -> str:
        """A token of the gateway."""
        body = await self._post(urlencode(form).encode(), _FORM)
        try:
            return msgspec.json.decode(body, type=_Given).access_token
        except msgspec.DecodeError as err:
            raise WrongReply(f"no token: {err}") from err

    async def _post(self, body: bytes, kind: str = _JSON, accept: str = _JSON) -> bytes:
        lines = f"Content-Type: {kind}\r\nAccept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
        message = await self._client.ask(f"{self._head}{lines}".encode() + body)
        if message.status != 200:
            said = message.body[:300].decode(errors="replace")
            raise WrongReply(f"HTTP {message.status}: {said}")
        return message.body

    def close(self) -> None:
        self._client.transport.close()


def basic(name: str, secret: str) -> str:
    """The credential of the client *name*."""
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


async def asker(target: Target, authorization: str = "") -> Asker:
    """A caller with a connection of its own."""
    return Asker(await connect(target.port), target, authorization)


def _chat(text: str, more: bytes = b"") -> bytes:
    said = b'{"model":"chatty","messages":[{"role":"user","content":"%b"}]%b}'
    return said % (text.encode(), more)


def _message(method: str, text: str) -> bytes:
    message = {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}]}
    params = {"message": message}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def _holds(body: bytes, text: str) -> None:
    if text.encode() not in body:
        raise WrongReply(f"expected {text}, got {body[:300]!r}")


def holds_every_event(body: bytes, member: bytes) -> None:
    """Raises: WrongReply: a stream whose events have *member* lost one, or told one twice."""
    if body.count(member) != EVENTS:
        raise WrongReply(f"expected {EVENTS} events, got {body.count(member)}")
