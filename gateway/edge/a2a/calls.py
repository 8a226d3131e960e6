"""From an A2A request to a Call: of which skill, of which task, and sent on with the peer's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from gateway.domain.a2a import CALL, CONFIG, RUN, SKILL, encoded, members_of
from gateway.domain.message_rules import message_in, problem_of
from gateway.domain.model import Call, Definition, Kind, Principal, Reply, Verdict
from gateway.domain.peer_task import Owner, PeerTask, is_id
from gateway.domain.refusal import MESSAGE_REFUSED, UPSTREAM_BROKEN, Refused, bad_params
from gateway.edge.a2a.asked import Asked
from gateway.edge.a2a.errors import NoTask
from gateway.edge.a2a.members import check_config_id
from gateway.edge.a2a.methods import Method, Naming
from gateway.edge.a2a.push import BadAnswer, Pushes
from gateway.edge.a2a.tasks import Tasks, Telling, decoded
from gateway.edge.head import Head
from gateway.edge.house import House
from gateway.edge.reply import OWN_META_PREFIX
from gateway.edge.ties import MAX_KEY_CHARS, TRACE_HEADER, NewRuns, Ties, is_trace, ties_of

ANY_SKILL = "*"
BESIDE = "params.metadata"  # under which arguments hold what is said beside the message
EXTENSIONS = "A2A-Extensions"
_MAX_EXTENSIONS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was read, and who sent it."""

    asked: Asked
    row: Method
    head: Head
    principal: Principal
    call_id: str

    @property
    def peer(self) -> str:
        return self.asked.peer


@dataclass(frozen=True, slots=True)
class Made:
    """A call that is ready to be governed, and how what comes of it is told."""

    call: Call
    telling: Telling
    follows: str = ""  # id of the call that made the task it is about


class Calls:
    def __init__(self, house: House, tasks: Tasks, pushes: Pushes) -> None:
        self._house = house
        self._tasks = tasks
        self._pushes = pushes
        self._runs = NewRuns(house.state_key, house.clock)

    def reseal(self, state_key: bytes) -> None:
        """A key that is repeated names another run from here on."""
        self._runs.reseal(state_key)

    # -- what the caller may see ------------------------------------------------------------------

    def skills(self, who: Principal, peer: str) -> tuple[Definition, ...]:
        """Those that *who* may use, in the order of lists."""
        listed = self._house.catalogue().listing(Kind.PEER, peer)
        return self._house.policies.current.visible(who, listed)

    def card(self, peer: str) -> Definition | None:
        """What is pinned of the agent itself."""
        return self._house.catalogue().find(peer, Kind.SERVER, "")

    # -- calls ------------------------------------------------------------------------------------

    async def made(self, request: Request) -> Made:
        """Raises: Refused: it is not in the log yet. NoTask."""
        self.check_size(request)
        if request.row.naming is Naming.MESSAGE:
            return await self._message(request)
        task = await self._tasks.own(
            request.principal, request.peer, request.asked.params.get(request.row.member)
        )
        params = _without_tenant(request.asked.params)
        params[request.row.member] = task.upstream_id
        ties = self.ties(request, {})
        if request.asked.method == "CreateTaskPushNotificationConfig":
            params = self._pushes.inward(request.principal, request.peer, params, ties.run)
        params.pop("metadata", None)
        call = self._following(request, task, ties)
        call = replace(call, params=raw(params))
        return Made(call, self._tasks.telling(call, task), task.call_id)

    def base(self, request: Request, ties: Ties) -> Call:
        """The call of *request* as far as its row says."""
        return Call(
            id=request.call_id,
            principal=request.principal,
            method=request.asked.method,
            kind=request.row.kind,
            server=request.peer,
            name=ANY_SKILL,
            act=request.row.act,
            weight=request.row.weight,
            meta=_extensions(request.head),
            trace=_trace(request),
            run=ties.run,
            parent=ties.parent,
        )

    def _following(self, request: Request, task: PeerTask, ties: Ties) -> Call:
        """A later round of the call that made *task*: not counted again, on the same object."""
        definition = self.skill(request.principal, request.peer, task.skill)
        call = self.base(request, ties)
        return replace(call, round=2, name=task.skill, definition=definition, parent=task.call_id)

    def skill(self, who: Principal, peer: str, name: str) -> Definition | None:
        """What *name* stands for when *who* says it, whoever may see it."""
        if name == ANY_SKILL:
            return _dearest(self.skills(who, peer))
        return self._house.catalogue().find(peer, Kind.PEER, name)

    # -- messages ---------------------------------------------------------------------------------

    async def _message(self, request: Request) -> Made:
        params = _without_tenant(request.asked.params)
        message = params.get("message")
        if not isinstance(message, dict):
            raise bad_params("message must be an object")
        metadata = members_of(message.get("metadata"))
        ties = self.ties(request, metadata)
        said, named = request.asked.params, message.get("messageId")
        if not isinstance(named, str) or not 0 < len(named) <= MAX_KEY_CHARS:
            raise bad_params(f"messageId must be a text of 1 to {MAX_KEY_CHARS} characters")
        key = f"a2a/{request.peer}/{named}"
        ties = ties.under(key, request.principal, self._runs)
        if message.get("taskId"):
            task = await self._tasks.own(request.principal, request.peer, message["taskId"])
            # It says something new: counted, and approved where that is needed, like the first.
            call = replace(self._following(request, task, ties), round=1)
            if metadata.get(SKILL, task.skill) != task.skill:
                raise bad_params(f"the task is of another skill than {SKILL} says")
        else:
            task, call = None, self._begun(request, metadata, ties)
        call = replace(call, key=key)
        self._check_rules(request, call)
        inward, contexts = await self._inward(request, message, task)
        params["message"] = inward
        if "metadata" in params:
            params["metadata"] = _not_ours(params["metadata"])
        if "configuration" in params:
            params["configuration"] = self._configured(request, params["configuration"], ties.run)
        call = replace(call, params=raw(params), arguments=self._arguments(request, said, inward))
        if call.name == ANY_SKILL:
            self._check_whole(call)
        follows = task.call_id if task is not None else ""
        return Made(call, self._tasks.telling(call, task, contexts), follows)

    def _begun(
        self,
        request: Request,
        metadata: Mapping[str, Any],
        ties: Ties,
    ) -> Call:
        name, definition = self._named(request, metadata)
        return replace(self.base(request, ties), name=name, definition=definition)

    def _named(
        self, request: Request, metadata: Mapping[str, Any]
    ) -> tuple[str, Definition | None]:
        """The skill that is meant: the one that is named, the only one, or any of them."""
        said = metadata.get(SKILL)
        if said is not None:
            if not isinstance(said, str) or not said or said == ANY_SKILL:
                raise bad_params(f"{SKILL} must be the id of a skill")
            return said, self._house.catalogue().find(request.peer, Kind.PEER, said)
        seen = self.skills(request.principal, request.peer)
        if len(seen) == 1:
            return seen[0].name, seen[0]
        return ANY_SKILL, _dearest(seen)

    def _check_whole(self, call: Call) -> None:
        """Whoever names no skill may get any: each must be the caller's to use, as it stands now.

        Raises: Refused: BAD_PARAMS.
        """
        house = self._house
        there = [
            one
            for one in house.catalogue().definitions
            if one.server == call.server and one.kind is Kind.PEER
        ]
        seen = self.skills(call.principal, call.server)
        free = len(there) == len(seen) and all(
            house.policies.decide(replace(call, name=one.name, definition=one)).verdict
            is Verdict.ALLOW
            for one in seen
        )
        if not free:
            raise bad_params(f"name the skill that is meant in message.metadata: {SKILL}")

    def check_size(self, request: Request) -> None:
        """Whatever is asked, so much may go to the peer. Raises: Refused: MESSAGE_REFUSED."""
        view, n_bytes = self._house.catalogue().servers.get(request.peer), request.asked.n_bytes
        if view is None or view.rules is None or not 0 < view.rules.max_bytes < n_bytes:
            return
        problem = f"the request has {n_bytes} bytes, more than {view.rules.max_bytes}"
        raise Refused(MESSAGE_REFUSED, detail={"problem": problem})

    def _check_rules(self, request: Request, call: Call) -> None:
        """Raises: Refused: MESSAGE_REFUSED. Only of what the caller sees: else it would tell."""
        view = self._house.catalogue().servers.get(request.peer)
        if view is None or view.rules is None or call.definition is None:
            return
        if not self._house.policies.current.visible(request.principal, (call.definition,)):
            return
        sent = message_in(call, request.asked.params, request.asked.n_bytes)
        skill = call.name if call.name != ANY_SKILL else ""
        beside = _not_ours(request.asked.params.get("metadata", {}))
        data = (*sent.data, beside) if beside else sent.data  # as good a place for it as a part
        problem = problem_of(view.rules, replace(sent, skill=skill, data=data))
        if problem is not None:
            raise Refused(MESSAGE_REFUSED, detail={"problem": problem})

    async def _inward(
        self, request: Request, message: Mapping[str, Any], task: PeerTask | None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The message as the peer may read it, and the names of contexts that the caller chose."""
        inward, contexts = dict(message), dict[str, str]()
        if "metadata" in inward:
            inward["metadata"] = _not_ours(inward["metadata"])
        if task is not None:
            inward["taskId"] = task.upstream_id
        context = message.get("contextId")
        if context:
            if not is_id(context):
                raise bad_params("contextId must be 1 to 256 visible characters of ASCII")
            inward["contextId"] = told = self._context(request, context, task)
            contexts[told] = context
        if message.get("referenceTaskIds"):
            inward["referenceTaskIds"] = await self._references(request, message)
        return inward, contexts

    def _context(self, request: Request, context: str, task: PeerTask | None) -> str:
        if task is not None and context == task.context:
            return task.upstream_context
        owner = Owner.of(request.principal)
        return self._tasks.ids.upstream_context(owner, request.peer, context)

    async def _references(self, request: Request, message: Mapping[str, Any]) -> list[str]:
        named = message["referenceTaskIds"]
        if not isinstance(named, list) or len(named) > 100:
            raise NoTask
        own = self._tasks.own
        return [(await own(request.principal, request.peer, one)).upstream_id for one in named]

    def _configured(self, request: Request, configuration: Any, run: str) -> Any:
        if not isinstance(configuration, dict):
            raise bad_params("configuration must be an object")
        config = configuration.get(CONFIG)
        if config is None:
            return configuration
        if not isinstance(config, dict):
            raise bad_params(f"{CONFIG} must be an object")
        config = _without_tenant(config)
        check_config_id(config)
        config.pop("taskId", None)  # of a task that there is not yet
        told = self._pushes.inward(request.principal, request.peer, config, run)
        return {**configuration, CONFIG: told}

    def _arguments(
        self, request: Request, said: Mapping[str, Any], inward: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """What conditions, loops and repetitions are judged by: all but the name of the message.

        Credentials are in it as a seal of them: whoever looks at a call may not read them.
        """
        told = {name: value for name, value in inward.items() if name != "messageId"}
        if "metadata" in said:
            told[BESIDE] = _not_ours(said["metadata"])
        if "configuration" in said:
            configuration = dict(said["configuration"])
            config = configuration.get(CONFIG)
            if config is not None:
                configuration[CONFIG] = self._pushes.marked(request.principal, request.peer, config)
            told["configuration"] = configuration
        return told

    def configs(self, request: Request, made: Made, reply: Reply) -> bytes:
        """An answer about push configurations, as the caller made them. Raises: Refused."""
        answer = made.telling.renamed(decoded(reply.outcome.result, reply.call.id))
        try:
            own = self._pushes.outward(request.principal, request.asked, answer)
        except BadAnswer:
            raise Refused(UPSTREAM_BROKEN, reply.call.id) from None
        return msgspec.json.encode(own)

    def ties(self, request: Request, metadata: Mapping[str, Any]) -> Ties:
        """What the request says that it belongs to. Raises: Refused: BAD_PARAMS."""
        said = {name: encoded(metadata[name]) for name in (RUN, CALL) if name in metadata}
        return ties_of(request.head, said, request.principal, self._runs)


def _dearest(seen: tuple[Definition, ...]) -> Definition | None:
    """Whose terms hold where any of them may be meant."""
    return max(seen, key=lambda one: (one.price_micros, one.max_result_tokens), default=None)


def _not_ours(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, dict):
        raise bad_params("metadata must be an object")
    return {k: v for k, v in metadata.items() if not k.startswith(OWN_META_PREFIX)}


def _without_tenant(params: Mapping[str, Any]) -> dict[str, Any]:
    """Which tenant of the peer is asked is the gateway's to say."""
    return {name: value for name, value in params.items() if name != "tenant"}


def _extensions(head: Head) -> Mapping[str, bytes]:
    said = head.get(EXTENSIONS.lower().encode())
    if not said:
        return {}
    if len(said) > _MAX_EXTENSIONS_BYTES or not said.isascii():
        raise bad_params(f"{EXTENSIONS} is too long, or not ASCII")
    return {EXTENSIONS: encoded(said.decode())}


def _trace(request: Request) -> str:
    message = members_of(request.asked.params.get("message"))
    said: Any = request.head.get(TRACE_HEADER).decode("latin-1")
    said = said or members_of(message.get("metadata")).get("traceparent")
    return said if is_trace(said) else ""


def raw(params: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: encoded(value) for name, value in params.items()}
