"""Where a caller wants to be told of its task, and what the peer is given in its place.

    caller    {"url":"https://agent.example/hook","token":"t","authentication":{...}}
    peer      {"url":"https://gateway.example/a2a/<peer>/push/chp-..."}

All that the caller said, and who it is, is sealed in the word at the end: nothing is kept, the peer
learns neither where it leads nor any credential, and only what the gateway has sealed leads anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.domain.model import Principal
from gateway.domain.peer_task import Owner
from gateway.domain.refusal import BAD_PARAMS, Refused
from gateway.edge.a2a.asked import PREFIX, PUSH, members_of
from gateway.edge.a2a.ids import MAX_SEALED_CHARS
from gateway.edge.a2a.tasks import Tasks

_PLAIN = re.compile(r"[\x20-\x7e]{0,2048}")
_SCHEME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OWN = ("url", "token", "authentication")


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom to tell of what belongs to *who*, and how: as the caller said it."""

    who: Principal
    url: str
    token: str = ""
    scheme: str = ""
    credentials: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The credentials by which the caller knows that it is told by whom it asked."""
        token = (("X-A2A-Notification-Token", self.token),) if self.token else ()
        if not (self.scheme and self.credentials):
            return token
        return (*token, ("Authorization", f"{self.scheme} {self.credentials}"))


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the gateway is reached, and where it may be sent.

    *objection*: why no caller may have itself told at a URL; "" when it may.
    """

    base: str  # https://gateway.example
    objection: Callable[[str, str], str]  # of a peer, and a URL


class Pushes:
    def __init__(self, tasks: Tasks, reach: Reach) -> None:
        self._tasks = tasks
        self._reach = reach

    def inward(self, who: Principal, peer: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """*config* as the peer may read it. Raises: Refused: BAD_PARAMS."""
        url, token = config.get("url"), config.get("token", "")
        auth = members_of(config.get("authentication"))
        scheme, credentials = auth.get("scheme", ""), auth.get("credentials", "")
        for name, value in (("url", url), ("token", token), ("credentials", credentials)):
            if not isinstance(value, str) or not _PLAIN.fullmatch(value):
                raise _bad(f"{name} must be at most 2048 characters of plain ASCII")
        if scheme and not (isinstance(scheme, str) and _SCHEME.fullmatch(scheme)):
            raise _bad("authentication.scheme is no name of a scheme")
        objection = self._reach.objection(peer, str(url))
        if objection:
            raise _bad(f"nobody is told at this url: {objection}")
        target = Target(who, str(url), token, scheme, credentials)
        word = self._tasks.ids.push(peer, msgspec.json.encode(target))
        if len(word) > MAX_SEALED_CHARS // 2:
            raise _bad("url, token and credentials are too long together")
        kept = {name: value for name, value in config.items() if name not in _OWN}
        return {**kept, "url": self._url(peer) + word}

    def outward(self, who: Principal, peer: str, answer: Any) -> Any:
        """An answer with configurations as *who* made them; those of others are left out."""
        if not isinstance(answer, dict):
            return answer
        if isinstance(answer.get("configs"), list):
            told = [self._own(who, peer, one) for one in answer["configs"]]
            return {**answer, "configs": [one for one in told if one is not None]}
        if "url" not in answer:
            return answer
        own = self._own(who, peer, answer)
        return own if own is not None else {}

    def target(self, peer: str, word: str) -> Target | None:
        """Whom a word stands for; None: it was not sealed here, or for another peer."""
        plain = self._tasks.ids.push_target(peer, word)
        return None if plain is None else msgspec.json.decode(plain, type=Target)

    def _own(self, who: Principal, peer: str, config: Any) -> dict[str, Any] | None:
        url = members_of(config).get("url")
        word = url.rpartition("/")[2] if isinstance(url, str) else ""
        target = self.target(peer, word)
        if target is None or Owner.of(target.who) != Owner.of(who):
            return None
        told = {name: value for name, value in config.items() if name not in (*_OWN, "tenant")}
        told["url"] = target.url
        if target.token:
            told["token"] = target.token
        if target.scheme:
            auth = {"scheme": target.scheme, "credentials": target.credentials}
            told["authentication"] = {name: said for name, said in auth.items() if said}
        return told

    def _url(self, peer: str) -> str:
        return f"{self._reach.base}{PREFIX}{peer}/{PUSH}/"


def _bad(problem: str) -> Refused:
    return Refused(BAD_PARAMS, detail={"problem": problem})
