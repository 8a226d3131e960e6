"""The API's way into the house: looks, and the operations of the socket, within the asker's reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations.administration import Administration, said
from gateway.app.operations.approvals import DECISIONS, approver_of
from gateway.app.operations.entering import unknown
from gateway.app.operations.looks import LOOKS, require_agent
from gateway.app.operations.rights import right_of
from gateway.domain.model import Call
from gateway.domain.operator import Exit, OperationRefused
from gateway.edge.api.desk import EVERY_TENANT, Errand, Found, Guard, Stale, Withdrawn
from gateway.edge.api.etag import encoded, etag_of
from gateway.store.identity import Agent


class ApiDesk:
    """One for a house, beside the socket's; both queue at the same *administration*."""

    def __init__(self, house: House, administration: Administration) -> None:
        self._house = house
        self._administration = administration

    def spans_tenants(self, call: Call) -> bool:
        return self._house.policies.current.spans_tenants(call, wall_us())

    async def look(self, errand: Errand) -> Found:
        with said():
            return await LOOKS[errand.operation](self._house, errand)

    async def carry_out(
        self, errand: Errand, guard: Guard | None, holds: Callable[[], bool]
    ) -> Any:
        async def first() -> None:
            """When it is this change's turn, and nothing else changes any more."""
            if guard is not None and etag_of(await self._seen(guard)) not in guard.etags:
                raise Stale
            if not holds():
                raise Withdrawn
            self._refuse_beyond(errand)

        args = errand.args
        if errand.operation in DECISIONS:
            args = {**args, "as": approver_of(errand.principal)}
        return await self._administration.operate(errand.author, errand.operation, args, first)

    async def _seen(self, guard: Guard) -> bytes:
        return encoded((await self.look(guard.look)).value)

    def _refuse_beyond(self, errand: Errand) -> None:
        """Raises: OperationRefused: it is about what the asker does not see, or may not hand out."""
        agents, keys = self._house.identity.agents, self._house.identity.keys
        if errand.operation == "key.issue":
            name = errand.args["agent"]
            require_agent(self._house, errand, name)
            # Whoever may make keys would be whoever a key can be made for.
            self._refuse_administrator(agents[name], "made", f"issue {name}")
        if errand.operation == "key.revoke":
            # The whole id: its beginning would tell which others there are.
            key = keys.get(errand.args["id"])
            owner = agents.get(key.agent) if key else None
            if key is None or owner is None or not errand.reaches(owner.tenant):
                raise unknown("key", errand.args["id"], "see the list of keys")
            if errand.tenant != EVERY_TENANT:
                # Who administers all tenants lives in one of them, and is not locked out by it.
                self._refuse_administrator(owner, "revoked", f"revoke {key.id}")

    def _refuse_administrator(self, agent: Agent, done: str, command: str) -> None:
        right = right_of(agent, self._house.policies.current)
        if right:
            raise OperationRefused(
                f"agent {agent.name} may {right}",
                f"keys of those who administer are not {done} over the API",
                f"on the gateway's machine: customhouse key {command}",
                Exit.NOT_OPERATOR,
            )
