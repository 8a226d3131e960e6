"""The page where somebody decides on a call: a link that is signed, and a credential of one's own.

GET   /approvals/A-...?exp=...&sig=...   who asks for what, and until when
POST  the same, as a form                credential, action: show | approve | deny, reason, calls

No cookie is set or read, so that no other page can decide in anybody's name. Whoever decides does so
under the same rights and rules as over the API, and so does whoever looks at arguments.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from gateway.domain.approval import MAX_CALLS
from gateway.domain.model import Act, Call, CallClass, Kind, Principal, Verdict
from gateway.domain.operator import OperationRefused
from gateway.domain.refusal import FORBIDDEN, MALFORMED, NOT_AUTHENTICATED, RATE_LIMITED, Refused
from gateway.domain.window import when
from gateway.edge.api.desk import EVERY_TENANT, Desk, Errand, Withdrawn
from gateway.edge.api.problem import Declined
from gateway.edge.approvals import markup
from gateway.edge.approvals.attempts import Attempts
from gateway.edge.approvals.bench import Bench
from gateway.edge.approvals.links import PATH, PREFIX, Links
from gateway.edge.arrival import address_of, read_body
from gateway.edge.authn import KeyUnknown, identify
from gateway.edge.head import Head
from gateway.edge.house import Clock, Identity, Pipeline, Policies
from gateway.edge.ids import new_call_id
from gateway.edge.line import Headers, respond
from gateway.edge.reply import Answer

MAX_FORM_BYTES = 16_384
FORM_S = 10.0
FORM_TYPE = "application/x-www-form-urlencoded"
_FIELDS = frozenset({"credential", "action", "reason", "calls"})
_OPERATION = {
    "show": "approval.arguments",
    "approve": "approval.approve",
    "deny": "approval.deny",
}
_CALLS = re.compile("[1-9][0-9]{0,3}", re.ASCII)
_DEAD = markup.plain_page(
    "This link is not good", "It was changed, or its time is over. Ask for a new one."
)
_OVER = markup.plain_page(
    "Nothing waits here any more",
    "The call was made, or nobody decided in time. It may be asked anew.",
)
_BROKEN = markup.plain_page("This form is not complete", "Open the link again.")
Form = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Means:
    """What the page stands on."""

    bench: Bench
    links: Links
    desk: Desk
    pipeline: Pipeline
    policies: Policies
    identity: Identity
    renewed: (
        Callable[[str], Awaitable[None]] | None
    )  # fetches the keys of an issuer, where there are issuers
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Guest:
    """One form that was sent: for which approval, and from where."""

    approval: str
    address: str
    form: Form


class ApprovalPage:
    """A counter: whoever comes is a stranger until the form says otherwise."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._attempts = Attempts()

    def has(self, path: str) -> bool:
        return path.startswith(PREFIX)

    async def serve(self, scope: Scope, receive: Receive, send: Send, head: Head) -> None:
        means, path = self._means, PATH.fullmatch(scope["path"])
        verb = scope["method"]
        if verb not in ("GET", "HEAD", "POST"):
            await _say(send, 405, b"", [(b"allow", b"GET, HEAD, POST")])
            return
        if path is None or not means.links.is_good(path[1], scope["query_string"], means.clock()):
            await _say(send, 404, _DEAD)
            return
        row = means.bench.notice(path[1])
        if row is None:
            await _say(send, 410, _OVER)
            return
        if verb != "POST":
            page = markup.notice_page(row, self._now())
            await _say(send, 200, b"" if verb == "HEAD" else page)
            return
        form = await _form(receive, head)
        if form is None:
            await _say(send, 400, _BROKEN)
            return
        status, page, headers = await self._sent(_Guest(path[1], address_of(scope), form), row)
        await _say(send, status, page, headers)

    async def _sent(self, guest: _Guest, row: Mapping[str, Any]) -> tuple[int, bytes, Headers]:
        """What becomes of a form."""
        means = self._means
        wait_s = self._attempts.wait_s(guest.approval, guest.address, means.clock())
        if wait_s:
            page = self._no(row, f"Too many wrong credentials. Try again in {wait_s} s.")
            return 429, page, [(b"retry-after", b"%d" % wait_s)]
        who: Principal | None = None
        try:
            who = await self._identified(guest.form["credential"])
            return 200, await self._done(guest, who), []
        except OperationRefused as said:
            await self._entered(Declined(said), who, guest)
            return 403, self._no(row, f"{said.what}: {said.why}. To mend it: {said.fix}."), []
        except Withdrawn:
            await self._entered(Refused(FORBIDDEN), who, guest)
            return 403, self._no(row, "You have lost the right to decide here."), []
        except Refused as refused:
            if who is None:
                self._attempts.failed(guest.approval, guest.address, means.clock())
            await self._entered(refused, who, guest)
            status = 401 if who is None else 403
            return status, self._no(row, _words(refused, known=who is not None)), []

    async def _identified(self, credential: str) -> Principal:
        """As at the door, where the credential stands in a header. Raises: Refused."""
        means = self._means
        try:
            head = Head({b"authorization": b"Bearer " + credential.strip().encode("ascii")})
        except UnicodeEncodeError:
            raise Refused(NOT_AUTHENTICATED) from None
        try:
            return identify(means.identity, head, b"", means.clock())
        except KeyUnknown as unknown:
            if means.renewed is not None:
                await means.renewed(unknown.issuer)
            return identify(means.identity, head, b"", means.clock())

    async def _done(self, guest: _Guest, who: Principal) -> bytes:
        """Raises: Refused, OperationRefused, Withdrawn."""
        desk, form = self._means.desk, guest.form
        operation = _OPERATION[form["action"]]
        act = Act.READ if form["action"] == "show" else Act.ADMIN
        call = await self._let_in(who, operation, act)
        tenant = EVERY_TENANT if desk.spans_tenants(call) else who.tenant

        def holds() -> bool:
            return self._still(call, tenant)

        args: dict[str, Any] = {"approval": guest.approval}
        if act is Act.READ:
            found = await desk.look(Errand(who, tenant, operation, args, holds=holds))
            return markup.decision_page(found.value, self._now())
        args["reason"] = form.get("reason", "")
        if form["action"] == "approve" and form.get("calls"):
            args["calls"] = int(form["calls"])
        # Whoever does not see it does not decide on it.
        await desk.look(Errand(who, tenant, "approval.show", {"approval": guest.approval}))
        done = await desk.carry_out(Errand(who, tenant, operation, args), None, holds)
        return markup.decided_page(done, self._now())

    async def _let_in(self, who: Principal, operation: str, act: Act) -> Call:
        """The same right as over the API. Raises: Refused, which is in the log."""
        call = Call(
            id=new_call_id(self._means.clock()),
            principal=who,
            method=f"page/{operation}",
            kind=Kind.ADMIN,
            server="",
            name="approvals",
            act=act,
            weight=CallClass.SINGLE,
        )
        await self._means.pipeline.enter(call)
        if who.was_handed_out or (act is Act.ADMIN and who.actors):
            raise Refused(FORBIDDEN)
        return call

    def _still(self, call: Call, tenant: str) -> bool:
        means = self._means
        if not means.identity.is_live(call.principal, means.clock()):
            return False
        if means.policies.decide(call).verdict is not Verdict.ALLOW:
            return False
        return tenant != EVERY_TENANT or means.desk.spans_tenants(call)

    async def _entered(self, refused: Refused, who: Principal | None, guest: _Guest) -> None:
        if not refused.call_id:  # else the pipeline said so, and entered it
            method = f"page/{_OPERATION[guest.form['action']]}"
            await self._means.pipeline.refuse(refused.refusal, who, guest.address, method)

    def _no(self, row: Mapping[str, Any], problem: str) -> bytes:
        return markup.notice_page(row, self._now(), problem)

    def _now(self) -> str:
        return when(self._means.clock())[:19] + "Z"


async def _form(receive: Receive, head: Head) -> Form | None:
    """The fields that were sent, each once; None: it is no form of ours."""
    if head.get(b"content-type").split(b";")[0].strip().lower() != FORM_TYPE.encode():
        return None
    try:
        async with asyncio.timeout(FORM_S):
            body = await read_body(receive, head, MAX_FORM_BYTES, lambda _used: None)
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True,
            errors="strict", max_num_fields=8,
        )  # fmt: skip
    except TimeoutError:
        raise Refused(MALFORMED, detail={"problem": "the form did not come in time"}) from None
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) and _is_ours(form) else None


def _is_ours(form: Form) -> bool:
    if not set(form) <= _FIELDS or "credential" not in form or form.get("action") not in _OPERATION:
        return False
    calls = form.get("calls", "")
    if calls and not (_CALLS.fullmatch(calls) and int(calls) <= MAX_CALLS):
        return False
    return len(form.get("reason", "")) <= markup.MAX_REASON_CHARS


def _words(refused: Refused, *, known: bool) -> str:
    if not known:
        return "This credential is unknown, expired or revoked."
    return refused.say() if refused.refusal is RATE_LIMITED else "You may not decide here."


async def _say(send: Send, status: int, page: bytes, headers: Headers | None = None) -> None:
    answer = Answer(HTTPStatus(status), page)
    await respond(send, answer, [*markup.HEADERS, *(headers or [])], markup.HTML_TYPE)
