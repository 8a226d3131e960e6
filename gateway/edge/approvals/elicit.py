"""How a caller hears that its call waits for an approval.

Newest era, elicitation by URL declared:

    <- {"resultType":"input_required","requestState":"ap.ch1....","inputRequests":{"approval":
        {"method":"elicitation/create","params":{"mode":"url","url":"https://.../approvals/A-..."}}}}
    -> the same call with that requestState: waits a while for the decision, then passes or asks again

Everybody else: a refusal with the link in it. They repeat the call when it is approved. The state
that goes back and forth decides nothing; whether the call may be made is judged anew each time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from gateway.domain.asking import ELICITATION, declared
from gateway.domain.model import Call
from gateway.domain.refusal import APPROVAL_DENIED, APPROVAL_NEEDED, Refused
from gateway.edge.approvals.bench import Bench
from gateway.edge.approvals.links import Links
from gateway.edge.errors import REFUSAL_META
from gateway.edge.methods import METHODS
from gateway.edge.reply import SERVER_INFO_META, Identification
from gateway.edge.state import MAX_ROUNDS, States

WAIT_S = 25.0  # for a decision, before the caller is asked again
_STATE, _RESPONSES = "requestState", "inputResponses"
_OURS = "ap."  # before a sealed state of ours: no upstream waits behind it
_QUESTION = "approval"
_EVERY_PROCESS = ""  # approvals outlive a restart, and so may the wait for them


class Begun(NamedTuple):
    """A call that comes back: what it waits for, how often it was told so, and what it says to it."""

    approval: str
    rounds: int
    goes_on: bool


class Elicitation:
    def __init__(self, bench: Bench, links: Links, state_key: bytes) -> None:
        self._bench = bench
        self._links = links
        self.reseal(state_key)

    def reseal(self, state_key: bytes) -> None:
        """Seal with another key from here on; calls that wait are made anew."""
        key = hmac.digest(state_key, b"customhouse approval rounds", hashlib.sha256)
        self._states = States(key, _EVERY_PROCESS)
        self._links.reseal(state_key)

    @staticmethod
    def is_ours(token: object) -> bool:
        return isinstance(token, str) and token.startswith(_OURS)

    def plain(self, call: Call) -> Call:
        """*call* without what it says to us: what is judged, and sent, is the call that was first."""
        params = {k: raw for k, raw in call.params.items() if k not in (_STATE, _RESPONSES)}
        return replace(call, params=params)

    def begun(self, call: Call, said: Mapping[str, Any], now_us: int) -> Begun | None:
        """What *call* (made plain) waits for, by the params that came; None: it comes first.

        Raises: Refused: BAD_STATE, TOO_MANY_ROUNDS.
        """
        token = said.get(_STATE)
        if not isinstance(token, str) or not token.startswith(_OURS):
            return None
        round_ = self._states.open(token[len(_OURS) :], call, now_us)
        answers = said.get(_RESPONSES)
        answer = answers.get(_QUESTION) if isinstance(answers, dict) else None
        goes_on = isinstance(answer, dict) and answer.get("action") == "accept"
        return Begun(round_.state.decode(), round_.number - 1, goes_on)

    async def wait(self, begun: Begun) -> None:
        """Until somebody has decided, or it is time to tell the caller something."""
        if begun.goes_on:
            await self._bench.decided(begun.approval, WAIT_S)

    def question(
        self, refused: Refused, call: Call, begun: Begun | None, own: Identification, now_us: int
    ) -> bytes | None:
        """The result that sends the caller's person to the page; None: it is told by a refusal."""
        approval_id = self._approval_of(refused, APPROVAL_NEEDED)
        again = begun is None or (begun.goes_on and begun.rounds < MAX_ROUNDS - 1)
        if not (approval_id and again and _can_be_asked(call)):
            return None
        ends_us = self._bench.expires_us(approval_id)
        rounds = begun.rounds + 1 if begun is not None else 1
        state = self._states.seal(replace(call, round=rounds), approval_id.encode(), now_us)
        message = (
            f"Somebody with the role {refused.detail.get('roles', '')} has to approve this call"
            f" ({approval_id}): open the page, or pass the link on."
        )
        params = {
            "mode": "url",
            "message": message,
            "url": self._links.link(approval_id, ends_us),
        }
        told = {**refused.detail, "code": refused.refusal.id, "call_id": refused.call_id}
        return msgspec.json.encode(
            {
                "resultType": "input_required",
                "inputRequests": {_QUESTION: {"method": "elicitation/create", "params": params}},
                "requestState": _OURS + state,
                "_meta": {REFUSAL_META: told, SERVER_INFO_META: msgspec.Raw(own.raw)},
            }
        )

    def told(self, refused: Refused) -> Refused:
        """The same with what only the caller is told, and no entry: the link, or the reason."""
        needed = self._approval_of(refused, APPROVAL_NEEDED)
        if needed:
            return self._with_link(refused, needed)
        denied = self._approval_of(refused, APPROVAL_DENIED)
        notice = self._bench.notice(denied) if denied else None
        if notice is None or not notice["reason"]:
            return refused
        detail = {**refused.detail, "problem": str(notice["reason"])}
        return Refused(refused.refusal, refused.call_id, detail)

    def _with_link(self, refused: Refused, approval_id: str) -> Refused:
        ends_us = self._bench.expires_us(approval_id)
        if not ends_us:
            return refused
        link, detail = self._links.link(approval_id, ends_us), refused.detail
        problem = (
            f"at {link} somebody with the role {detail.get('roles', '')} has to approve"
            f" {approval_id}, within {detail.get('expires_in_s', 0)} s"
        )
        said = {**detail, "url": link, "problem": problem}
        return Refused(refused.refusal, refused.call_id, said)

    @staticmethod
    def _approval_of(refused: Refused, row: object) -> str:
        found = refused.detail.get("approval", "") if refused.refusal is row else ""
        return str(found)


def _can_be_asked(call: Call) -> bool:
    """The first round of a call that may have rounds, by a client whose person opens pages."""
    row = METHODS.get(call.method)
    if row is None or not row.in_rounds or not call.client.modern or call.round > 1:
        return False
    return "url" in declared(call.client.capabilities).get(ELICITATION, frozenset())
