"""What callers of the older era are asked while a call of theirs is open, and what they answer.

    <- event of the open response    {"jsonrpc":"2.0","id":"ask-1","method":"elicitation/create",...}
    -> a POST of the same session    {"jsonrpc":"2.0","id":"ask-1","result":{"action":"accept",...}}

An answer counts once, for a question that this very session was asked and that is still open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Protocol

import anyio
import msgspec

from gateway.domain import refusal
from gateway.domain.meter import bytes_within
from gateway.domain.model import Outcome, Permit, Status
from gateway.domain.refusal import MALFORMED, Refused
from gateway.edge.reply import OWN_META_PREFIX
from gateway.edge.strict import Response

PATIENCE_S = 300.0  # for what a person takes, over all questions of one call
_TELL_S = 1.0
_NOT_OURS = frozenset({"progressToken"})  # nobody here would hear of the progress
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unanswered(Exception):
    """The caller gave no answer: it cannot be asked, left, or took too long."""


class Stream(Protocol):
    """The open response of the call that the question is about."""

    @property
    def hears(self) -> bool:
        """Whether what is told can reach the caller at all."""
        ...

    async def tell(self, frame: bytes) -> None: ...


class Asks:
    """The questions of one session that have no answer yet."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Future[Response]] = {}
        self._count = 0

    def answer(self, response: Response) -> None:
        """Raises: Refused: MALFORMED: nobody waits for this answer, in this session."""
        waiting = self._open.pop(response.key, None) if isinstance(response.key, str) else None
        if waiting is None or waiting.done():
            raise Refused(MALFORMED, detail={"problem": "there is no open request of this id"})
        waiting.set_result(response)

    async def put(
        self, stream: Stream, method: str, params: Mapping[str, bytes], within_s: float
    ) -> Response:
        """Ask, and wait for the answer. Raises: Unanswered."""
        if not stream.hears:
            raise Unanswered
        self._count += 1
        key = f"ask-{self._count}"
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._open[key] = waiting
        try:
            async with asyncio.timeout(within_s):
                await stream.tell(_request(key, method, params))
                return await waiting
        except TimeoutError:
            raise Unanswered from None
        finally:
            if self._open.pop(key, None) is not None:
                with anyio.move_on_after(_TELL_S, shield=True):
                    await stream.tell(_withdrawal(key))


class Respondent:
    """The caller of one call, as the pipeline asks it."""

    def __init__(self, stream: Stream, asks: Asks | None) -> None:
        """*asks*: of the caller's session; None in the newest era, where there is none."""
        self._stream = stream
        self._asks = asks
        self.patience_s = PATIENCE_S

    async def ask(self, permit: Permit) -> Outcome:
        """The caller's answer to what the permitted call asks; a failure is an outcome, too."""
        if self._asks is None:
            code = refusal.NOT_SUPPORTED_ACROSS_ERAS.id
            return Outcome(Status.FAILED, code=code, sent=False)
        call, began_s = permit.call, perf_counter()
        try:
            said = await self.question(call.method, call.params)
        except Unanswered:
            return Outcome(Status.FAILED, code=refusal.UNANSWERED.id, sent=self._stream.hears)
        n_bytes, took_s = len(said.result) + len(said.error), perf_counter() - began_s
        if n_bytes > bytes_within(permit.ceiling_tokens):
            code = refusal.RESULT_TOO_LARGE.id
            return Outcome(Status.TOO_LARGE, b"", b"", code, n_bytes, took_s)
        status = Status.RPC_ERROR if said.error else Status.OK
        return Outcome(status, said.result, said.error, "", n_bytes, took_s)

    async def question(self, method: str, params: Mapping[str, bytes]) -> Response:
        """Raises: Unanswered."""
        if self._asks is None or self.patience_s <= 0:
            raise Unanswered
        began_s = perf_counter()
        try:
            return await self._asks.put(self._stream, method, params, self.patience_s)
        finally:
            self.patience_s -= perf_counter() - began_s


def _request(key: str, method: str, params: Mapping[str, bytes]) -> bytes:
    said = {name: msgspec.Raw(raw) for name, raw in params.items()}
    if "_meta" in said and not _cleaned(said):
        del said["_meta"]
    request = {"jsonrpc": "2.0", "id": key, "method": method, "params": said}
    return msgspec.json.encode(request)


def _cleaned(said: dict[str, msgspec.Raw]) -> bool:
    """Leave in `_meta` what a server may say in it; False when that is nothing."""
    try:
        meta = _MEMBERS.decode(said["_meta"])
    except msgspec.MsgspecError:
        return False
    kept = {
        key: raw
        for key, raw in meta.items()
        if key not in _NOT_OURS and not key.startswith(OWN_META_PREFIX)
    }
    said["_meta"] = msgspec.Raw(msgspec.json.encode(kept))
    return bool(kept)


def _withdrawal(key: str) -> bytes:
    params = {"requestId": key, "reason": "no longer needed"}
    said = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    return msgspec.json.encode(said)
