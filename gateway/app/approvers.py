"""Who may approve calls: whose credential is good, and who has the role that a rule names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.domain.approval import Approver
from gateway.domain.model import Principal
from gateway.policy.snapshot import Policies


class Credentials(Protocol):
    def is_live(self, principal: Principal, now_us: int) -> bool: ...


class Approvers:
    def __init__(
        self, policies: Policies, credentials: Credentials, clock: Callable[[], int]
    ) -> None:
        self._policies = policies
        self.credentials = credentials  # of agents; where there are issuers, of their tokens, too
        self._clock = clock

    def has(self, approver: Approver, tenant: str, role: str) -> bool:
        """Whether *approver* has *role* in *tenant* now; an operator of this machine has every one.

        By a link in that tenant, or because the credential proves it. Somebody of another tenant
        has none here, and neither has whoever came with a credential that is not good any more.
        """
        who = approver.principal
        if who is None:
            return True
        if who.tenant != tenant or not self.credentials.is_live(who, self._clock()):
            return False
        held = self._policies.current.roles.closure(who.subject, tenant, who.roles)
        return role in held[1:]  # the first is the subject itself
