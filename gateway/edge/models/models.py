"""The outlet of the models: what OpenAI's API has at these paths.

POST /v1/chat/completions   /v1/responses   /v1/embeddings
GET  /v1/models             /v1/models/{name}

A request is one call of one model. `class:small` stands for the models of that class which the
caller may use: where one cannot answer now, and has told nothing yet, the next is asked; each of
them is a call of its own under the first.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from time import monotonic
from typing import NamedTuple

import msgspec
from starlette.types import Send

from gateway.domain.model import (
    KEPT,
    Act,
    Call,
    CallClass,
    Definition,
    Kind,
    Outcome,
    Principal,
    Reply,
    Status,
)
from gateway.domain.model_meter import terms_of
from gateway.domain.refusal import (
    NOT_AUTHENTICATED,
    RESULT_GONE,
    STOPPED,
    UNKNOWN_METHOD,
    UNKNOWN_OBJECT,
    UNSUPPORTED_MEDIA,
    UPSTREAM_BROKEN,
    UPSTREAM_DIED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Refused,
    status_in_code,
)
from gateway.edge.arrival import Vanished, read_body
from gateway.edge.faults import log_fault
from gateway.edge.head import is_json
from gateway.edge.house import House, Settings
from gateway.edge.ids import new_call_id
from gateway.edge.line import Headers, Leave, respond
from gateway.edge.models.errors import failed_said, fault_said, named, refused_said
from gateway.edge.models.reach import CHAT, EMBEDDINGS, RESPONSES
from gateway.edge.models.request import CLASS, Wish, read_wish
from gateway.edge.models.telling import Telling
from gateway.edge.outlet import Visit
from gateway.edge.reply import Answer
from gateway.edge.ties import RUN_HEADER, NewRuns, Ties, ties_of, traced

_PREFIX = "/v1"
_LIST = f"{_PREFIX}/models"
_POSTED = {f"{_PREFIX}/{api}": api for api in (CHAT, RESPONSES, EMBEDDINGS)}
# Where clients ask whose base_url lacks /v1: they are told so.
_SHORTENED = frozenset(path.removeprefix(_PREFIX) for path in (*_POSTED, _LIST))
_SIZES = frozenset({"small", "medium", "large"})
_NO_STORE: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
# After these another model may be asked: this one was not, or is not well.
_NEXT = frozenset(
    row.id for row in (UPSTREAM_UNREACHABLE, UPSTREAM_TIMEOUT, UPSTREAM_BROKEN, UPSTREAM_DIED)
)
# Of a provider that answers so nothing was made either; another may know the model, or have time.
_ELSEWHERE = frozenset({404, 405, 429, 501})
_GIVEN = frozenset({Status.OK, Status.TOOL_ERROR})


class _Asking(NamedTuple):
    """One request, with all that its calls have in common."""

    wish: Wish
    ties: Ties
    trace: str


class Models:
    def __init__(self, house: House, settings: Settings) -> None:
        self._house = house
        self._settings = settings
        self._runs = NewRuns(house.state_key, house.clock)

    def reseal(self, state_key: bytes) -> None:
        self._runs.reseal(state_key)

    def has(self, path: str) -> bool:
        return path == _PREFIX or path.startswith(f"{_PREFIX}/") or path in _SHORTENED

    async def say(self, send: Send, refused: Refused, headers: Headers) -> None:
        said = refused_said(refused)
        await respond(send, said.answer, [*_NO_STORE, *said.headers, *headers])

    async def say_fault(self, send: Send, call_id: str, headers: Headers) -> None:
        said = fault_said(call_id)
        await respond(send, said.answer, [*_NO_STORE, *said.headers, *headers])

    async def serve(self, visit: Visit) -> None:
        """Answer one request. Raises: Refused: as `Outlet.serve`."""
        visit.allowances.check(visit.principal, monotonic())
        path, verb = visit.scope["path"], visit.scope["method"]
        if verb == "POST" and path in _POSTED:
            await self._posted(visit, _POSTED[path])
        elif verb == "GET" and (path == _LIST or path.startswith(f"{_LIST}/")):
            await self._listed(visit, path[len(_LIST) + 1 :])
        else:
            raise Refused(UNKNOWN_METHOD)

    # -- lists --------------------------------------------------------------------------------------

    async def _listed(self, visit: Visit, name: str) -> None:
        visit.progress.method = "models/list"
        ties = ties_of(visit.head, {}, visit.principal, self._runs)
        call = Call(
            id=new_call_id(self._house.clock()),
            principal=visit.principal,
            method="models/list",
            kind=Kind.MODEL,
            server="",
            name="*",
            act=Act.LIST,
            weight=CallClass.SINGLE,
            trace=traced(visit.head),
            run=ties.run,
        )
        await self._house.pipeline.enter(call)
        seen = [_shown(one) for one in self._visible(visit.principal)]
        said: object = {"object": "list", "data": seen}
        if name:
            said = next((one for one in seen if one["id"] == name), None)
        if said is None:
            raise Refused(UNKNOWN_OBJECT)
        answer = Answer(HTTPStatus.OK, msgspec.json.encode(said))
        await respond(visit.send, answer, [*_NO_STORE, *_headers(call)])

    def _visible(self, principal: Principal) -> tuple[Definition, ...]:
        house = self._house
        return house.policies.current.visible(principal, house.catalogue().listing(Kind.MODEL))

    def _sees(self, principal: Principal, definition: Definition) -> bool:
        return bool(self._house.policies.current.visible(principal, (definition,)))

    # -- calls --------------------------------------------------------------------------------------

    async def _posted(self, visit: Visit, api: str) -> None:
        head = visit.head
        visit.progress.unread = True
        visit.progress.method = api
        if not is_json(head.get(b"content-type")) or b"content-encoding" in head.values:
            raise Refused(UNSUPPORTED_MEDIA)

        def pay(used_bytes: int) -> None:
            visit.allowances.charge(visit.principal, used_bytes, monotonic())
            visit.allowances.check(visit.principal, monotonic())

        async with visit.watch() as watch:
            body = await read_body(visit.receive, head, self._settings.max_body_bytes, pay)
            visit.progress.unread = False
            wish = read_wish(api, body)
            ties = ties_of(head, {}, visit.principal, self._runs)
            asking = _Asking(wish, ties, traced(head))
            line = Telling(visit.principal, visit.send, wish.api, can_stream=wish.streams)
            line.run = asking.ties.run
            watch.over(line)
            await self._answered(line, asking, visit)

    async def _answered(self, line: Telling, asking: _Asking, visit: Visit) -> None:
        api = asking.wish.api
        try:
            reply = await line.unless_left(self._governed(line, asking))
        except Refused as refused:
            if not line.streaming:
                raise
            if not refused.call_id:
                refused = await self._entered(refused, visit)
            await line.fail(refused_said(refused), api)
        except Exception as fault:
            if not line.streaming:
                raise
            log_fault(fault, line.call_id)
            await line.fail(fault_said(line.call_id), api)
        else:
            if reply is None:
                await self._abandoned(line, api, visit)
            else:
                await self._said(line, reply)

    async def _said(self, line: Telling, reply: Reply) -> None:
        """What the call came to, as its final frame."""
        call, outcome = reply.call, reply.outcome
        self._begin(line, call)
        if outcome.status not in _GIVEN:
            await line.fail(failed_said(outcome, ""), call.method)
        elif not (outcome.result or line.has_answer):
            await line.fail(refused_said(Refused(RESULT_GONE)), call.method)
        elif line.can_stream:
            await line.finish(outcome.result)
        else:
            line.headers += _left(reply)
            await line.close(Answer(HTTPStatus.OK, outcome.result), b"")

    async def _governed(self, line: Telling, asking: _Asking) -> Reply:
        """Ask one model after the other until one answers. Raises: Refused."""
        tries = self._tries(line.principal, asking)
        first = ""
        for left, definition in zip(range(len(tries) - 1, -1, -1), tries, strict=True):
            call = self._call(line.principal, asking, definition, first)
            first = first or call.id
            line.server = call.server
            self._begin(line, call)
            begin = partial(self._begin, line)  # under a key the log gives it another id
            reply = await self._house.pipeline.govern(call, line, admitted=begin)
            if not left or line.has_told or not _may_go_on(reply.outcome):
                return reply
        raise Refused(UNKNOWN_OBJECT)

    def _tries(self, principal: Principal, asking: _Asking) -> list[Definition | None]:
        """The models that are meant, the best first; None: nothing is, and that is refused as a call."""
        model = asking.wish.model
        if not model.startswith(CLASS):
            return [self._house.catalogue().find(model, Kind.MODEL, model)]
        size = model.removeprefix(CLASS)
        fitting = [
            one for one in self._visible(principal) if size in _SIZES and terms_of(one).size == size
        ]
        ranked = sorted(fitting, key=_price)
        if asking.ties.key:  # one key, one effect: the same model, whoever is well now
            ranked = ranked[:1]
        else:
            ranked.sort(key=lambda one: not self._house.is_well(one.server))
        return [*ranked] or [None]

    def _call(
        self, who: Principal, asking: _Asking, definition: Definition | None, parent: str
    ) -> Call:
        wish, ties = asking.wish, asking.ties
        # Of what the caller may not see, nothing is told: that is refused as what is not there.
        if definition is not None and self._sees(who, definition):
            wish.check_fits(definition)
        body, arguments = wish.as_sent(definition) if definition is not None else (b"{}", {})
        name = definition.name if definition is not None else wish.model
        return Call(
            id=new_call_id(self._house.clock()),
            principal=who,
            method=wish.api,
            kind=Kind.MODEL,
            server=name,
            name=name,
            act=Act.CALL,
            weight=CallClass.FULL,
            params={"body": body},
            arguments=arguments,
            definition=definition,
            trace=asking.trace,
            parent=parent,
            run=ties.run,
            key=ties.key,
        )

    def _begin(self, line: Telling, call: Call) -> None:
        line.call_id = call.id
        if not line.streaming:
            line.headers = [*_NO_STORE, *_headers(call)]

    async def _abandoned(self, line: Telling, api: str, visit: Visit) -> None:
        why = {Leave.REVOKED: NOT_AUTHENTICATED, Leave.STOPPED: STOPPED}.get(
            line.left or Leave.GONE
        )
        if why is None:
            raise Vanished
        refused = await self._entered(Refused(why), visit)
        await line.fail(refused_said(refused), api)

    async def _entered(self, refused: Refused, visit: Visit) -> Refused:
        call_id = await self._house.pipeline.refuse(
            refused.refusal, visit.principal, visit.address, visit.progress.method
        )
        return Refused(refused.refusal, call_id, refused.detail)


def _may_go_on(outcome: Outcome) -> bool:
    """Whether another model may be asked instead: nothing came of it that anybody could want."""
    if outcome.status is Status.RPC_ERROR:
        return msgspec.json.decode(outcome.error, type=_Rejection).code in _ELSEWHERE
    is_unwell = outcome.code in _NEXT or bool(status_in_code(outcome.code))
    return outcome.status is Status.FAILED and (not outcome.sent or is_unwell)


class _Rejection(msgspec.Struct):
    code: int


def _price(definition: Definition) -> tuple[int, str]:
    terms = terms_of(definition)
    return terms.prompt_micros + terms.completion_micros, definition.name


def _shown(definition: Definition) -> dict[str, str | int]:
    return {"id": definition.name, "object": "model", "created": 0, "owned_by": "customhouse"}


def _headers(call: Call) -> Headers:
    run = [(RUN_HEADER, call.run.encode("ascii"))] if call.run else []
    return [*named(call.id), *run]


def _left(reply: Reply) -> Headers:
    """What is left of the budgets, and whether this is an earlier answer: `tokens/day=900`."""
    left = ", ".join(f"{what}={amount}" for what, amount in reply.settlement.left.items())
    said: Headers = [(b"customhouse-left", left.encode("ascii"))] if left else []
    return [*said, (b"customhouse-kept", b"true")] if reply.outcome.code == KEPT else said
