"""Which limits lie on a call: those declared for its tenant, its team, its agent, and its server."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config, Upstream
from gateway.domain.budget import Limits
from gateway.domain.lives import IN_CALENDAR
from gateway.domain.model import Principal
from gateway.store.identity import Identity
from gateway.store.pseudonyms import Pseudonyms

FourLimits = tuple[Limits | None, Limits | None, Limits | None, Limits | None]


class LimitsBook:
    """Looked up on every call, in what is in force at that moment."""

    def __init__(
        self,
        config: Config,
        servers: Mapping[str, Upstream],
        identity: Identity,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._tenants = {name: tenant.limits for name, tenant in config.tenants.items()}
        self._teams = {name: team.limits for name, team in config.teams.items()}
        self._servers = servers  # grows when one is added by command
        self._identity = identity
        self._pseudonyms = pseudonyms

    def of(self, principal: Principal, server: str) -> FourLimits:
        return self._of(principal.tenant, principal.team, principal.subject, server)

    def of_accounts(self, accounts: tuple[str, ...]) -> tuple[Limits | None, ...]:
        """The same, from the pseudonyms an entry holds; an erased name has no limits.

        Nor has a run or a grant, as far as any name tells: nobody says theirs beforehand.
        """
        tenant, team, agent, tool = map(self._pseudonyms.name, accounts[:IN_CALENDAR])
        server = tool.partition(" ")[2].split("/")[1:2]
        four = self._of(tenant, team.partition("/")[2], agent, server[0] if server else "")
        return (*four, *(None for _ in accounts[IN_CALENDAR:]))

    def _of(self, tenant: str, team: str, agent: str, server: str) -> FourLimits:
        known, behind = self._identity.agents.get(agent), self._servers.get(server)
        return (
            self._tenants.get(tenant),
            self._teams.get(team),
            known.limits if known else None,
            behind.limits if behind else None,
        )
