"""Tokens of the border itself: an agent comes for its own, and hands its rights on, narrower.

    planner = Applicant("http://127.0.0.1:8080", "planner", planners_key)
    own = await planner.own_token(scope=("tool/docs/*",), budget={"calls": 50})
    worker = Applicant("http://127.0.0.1:8080", "worker", workers_key)
    handed = await worker.token_from(own, scope=("tool/docs/search",), budget={"calls": 5})
    async with connect("http://127.0.0.1:8080/mcp", handed.secret) as border: ...

What the worker calls with it, it calls for the planner: both have to be allowed to, and the log
names both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from agents.client import CONNECT_S, BorderError, NoAnswer, Unreachable

DEADLINE_S = 20.0
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True, slots=True)
class Token:
    """What a token is worth; `secret` is what is sent."""

    secret: str = field(repr=False)
    scope: tuple[str, ...]
    expires_in_s: int


class TokenRefused(BorderError):
    """No token was given out. *error*: as OAuth calls it, such as "invalid_scope"."""

    def __init__(self, error: str, sentence: str) -> None:
        super().__init__(sentence)
        self.error = error
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Applicant:
    """An agent that asks for tokens at *border* (its URL, without a path), proving itself with its key."""

    border: str
    agent: str
    key: str = field(repr=False)

    async def own_token(
        self, *, scope: Sequence[str] = (), budget: Mapping[str, int] | None = None
    ) -> Token:
        """A token for itself: for the objects of *scope* (all it may use), within *budget*.

        Raises: TokenRefused, NoAnswer, Unreachable.
        """
        return await self._asked({"grant_type": "client_credentials"}, scope, budget)

    async def token_from(
        self, token: Token, *, scope: Sequence[str] = (), budget: Mapping[str, int] | None = None
    ) -> Token:
        """A token to act for whose *token* that is; what is not said is as in that one.

        Raises: TokenRefused: it would be wider, among others; NoAnswer, Unreachable.
        """
        given = {"subject_token": token.secret, "subject_token_type": ACCESS_TOKEN}
        return await self._asked({"grant_type": EXCHANGE, **given}, scope, budget)

    async def _asked(
        self, form: dict[str, str], scope: Sequence[str], budget: Mapping[str, int] | None
    ) -> Token:
        form |= {"scope": " ".join(scope)} if scope else {}
        form |= {"budget": json.dumps(dict(budget))} if budget else {}
        status, said = await self._posted(form)
        if status != httpx2.codes.OK:
            error = str(said.get("error", "server_error"))
            raise TokenRefused(error, str(said.get("error_description", error)))
        secret, scopes, ends = (said.get(k) for k in ("access_token", "scope", "expires_in"))
        if not (isinstance(secret, str) and isinstance(scopes, str) and isinstance(ends, int)):
            raise NoAnswer("what the token endpoint answered is no token")
        return Token(secret, tuple(scopes.split()), ends)

    async def _posted(self, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        try:
            with anyio.fail_after(DEADLINE_S):
                # Proxies of the environment are not used: they would see the key.
                async with httpx2.AsyncClient(trust_env=False, timeout=timeout) as http:
                    answer = await http.post(
                        f"{self.border}/oauth/token", data=form, auth=(self.agent, self.key)
                    )
            said = answer.json()
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as err:
            raise Unreachable(f"no border answers there ({type(err).__name__})") from err
        except (httpx2.TransportError, TimeoutError, ValueError) as err:
            raise NoAnswer("the token endpoint did not answer as one does") from err
        return answer.status_code, said if isinstance(said, dict) else {}
