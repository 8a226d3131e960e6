"""What the API can look at: the same rows that the command line shows, within the asker's reach.

Each look gets the house as it is and an errand. One about the house as a whole is asked only by who
looks after every tenant; all others leave out what belongs to tenants that the asker does not see.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from operator import itemgetter
from types import MappingProxyType
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations import approvals, asking, proposing, reading, showing
from gateway.app.operations.budgets import Account, account_rows, accounts
from gateway.app.operations.entering import unknown
from gateway.app.operations.glances import call, checkpoint, entries_page, findings, payloads, proof
from gateway.app.operations.places import object_of
from gateway.app.operations.query import moment
from gateway.app.operations.rights import right_of
from gateway.app.operations.servers import standing
from gateway.domain.approval import Approver, Course
from gateway.domain.operator import Exit, OperationRefused, usage
from gateway.edge.api.desk import EVERY_TENANT, Errand, Found
from gateway.policy.snapshot import Snapshot
from gateway.store.pseudonyms import OBJECT, SUBJECT, TEAM, TENANT
from gateway.store.trail import opened

PLACE_BYTES: Final = 512  # of a name that are kept in a cursor

Row = dict[str, Any]
T = TypeVar("T")
Look = Callable[[House, Errand], Awaitable[Found]]


_NOT_ASKED: Final = "this is policy alone: whether there is such an object is not asked"


class _Twin:
    """A copy of one version of the policy, to be asked by threads, one at a time: the caches of the
    policy in force are those of the event loop."""

    def __init__(self, policy: Snapshot) -> None:
        self._parts = (policy.version, policy.rules, policy.links, policy.conditions)
        self._copy: Snapshot | None = None
        self._one_at_a_time = asyncio.Lock()

    async def ask(self, here: reading.Reading, question: asking.Question) -> asking.Answer:
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._asked, here, question)

    def _asked(self, here: reading.Reading, question: asking.Question) -> asking.Answer:
        if self._copy is None:
            self._copy = Snapshot(*self._parts)
        return asking.ask(here, self._copy, question)


_TWINS: Final[WeakKeyDictionary[Snapshot, _Twin]] = WeakKeyDictionary()  # gone with their versions


def _twin_of(policy: Snapshot) -> _Twin:
    return _TWINS.setdefault(policy, _Twin(policy))


async def health(house: House, errand: Errand) -> Found:
    gauges, servers = house.gauges(), await _server_rows(house)
    return Found(
        {
            "ready": house.is_ready(),
            "draining": "drain" in house.ledger.closed_by,
            "writable": gauges.writable,
            "entries": gauges.log_entries,
            "checkpoint_age_s": int(gauges.checkpoint_age_s),
            "servers": {row["name"]: row["state"] for row in servers},
        }
    )


async def servers(house: House, errand: Errand) -> Found:
    return _page(await _server_rows(house), errand, "name")


async def server(house: House, errand: Errand) -> Found:
    row = await asyncio.to_thread(showing.server_row, _picture(house), errand.args["name"])
    return Found(row | showing.server_state(row, standing(house)))


async def definitions(house: House, errand: Errand) -> Found:
    here, approval = _picture(house), errand.args.get("approval")
    rows = await asyncio.to_thread(showing.definition_rows, here, errand.args.get("server"))
    asked = [row for row in rows if approval in (None, row["approval"])]
    return _page(_with_lock(house, asked), errand, "object")


async def definition(house: House, errand: Errand) -> Found:
    here = _picture(house)
    pin = showing.find_pin(here, errand.args["object"])
    (row,) = _with_lock(house, [await asyncio.to_thread(showing.definition_shown, here, pin)])
    return Found(row)


async def agents(house: House, errand: Errand) -> Found:
    rows = await asyncio.to_thread(showing.agent_rows, _picture(house))
    return _page([row for row in rows if errand.reaches(row["tenant"])], errand, "name")


async def agent(house: House, errand: Errand) -> Found:
    name = errand.args["name"]
    require_agent(house, errand, name)
    rows = await asyncio.to_thread(showing.agent_rows, _picture(house))
    return Found(next(row for row in rows if row["name"] == name))


async def keys(house: House, errand: Errand) -> Found:
    name = errand.args.get("agent")
    if name is not None:
        require_agent(house, errand, name)
    every = await asyncio.to_thread(showing.key_rows, _picture(house), wall_us())
    hidden = _administering(house, errand)
    rows = [
        row
        for row in every
        if name in (None, row["agent"])
        and (errand.tenant == EVERY_TENANT or _owns(house, errand, row["agent"]))
        and row["agent"] not in hidden
        # Keys of the file are at hand here: each has a line with its id already.
        and row["state"] != "declared"
    ]
    return _page(rows, errand, "id")


async def policy(house: House, errand: Errand) -> Found:
    loaded, current = house.loaded_policy, house.policies.current
    cases = len(loaded.cases) if loaded else 0
    return Found({"version": current.version, "rules": len(current.rules), "cases": cases})


async def explain(house: House, errand: Errand) -> Found:
    args, here, now_us = errand.args, _picture(house), wall_us()
    require_agent(house, errand, args["agent"])
    if errand.tenant != EVERY_TENANT and "/" not in args["object"]:
        # Which names there are on /mcp is the house's.
        raise usage("the object is not named in full", "say it as tool/docs/search")
    at_us = moment(args["at"], now_us)[0] if "at" in args else now_us
    whole = errand.tenant == EVERY_TENANT
    named = asking.in_full(here, args["object"]) if whole else args["object"]
    question = asking.Question(
        args["agent"], named, args.get("act", ""), args.get("arguments", "{}"), at_us
    )
    answer = await _twin_of(house.policies.current).ask(here, question)
    # What else there is, is for whoever may read the list of it.
    said = replace(answer, meant="").as_json() | {"said": answer.say()}
    if errand.tenant != EVERY_TENANT:
        # What nearly fits may be a rule of another tenant; what is allowed need not be there.
        disabled = here.identity.agents[args["agent"]].disabled
        allowed = said["verdict"] == "allow" and not disabled
        stopped = asking.DISABLED if disabled else _NOT_ASKED
        said |= {"nearest": [], "fix": "", "said": "", "allowed": allowed, "stopped": stopped}
    return Found(said)


async def proposals(house: House, errand: Errand) -> Found:
    rows = [proposing.as_row(one) for one in proposing.waiting(house)]
    return _page(rows, errand, "at")


async def proposal(house: House, errand: Errand) -> Found:
    return Found(await proposing.shown(house, errand.args["digest"]))


async def waiting_calls(house: House, errand: Errand) -> Found:
    rows = [row for row in approvals.rows(house) if errand.reaches(row["tenant"])]
    return _page(rows, errand, "approval")


async def waiting_call(house: House, errand: Errand) -> Found:
    return Found(approvals.as_row(house, _waiting_course(house, errand)))


async def waiting_arguments(house: House, errand: Errand) -> Found:
    """For whoever could decide on it, and for nobody else: there is `payloads` for auditors."""
    course = _waiting_course(house, errand)
    approver = Approver(errand.author, errand.principal)
    if not approvals.may_decide(house, course, approver):
        raise OperationRefused(
            f"{errand.author} does not see the arguments of {course.petition.id}",
            "they are for those who have a role that it waits for",
            "ask for the role, or look at the call with the right to read payloads",
            Exit.NOT_OPERATOR,
        )
    return Found(await approvals.opened_up(house, errand.author, course, errand.holds))


def _waiting_course(house: House, errand: Errand) -> Course:
    course = approvals.one(house, errand.args["approval"])
    if not errand.reaches(course.petition.tenant):
        raise unknown("approval", course.petition.id, "see the list of approvals")
    return course


async def budgets(house: House, errand: Errand) -> Found:
    here, names = _picture(house), house.ledger.pseudonyms
    agents, config = house.identity.agents, house.config
    wanted = ((TENANT, config.tenants), (SUBJECT, agents))
    ids = {(kind, name): names.known(kind, name) for kind, known in wanted for name in known}
    teams = (f"{team.tenant}/{name}" for name, team in config.teams.items())
    ids |= {(TEAM, name): names.known(TEAM, name) for name in teams}
    name = errand.args.get("name")

    def read() -> tuple[list[Account], str]:
        """In a thread: a tool has a name for each tenant that called it."""
        with opened(house.config.data_dir) as trail:
            tools = {known: pseudonym for pseudonym, known in trail.pseudonyms(OBJECT)}
        seen = [
            account
            for account in accounts(here, ids, tools)
            if errand.reaches(account.tenant) and (name is None or account.is_of(name))
        ]
        return _cut(seen, errand, lambda account: f"{account.level} {account.name}")

    page, after = await asyncio.to_thread(read)
    purses, now_us = house.ledger.counters.purses, house.ledger.log.stamp()
    return Found([row for one in page for row in account_rows(one, purses, now_us)], after)


LOOKS: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "house.health": health,
        "server.list": servers,
        "server.show": server,
        "definition.list": definitions,
        "definition.show": definition,
        "agent.list": agents,
        "agent.show": agent,
        "key.list": keys,
        "policy.show": policy,
        "policy.check": findings,
        "policy.explain": explain,
        "policy.pending": proposals,
        "policy.proposal": proposal,
        "approval.list": waiting_calls,
        "approval.show": waiting_call,
        "approval.arguments": waiting_arguments,
        "budget.list": budgets,
        "entry.list": entries_page,
        "call.show": call,
        "call.payloads": payloads,
        "call.proof": proof,
        "checkpoint.show": checkpoint,
    }
)


def require_agent(house: House, errand: Errand, name: str) -> None:
    """Raises: OperationRefused: there is none of this name in the asker's reach."""
    if not _owns(house, errand, name):
        raise unknown("agent", name, "see the list of agents")


def _owns(house: House, errand: Errand, name: str) -> bool:
    known = house.identity.agents.get(name)
    return known is not None and errand.reaches(known.tenant)


def _administering(house: House, errand: Errand) -> set[str]:
    """Agents whose keys one tenant's administrator does not see: those who administer, too."""
    if errand.tenant == EVERY_TENANT:
        return set()
    policy, agents = house.policies.current, house.identity.agents.values()
    return {a.name for a in agents if errand.reaches(a.tenant) and right_of(a, policy)}


def _picture(house: House) -> reading.Reading:
    """The open house as the command line reads it from outside: a thread may look at it while the
    house goes on."""
    identity, registry = copy(house.identity), copy(house.registry)
    identity.agents, identity.keys = dict(identity.agents), dict(identity.keys)
    registry.pins, registry.terms = dict(registry.pins), dict(registry.terms)
    registry.suspended = set(registry.suspended)
    return reading.Reading(house.config, identity, registry, dict(house.servers), house.database)


async def _server_rows(house: House) -> list[Row]:
    rows = await asyncio.to_thread(showing.server_rows, _picture(house))
    now = standing(house)
    return [row | showing.server_state(row, now) for row in rows]


def _with_lock(house: House, rows: Iterable[Row]) -> list[Row]:
    unlocked = {object_of(place): why for place, why in house.registry.unlocked()}
    return [row | {"not_in_lock": unlocked.get(row["object"], "")} for row in rows]


def _page(rows: Iterable[Row], errand: Errand, key: str) -> Found:
    """The rows of one page, in the order of *key*, which no two of them share."""
    return Found(*_cut(rows, errand, lambda row: str(row[key])))


def _cut(rows: Iterable[T], errand: Errand, name: Callable[[T], str]) -> tuple[list[T], str]:
    """The rows of one page, in order, and the place of the last if there are more."""
    places = sorted(((_place(name(row)), row) for row in rows), key=itemgetter(0))
    behind = [one for one in places if one[0] > errand.after]
    page = behind[: errand.most]
    return [row for _, row in page], page[-1][0] if len(behind) > len(page) else ""


def _place(name: str) -> str:
    """Where *name* stands in a list. Servers choose names, and a cursor has to hold any of them."""
    plain = name.encode("utf-8", "backslashreplace")
    if len(plain) <= PLACE_BYTES:
        return plain.decode()
    start = plain[:PLACE_BYTES].decode("utf-8", "ignore")
    return start + hashlib.sha256(plain).hexdigest()
