"""Approvals in memory: a projection of what the log says of them (see petitions).

Used on the event loop; nothing but `decided` awaits anything.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeVar

import msgspec

from gateway.domain.approval import (
    ASK_LASTS_US,
    MAX_OPEN,
    MAX_OPEN_IN_ALL,
    MAX_SHOWN_BYTES,
    Approver,
    Course,
    Denied,
    Granted,
    Holds,
    No,
    Petition,
    State,
    Waiting,
    Yes,
    binding_of,
    in_words,
    run_binding_of,
    sent,
    shown_bytes,
    whose_of,
)
from gateway.domain.asking import is_child
from gateway.domain.model import Call, Decision, Principal
from gateway.store.changes import put_change
from gateway.store.log import Log
from gateway.store.petitions import ABOUT, ASK, USE, Asked, read_courses
from gateway.store.pseudonyms import Pseudonyms

ID_CHARS = 8
TIDY_US = 10 * 1_000_000
MAX_PASSED = 100_000  # calls that may have later rounds
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_T = TypeVar("_T")
Keys = Callable[[], Sequence[bytes]]  # with which payloads were sealed
Has = Callable[[Approver, str, str], bool]
"""Whether an approver, in a tenant, has a role at this moment."""


_Who = tuple[str, str, tuple[str, ...]]


def _asker(who: Principal | Petition) -> _Who:
    """Whose open asks are counted together: whoever acts for another fills up nothing of theirs."""
    return who.tenant, who.subject, who.actors


class _Passed(NamedTuple):
    """A call that an approval let through: what belongs to it needs no other one."""

    id: str
    binding: str
    whose: str

    def covers(self, call: Call) -> bool:
        """Whether *call* is a later round of it, or what its server asks the caller meanwhile."""
        if is_child(call):
            return self.whose == whose_of(call)
        return call.round > 1 and self.binding == binding_of(call)


class Approvals:
    def __init__(
        self, log: Log, pseudonyms: Pseudonyms, clock: Callable[[], int], keys: Keys, has: Has
    ) -> None:
        self._log = log
        self._pseudonyms = pseudonyms
        self._clock = clock
        self._keys = keys
        self._has = has
        self._courses: dict[str, Course] = {}  # the oldest first
        self._by_binding: dict[str, str] = {}
        self._by_run: dict[str, dict[str, None]] = {}
        self._by_who: dict[_Who, dict[str, None]] = {}
        self._passed: dict[str, _Passed] = {}  # by call id
        self._decided: dict[str, asyncio.Event] = {}
        self._tidied_us = 0

    # -- for the gate: no await ---------------------------------------------------------------------

    def standing(self, call: Call, decision: Decision, now_us: int) -> Granted | Waiting | Denied:
        """Where *call* stands, whose decision needs approval."""
        binding = binding_of(call)
        passed = self._passed_with(call)
        if passed is not None:
            return Granted(passed.id)
        exact = self._courses.get(self._by_binding.get(binding, ""))
        same = exact is not None and exact.petition.roles == decision.approvals
        said = self._said_of(exact, now_us) if exact is not None and same else None
        if isinstance(said, Granted | Denied):
            return said
        for course in self._of_run(call, decision):
            if course.state(self.holds(course), now_us) is State.GRANTED:
                return Granted(course.petition.id)
        return said or self._unasked(call, decision, now_us)

    def ask(
        self, call: Call, decision: Decision, waiting: Waiting, now_us: int
    ) -> asyncio.Future[None]:
        """Queue the entry that asks for what `standing` found nobody was asked for."""
        who = call.principal
        petition = Petition(
            id=waiting.id,
            leaf=self._log.next_leaf,
            asked_us=now_us,
            binding=binding_of(call),
            run_binding=run_binding_of(call),
            roles=decision.approvals,
            tenant=who.tenant,
            subject=who.subject,
            actors=who.actors,
            object=call.object,
            definition=call.definition.digest if call.definition else "",
            run=call.run,
        )
        params = {name: raw.decode() for name, raw in sent(call).items()}
        note = Asked(
            petition,
            params,
            call.id,
            decision.policy_version,
            decision.rule,
            dict(decision.conditions),
        )
        self._remember(Course(petition))
        return self._put(ASK, call, petition, now_us, msgspec.json.encode(note))

    def use(self, granted_id: str, call: Call, now_us: int) -> asyncio.Future[None]:
        """Queue the entry that uses it up: put directly before the intent, in the same step.

        A crash between the two wastes the approval; none is ever used twice.
        """
        binding = binding_of(call)
        if self._passed_with(call) is not None:
            done = asyncio.get_running_loop().create_future()
            done.set_result(None)  # it was used up by the first
            return done
        course = self._courses[granted_id]
        course.used += 1
        self._passed[call.id] = _Passed(granted_id, binding, whose_of(call))
        if len(self._passed) > MAX_PASSED:
            del self._passed[next(iter(self._passed))]
        return self._put(USE, call, replace(course.petition, binding=binding), now_us, b"")

    # -- for those who decide -----------------------------------------------------------------------

    def find(self, approval_id: str) -> Course | None:
        return self._courses.get(approval_id)

    def live(self, now_us: int) -> list[Course]:
        """All that is neither used up nor expired, the oldest first."""
        self._tidy(now_us)
        return [one for one in self._courses.values() if not self._is_over(one, now_us)]

    def said_yes(self, approval_id: str, yes: Yes) -> None:
        """It is in the log."""
        course = self._courses.get(approval_id)
        if course is not None:
            course.yeses = (*course.yeses, yes)
            self._tell(course)

    def said_no(self, approval_id: str, no: No) -> None:
        """It is in the log."""
        course = self._courses.get(approval_id)
        if course is not None:
            course.no = no
            self._tell(course)

    def holds(self, course: Course) -> Holds:
        tenant = course.petition.tenant
        return lambda approver, role: self._has(approver, tenant, role)

    async def decided(self, approval_id: str, within_s: float) -> None:
        """Wait until somebody has decided, or that long."""
        course = self._courses.get(approval_id)
        if course is None or course.state(self.holds(course), self._clock()) is not State.WAITING:
            return
        event = self._decided.setdefault(approval_id, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await event.wait()

    # -- from the log -------------------------------------------------------------------------------

    def read(self, connection: sqlite3.Connection) -> dict[str, Course]:
        """What is on disk, for `resume`; off the event loop."""
        return read_courses(connection, self._keys(), self._clock())

    def resume(self, courses: Mapping[str, Course]) -> None:
        """Begin anew with *courses*: what was not written down did not happen."""
        self._courses, self._by_binding, self._by_run, self._by_who = {}, {}, {}, {}
        self._passed = {}
        for course in courses.values():
            self._remember(course)

    # -- inside -------------------------------------------------------------------------------------

    def _passed_with(self, call: Call) -> _Passed | None:
        """The call that *call* belongs to, if an approval let that through."""
        passed = self._passed.get(call.parent if is_child(call) else call.id)
        return passed if passed is not None and passed.covers(call) else None

    def _said_of(self, course: Course, now_us: int) -> Granted | Waiting | Denied | None:
        """What became of the ask for just this call; None: it is over."""
        petition, state = course.petition, course.state(self.holds(course), now_us)
        if state is State.GRANTED:
            return Granted(petition.id)
        if state is State.DENIED and course.no is not None:
            return Denied({"approval": petition.id})
        return _waiting(petition, now_us) if state is State.WAITING else None

    def _of_run(self, call: Call, decision: Decision) -> Iterator[Course]:
        """Those that were given for any arguments, in the run of *call*."""
        for approval_id in self._by_run.get(run_binding_of(call), ()):
            course = self._courses[approval_id]
            same = course.petition.roles == decision.approvals
            if same and course.is_for_run(self.holds(course)):
                yield course

    def _unasked(self, call: Call, decision: Decision, now_us: int) -> Waiting:
        problem = self._problem(call, now_us)
        if problem:
            return Waiting("", is_new=False, detail={"problem": problem})
        petition_id = self._new_id()
        detail = _detail(petition_id, decision.approvals, now_us + ASK_LASTS_US, now_us)
        return Waiting(petition_id, is_new=True, detail=detail)

    def _problem(self, call: Call, now_us: int) -> str:
        """Why nobody is asked."""
        if shown_bytes(call) > MAX_SHOWN_BYTES:
            return f"nobody can approve more than {MAX_SHOWN_BYTES} bytes of arguments"
        self._tidy(now_us)
        if len(self._courses) >= MAX_OPEN_IN_ALL:
            return "too many calls wait for an approval"
        mine = self._by_who.get(_asker(call.principal), ())
        courses = [self._courses[one] for one in mine]
        waits = (one.state(self.holds(one), now_us) is State.WAITING for one in courses)
        if sum(waits) >= MAX_OPEN:
            return f"{MAX_OPEN} calls of yours wait for an approval already"
        return ""

    def _new_id(self) -> str:
        while True:
            made = "A-" + "".join(secrets.choice(_CROCKFORD) for _ in range(ID_CHARS))
            if made not in self._courses:
                return made

    def _put(
        self, what: str, call: Call, petition: Petition, now_us: int, note: bytes
    ) -> asyncio.Future[None]:
        return put_change(
            self._log,
            self._pseudonyms,
            what,
            f"agent:{call.principal.subject}",
            subject=ABOUT + petition.id,
            digest=petition.binding,
            note=note.decode(),
            at_us=now_us,
        )

    def _remember(self, course: Course) -> None:
        petition = course.petition
        self._courses[petition.id] = course
        self._by_binding[petition.binding] = petition.id
        if petition.run_binding:
            self._by_run.setdefault(petition.run_binding, {})[petition.id] = None
        self._by_who.setdefault(_asker(petition), {})[petition.id] = None

    def _tidy(self, now_us: int) -> None:
        """Forget what is over, now and then."""
        if now_us - self._tidied_us < TIDY_US and len(self._courses) < MAX_OPEN_IN_ALL:
            return
        self._tidied_us = now_us
        for course in tuple(self._courses.values()):
            if self._is_over(course, now_us):
                self._forget(course.petition)

    def _is_over(self, course: Course, now_us: int) -> bool:
        return course.state(self.holds(course), now_us) in (State.USED, State.EXPIRED)

    def _forget(self, petition: Petition) -> None:
        del self._courses[petition.id]
        self._decided.pop(petition.id, None)
        if self._by_binding.get(petition.binding) == petition.id:
            del self._by_binding[petition.binding]
        _drop(self._by_who, _asker(petition), petition.id)
        if petition.run_binding:
            _drop(self._by_run, petition.run_binding, petition.id)

    def _tell(self, course: Course) -> None:
        """Wake those who wait for a decision, if this is one."""
        state = course.state(self.holds(course), self._clock())
        event = self._decided.get(course.petition.id)
        if event is not None and state is not State.WAITING:
            self._decided.pop(course.petition.id).set()


def _drop(index: dict[_T, dict[str, None]], key: _T, petition_id: str) -> None:
    index[key].pop(petition_id, None)
    if not index[key]:
        del index[key]


def _waiting(petition: Petition, now_us: int) -> Waiting:
    detail = _detail(petition.id, petition.roles, petition.expires_us, now_us)
    return Waiting(petition.id, is_new=False, detail=detail)


def _detail(
    petition_id: str, roles: tuple[tuple[str, ...], ...], expires_us: int, now_us: int
) -> Mapping[str, str | int]:
    left_s = -(-(expires_us - now_us) // 1_000_000)
    return {"approval": petition_id, "roles": in_words(roles), "expires_in_s": left_s}
