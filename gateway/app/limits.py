"""Which limits lie on a call: those declared for its tenant, its team, its agent, and its server."""

from __future__ import annotations

from gateway.config import Config
from gateway.domain.budget import Limits
from gateway.domain.model import Principal
from gateway.store.identity import Identity
from gateway.store.pseudonyms import Pseudonyms

FourLimits = tuple[Limits | None, Limits | None, Limits | None, Limits | None]


class LimitsBook:
    """Looked up on every call; nothing is cached but what the configuration gave."""

    def __init__(self, config: Config, identity: Identity, pseudonyms: Pseudonyms) -> None:
        self._tenants = {name: tenant.limits for name, tenant in config.tenants.items()}
        self._teams = {name: team.limits for name, team in config.teams.items()}
        self.servers = {name: server.limits for name, server in config.servers.items()}
        self._identity = identity
        self._pseudonyms = pseudonyms

    def of(self, principal: Principal, server: str) -> FourLimits:
        return self._of(principal.tenant, principal.team, principal.subject, server)

    def of_accounts(self, accounts: tuple[str, ...]) -> FourLimits:
        """The same, from the pseudonyms an entry holds; an erased name has no limits."""
        tenant, team, agent, tool = map(self._pseudonyms.name, accounts)
        server = tool.partition(" ")[2].split("/")[1:2]
        return self._of(tenant, team.partition("/")[2], agent, server[0] if server else "")

    def _of(self, tenant: str, team: str, agent: str, server: str) -> FourLimits:
        known = self._identity.agents.get(agent)
        return (
            self._tenants.get(tenant),
            self._teams.get(team),
            known.limits if known else None,
            self.servers.get(server),
        )
