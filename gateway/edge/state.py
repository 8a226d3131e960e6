"""What a caller carries between the rounds of one call: the upstream's state, sealed in ours.

    ch1.<base64url of nonce, ciphertext and tag>      the ciphertext is {"c":call,"r":round,"e":process,...}

The caller can neither read nor change it, and it opens only for the same principal asking for the
same object, under the same definition, with the same arguments, within ten minutes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.domain.base64url import base64url
from gateway.domain.model import Call, Principal
from gateway.domain.refusal import BAD_STATE, RATE_LIMITED, TOO_MANY_ROUNDS, Refused

MAX_ROUNDS = 8
LIFETIME_US = 600 * 1_000_000
_CLOCK_SLACK_US = 60 * 1_000_000
MAX_SPENT = 100_000
MAX_SPENT_OF_ONE = 5_000  # whoever acts for many is still one
_PREFIX = "ch1."
_NONCE_BYTES = 12
Who = tuple[str, str]  # tenant and subject


@dataclass(frozen=True, slots=True)
class Round:
    """A later round of a call that began before: which call, which round, the upstream's state."""

    call_id: str
    number: int
    state: bytes  # raw JSON as the upstream gave it; b"" when it gave none
    run: str = ""  # that the call is part of, whatever this round says


class _Claims(
    msgspec.Struct,
    rename={
        "call_id": "c",
        "number": "r",
        "sealed_us": "t",
        "epoch": "e",
        "state": "s",
        "run": "u",
    },
):
    call_id: str
    number: int
    sealed_us: int
    epoch: str
    state: str = ""
    run: str = ""


class _Spent(NamedTuple):
    until_us: int  # then it would not open any more anyway
    who: Who


class States:
    """Seals and opens requestState under one 32-byte key.

    What was spent is kept in memory: *epoch*, new in every process, is sealed in as well, so that
    a state of an earlier process, spent or not, begins nothing.
    """

    def __init__(self, key: bytes, epoch: str) -> None:
        if len(key) != 32:
            raise ValueError(f"the state key must have 32 bytes, it has {len(key)}")
        self._cipher = AESGCM(key)
        self._epoch = epoch
        self._spent: dict[bytes, _Spent] = {}  # by the digest of a token, oldest first
        self._counts: Counter[Who] = Counter()

    def seal(self, call: Call, upstream_state: bytes, now_us: int) -> str:
        """A requestState that continues *call* with its next round."""
        claims = _Claims(
            call.id, call.round + 1, now_us, self._epoch, upstream_state.decode(), call.run
        )
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, msgspec.json.encode(claims), _bound_to(call))
        return _PREFIX + base64url(nonce + sealed)

    def open(self, token: object, call: Call, now_us: int) -> Round:
        """The round that *token* continues, if *call* is the call it was sealed for.

        Raises: Refused: BAD_STATE, without saying which of its bindings failed; TOO_MANY_ROUNDS.
        """
        claims = self._claims(token, call)
        if claims.epoch != self._epoch:
            raise Refused(BAD_STATE, claims.call_id, {"problem": "the gateway has restarted since"})
        age_us = now_us - claims.sealed_us
        if not -_CLOCK_SLACK_US <= age_us <= LIFETIME_US:
            raise Refused(BAD_STATE, claims.call_id)
        if claims.number > MAX_ROUNDS:
            raise Refused(TOO_MANY_ROUNDS, claims.call_id, {"limit": MAX_ROUNDS})
        return Round(claims.call_id, claims.number, claims.state.encode(), claims.run)

    def spend(self, token: str, principal: Principal, now_us: int) -> None:
        """Let *token* begin one round only: later rounds cost no call, so a replay would be free.

        Raises: Refused: BAD_STATE when it did already; RATE_LIMITED while so many are kept, of
        *principal* or in all, that another could only be kept in the place of one still good.
        """
        while (oldest := next(iter(self._spent), None)) and self._spent[oldest].until_us <= now_us:
            self._forget(oldest)
        key, who = _digest(token), (principal.tenant, principal.subject)
        if key in self._spent:
            raise Refused(BAD_STATE)
        if len(self._spent) >= MAX_SPENT or self._counts[who] >= MAX_SPENT_OF_ONE:
            raise Refused(RATE_LIMITED, detail={"problem": "too many calls are asking for input"})
        self._spent[key] = _Spent(now_us + LIFETIME_US + _CLOCK_SLACK_US, who)
        self._counts[who] += 1

    def restore(self, token: str) -> None:
        """The round was refused before anything was sent: the caller may try it again."""
        key = _digest(token)
        if key in self._spent:
            self._forget(key)

    def _forget(self, key: bytes) -> None:
        who = self._spent.pop(key).who
        self._counts[who] -= 1
        if not self._counts[who]:
            del self._counts[who]

    def _claims(self, token: object, call: Call) -> _Claims:
        if not isinstance(token, str) or not token.startswith(_PREFIX):
            raise Refused(BAD_STATE)
        try:
            sealed = unsealed(token[len(_PREFIX) :])
            nonce, sealed = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            plain = self._cipher.decrypt(nonce, sealed, _bound_to(call))
        except (InvalidTag, ValueError):
            raise Refused(BAD_STATE) from None
        return msgspec.json.decode(plain, type=_Claims)


def _bound_to(call: Call) -> bytes:
    """Everything a round must have in common with the round before it."""
    who = call.principal
    definition = call.definition.digest if call.definition else ""
    bindings = [who.tenant, who.subject, list(who.actors), call.method, call.object, definition]
    return b"customhouse/state/1\n" + _canonical([*bindings, _arguments_digest(call.arguments)])


def spent_mark(call: Call) -> str:
    """What only one round may begin with, however often the state that leads to it was sealed."""
    state = hashlib.sha256(call.params.get("requestState", b"")).hexdigest()
    return f"{call.id} {call.round} {state}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()  # a token may hold megabytes of upstream state


def _arguments_digest(arguments: Any) -> str:
    # Canonical, not raw: a client that serialises the same arguments again may order them anew.
    return hashlib.sha256(_canonical(arguments)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def unsealed(text: str) -> bytes:
    """The bytes that base64url *text* stands for. Raises: ValueError: it is not their one spelling."""
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if base64url(plain) != text:
        raise ValueError("not canonical: one sealed state has one spelling")
    return plain
