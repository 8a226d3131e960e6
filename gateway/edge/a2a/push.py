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

from gateway.domain.a2a import members_of
from gateway.domain.model import Principal
from gateway.domain.peer_task import Owner
from gateway.domain.refusal import bad_params
from gateway.edge.a2a.asked import PREFIX, PUSH, Asked
from gateway.edge.a2a.ids import MAX_SEALED_CHARS
from gateway.edge.a2a.tasks import Tasks

_LIST, _DELETE = "ListTaskPushNotificationConfigs", "DeleteTaskPushNotificationConfig"
_PLAIN = re.compile(r"[\x20-\x7e]{0,2048}")
_SCHEME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_OWN = ("url", "token", "authentication")
_MEMBERS = frozenset({"tenant", "id", "taskId", *_OWN})


class BadAnswer(Exception):
    """What the peer answered is no configuration, or not only that."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom to tell of what belongs to *who*, and how: as the caller said it."""

    who: Principal
    url: str
    token: str = ""
    scheme: str = ""
    credentials: str = ""
    run: str = ""  # in which it was asked for: with it, telling stops

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

    def inward(
        self, who: Principal, peer: str, config: Mapping[str, Any], run: str = ""
    ) -> dict[str, Any]:
        """*config* as the peer may read it. Raises: Refused: BAD_PARAMS."""
        url, token = config.get("url"), config.get("token", "")
        auth = members_of(config.get("authentication"))
        scheme, credentials = auth.get("scheme", ""), auth.get("credentials", "")
        for name, value in (("url", url), ("token", token), ("credentials", credentials)):
            if not isinstance(value, str) or not _PLAIN.fullmatch(value):
                raise bad_params(f"{name} must be at most 2048 characters of plain ASCII")
        if scheme and not (isinstance(scheme, str) and _SCHEME.fullmatch(scheme)):
            raise bad_params("authentication.scheme is no name of a scheme")
        objection = self._reach.objection(peer, str(url))
        if objection:
            raise bad_params(f"nobody is told at this url: {objection}")
        target = Target(who, str(url), token, scheme, credentials, run)
        word = self._tasks.ids.push(peer, msgspec.json.encode(target))
        if len(word) > MAX_SEALED_CHARS // 2:
            raise bad_params("url, token and credentials are too long together")
        kept = {name: config[name] for name in ("id", "taskId") if name in config}
        return {**kept, "url": self._url(peer) + word}

    def marked(self, who: Principal, peer: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """*config* without its credentials, and with what is another where they are others."""
        said = msgspec.json.encode([config.get("token"), config.get("authentication")])
        kept = {name: config[name] for name in ("id", "url") if name in config}
        return {**kept, "secret": self._tasks.ids.mark(Owner.of(who), peer, said)}

    def outward(self, who: Principal, asked: Asked, answer: Any) -> Any:
        """An answer with configurations as *who* made them; in lists, those of others are left out.

        Raises: BadAnswer.
        """
        if asked.method == _DELETE:
            if answer not in (None, {}):
                raise BadAnswer
            return answer
        if asked.method != _LIST:
            own = self._own(who, asked, answer)
            if own is None:
                raise BadAnswer
            return own
        if not isinstance(answer, dict) or not answer.keys() <= {"configs", "nextPageToken"}:
            raise BadAnswer
        configs, token = answer.get("configs", []), answer.get("nextPageToken", "")
        if not isinstance(configs, list) or not isinstance(token, str):
            raise BadAnswer
        told = [self._own(who, asked, one) for one in configs]
        return {**answer, "configs": [one for one in told if one is not None]}

    def target(self, peer: str, word: str) -> Target | None:
        """Whom a word stands for; None: it was not sealed here, or for another peer."""
        plain = self._tasks.ids.push_target(peer, word)
        return None if plain is None else msgspec.json.decode(plain, type=Target)

    def _own(self, who: Principal, asked: Asked, config: Any) -> dict[str, Any] | None:
        """*config* as *who* made it; None: it is another's. Raises: BadAnswer."""
        _check(asked, config)
        target = self.target(asked.peer, config["url"].rpartition("/")[2])
        if target is None or Owner.of(target.who) != Owner.of(who):
            return None
        told = {name: config[name] for name in ("id", "taskId") if name in config}
        told["url"] = target.url
        if target.token:
            told["token"] = target.token
        if target.scheme:
            auth = {"scheme": target.scheme, "credentials": target.credentials}
            told["authentication"] = {name: said for name, said in auth.items() if said}
        return told

    def _url(self, peer: str) -> str:
        return f"{self._reach.base}{PREFIX}{peer}/{PUSH}/"


def _check(asked: Asked, config: Any) -> None:
    """Raises: BadAnswer: *config* is none, or is of another task or name than was asked about."""
    if not isinstance(config, dict) or not config.keys() <= _MEMBERS:
        raise BadAnswer
    named, wanted = asked.params.get("id"), asked.params.get("taskId")
    if not all(isinstance(config.get(name, ""), str) for name in ("id", "taskId", "url")):
        raise BadAnswer
    if "url" not in config or config.get("taskId", wanted) != wanted:
        raise BadAnswer
    if asked.method != _LIST and named and config.get("id", named) != named:
        raise BadAnswer
