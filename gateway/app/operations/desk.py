"""The API's way into the house: looks, and the operations of the socket, within the asker's reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.app.clock import wall_us
from gateway.app.house import House
from gateway.app.operations.administration import Administration, said
from gateway.app.operations.entering import unknown
from gateway.app.operations.looks import LOOKS, require_agent, unknown_agent
from gateway.domain.model import Call, Principal
from gateway.domain.operator import Exit, OperationRefused
from gateway.edge.api.desk import Errand, Found, Guard, Stale, Withdrawn
from gateway.edge.api.etag import encoded, etag_of
from gateway.edge.api.routes import RIGHTS


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

        return await self._administration.operate(
            errand.author, errand.operation, errand.args, first
        )

    async def _seen(self, guard: Guard) -> bytes:
        return encoded((await self.look(guard.look)).value)

    def _refuse_beyond(self, errand: Errand) -> None:
        """Raises: OperationRefused: it is about what the asker does not see, or may not hand out."""
        if errand.operation == "key.issue":
            name = errand.args["agent"]
            require_agent(self._house, errand, name)
            self._refuse_administrator(name)
        if errand.operation == "key.revoke":
            # The whole id: its beginning would tell which others there are.
            key = self._house.identity.keys.get(errand.args["id"])
            owner = self._house.identity.agents.get(key.agent) if key else None
            if key is None or owner is None or not errand.reaches(owner.tenant):
                raise unknown("key", errand.args["id"], "see the list of keys")

    def _refuse_administrator(self, name: str) -> None:
        """Whoever may make keys would be whoever a key can be made for."""
        agent = self._house.identity.agents.get(name)
        if agent is None:
            raise unknown_agent(name)
        policy = self._house.policies.current
        who = Principal(agent.tenant, agent.name, agent.team)
        for noun, act in RIGHTS:
            ruling = policy.ruling(who, act, f"admin/{noun}")
            if ruling is not None and (ruling.allow >= 0 or ruling.allows):
                raise OperationRefused(
                    f"agent {name} may {act} admin/{noun}",
                    "keys of those who administer are not made over the API",
                    f"on the gateway's machine: customhouse key issue {name}",
                    Exit.NOT_OPERATOR,
                )
