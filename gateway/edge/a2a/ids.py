"""The names of tasks and contexts: callers know others than the peer does.

    peer      3f6c9f0e-6b7e-4c6a-9a57-0c9d1b0b8f11
    caller    cht-<base64url of what a key makes of it, for this owner and this peer>

The same name is made each time anew, so that nothing need be kept to find it, and it opens for its
owner only: what was never made, is another's or of another peer, is all the same. A context that the
caller has named itself has another name for the peer, made of the owner, so that two callers who
choose the same are not in one conversation.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.domain.base64url import base64url
from gateway.domain.peer_task import Owner
from gateway.edge.state import unsealed

_PURPOSE = b"customhouse ids of peers 1"
_TASK, _CONTEXT, _PUSH, _CURSOR = "cht-", "chc-", "chp-", "chl-"
MAX_SEALED_CHARS = 16_384
_NAMED = "chn-"


class Ids:
    """Seals deterministically (RFC 5297): equal names are equal, and say nothing else."""

    def __init__(self, state_key: bytes) -> None:
        made = HKDF(SHA256(), 96, salt=None, info=_PURPOSE).derive(state_key)
        self._siv, self._mac_key = AESSIV(made[:64]), made[64:]

    def task(self, owner: Owner, peer: str, upstream_id: str) -> str:
        return self._sealed(_TASK, upstream_id.encode(), _bound(owner, peer))

    def upstream_task(self, owner: Owner, peer: str, task_id: object) -> str | None:
        """What the peer calls it; None: there is none of that name for *owner*."""
        opened = self._opened(_TASK, task_id, _bound(owner, peer))
        return None if opened is None else opened.decode()

    def context(self, owner: Owner, peer: str, upstream_context: str) -> str:
        return self._sealed(_CONTEXT, upstream_context.encode(), _bound(owner, peer))

    def upstream_context(self, owner: Owner, peer: str, context: str) -> str:
        """What the peer calls it; a name that the gateway did not give is the caller's own."""
        opened = self._opened(_CONTEXT, context, _bound(owner, peer))
        if opened is not None:
            return opened.decode()
        said = b"\n".join((_bound(owner, peer), context.encode()))
        return _NAMED + hmac.new(self._mac_key, said, hashlib.sha256).hexdigest()[:32]

    def cursor(self, owner: Owner, peer: str, token: str) -> str:
        return self._sealed(_CURSOR, token.encode(), _bound(owner, peer))

    def upstream_cursor(self, owner: Owner, peer: str, cursor: object) -> str | None:
        opened = self._opened(_CURSOR, cursor, _bound(owner, peer))
        return None if opened is None else opened.decode()

    def mark(self, owner: Owner, peer: str, said: bytes) -> str:
        """What is the same for the same, and from which nothing can be read or tried out."""
        told = b"\n".join((b"mark", _bound(owner, peer), said))
        return hmac.new(self._mac_key, told, hashlib.sha256).hexdigest()

    def push(self, peer: str, target: bytes) -> str:
        """A word that stands for *target* in the URL that *peer* is given."""
        return self._sealed(_PUSH, target, peer.encode())

    def push_target(self, peer: str, word: str) -> bytes | None:
        return self._opened(_PUSH, word, peer.encode())

    def _sealed(self, prefix: str, plain: bytes, bound: bytes) -> str:
        sealed = self._siv.encrypt(plain, [prefix.encode(), bound])
        return prefix + base64url(sealed)

    def _opened(self, prefix: str, word: object, bound: bytes) -> bytes | None:
        if not isinstance(word, str) or not word.startswith(prefix):
            return None
        if len(word) > MAX_SEALED_CHARS or not word.isascii():
            return None
        try:
            return self._siv.decrypt(unsealed(word[len(prefix) :]), [prefix.encode(), bound])
        except (InvalidTag, ValueError):
            return None


def _bound(owner: Owner, peer: str) -> bytes:
    said = [peer, owner.tenant, owner.subject, list(owner.actors)]
    return json.dumps(said, separators=(",", ":")).encode()
