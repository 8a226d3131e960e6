"""Agents and their keys: only digests are kept, and what is revoked is gone with the next look."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Engine
from sqlmodel import Session, select

from gateway.domain.budget import Limits
from gateway.domain.model import Principal
from gateway.domain.rate import Rate
from gateway.domain.revocation import AGENT, WITH
from gateway.store.backing import keep
from gateway.store.tables import AgentRow, KeyRow
from gateway.store.writer import Effect

KEY_PREFIX = "chk_"
ALWAYS_US = 2**62  # a time that does not come
DECLARED, REGISTERED = "config", "registry"
STAND_IN = "token"  # no key: it stands in for tokens of an issuer that were revoked
REMOVED = "removed"  # a row stays, so that none can be taken away, or put back, around the log


class NameTaken(Exception):
    """The name is declared in the configuration file, or registered already."""


@dataclass(frozen=True, slots=True)
class Agent:
    name: str
    tenant: str = "default"
    team: str = ""
    roles: tuple[str, ...] = ()
    limits: Limits | None = None
    disabled: bool = False
    origin: str = REGISTERED


@dataclass(frozen=True, slots=True)
class Key:
    """One API key. Times in microseconds; 0: never."""

    id: str
    agent: str
    digest: bytes
    issued_at_us: int = 0
    expires_at_us: int = 0
    revoked_at_us: int = 0
    origin: str = REGISTERED

    def is_good(self, now_us: int) -> bool:
        return not self.revoked_at_us and (not self.expires_at_us or now_us < self.expires_at_us)


def key_digest(key: str) -> bytes:
    """Keys are 256 random bits, so one SHA-256 is enough: there is nothing to guess."""
    return hashlib.sha256(key.encode()).digest()


def new_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


class Identity:
    """Who may knock. Looked up in memory on every request; changed only after its entry committed."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.keys: dict[str, Key] = {}
        self.public_keys: frozenset[str] = frozenset()  # ids of those with which agents sign
        self._by_digest: dict[bytes, Key] = {}
        self._principals: dict[str, Principal] = {}  # by key id

    def load(self, engine: Engine, declared: Iterable[tuple[Agent, str | None]]) -> None:
        """Take the registry's rows and the *declared* agents, each with its key in clear or None.

        Raises: NameTaken: an agent is in both.
        """
        with Session(engine) as session:
            agent_rows = session.exec(select(AgentRow)).all()
            key_rows = session.exec(select(KeyRow)).all()
        overrides = {row.name: row for row in agent_rows}
        for agent, key in declared:
            row = overrides.pop(agent.name, None)
            if row is not None and row.origin == REGISTERED:
                raise NameTaken(f"agent {agent.name!r} is both declared and registered")
            disabled = row is not None and bool(row.disabled)
            self.set_agent(replace(agent, origin=DECLARED, disabled=disabled))
            if key is not None:
                self.set_key(_declared_key(agent.name, key))
        for row in overrides.values():
            if row.origin == REGISTERED:
                self.set_agent(_agent(row))
        for key_row in key_rows:
            self.set_key(_key(key_row))

    def authenticate(self, key: str, now_us: int) -> Principal | None:
        """The principal behind *key*, or None for any other."""
        known = self._by_digest.get(key_digest(key))
        if known is None or not known.is_good(now_us):
            return None
        return self._principals.get(known.id)

    def is_live(self, principal: Principal, now_us: int) -> bool:
        """Whether a request that *principal*'s key opened may go on."""
        credential = principal.credential
        key = self.keys.get(credential)
        return key is not None and key.is_good(now_us) and credential in self._principals

    def revoked_us(self, key_id: str) -> int:
        """When the key, or the tokens, of that id were revoked; 0: they were not."""
        known = self.keys.get(key_id)
        return known.revoked_at_us if known is not None else 0

    def withdrawn_us(self, name: str) -> int:
        """Since when tokens that hang on *name* are worth nothing; 0: they are good.

        *name* as in gateway.domain.revocation: an agent that has to be there, a key that must not
        have gone, or what is revoked by its own id.
        """
        if name.startswith(AGENT):
            tenant, _, agent = name.removeprefix(AGENT).partition("/")
            return 0 if self.standing(tenant, agent) is not None else ALWAYS_US
        if name.startswith(WITH):
            key = name.removeprefix(WITH)
            known = self.keys.get(key)
            if known is None:
                return 0 if key in self.public_keys else ALWAYS_US
            return known.revoked_at_us
        return self.revoked_us(name)

    def standing(self, tenant: str, name: str) -> Agent | None:
        """The agent of that name in that tenant, if it may come in."""
        agent = self.agents.get(name)
        if agent is None or agent.disabled or agent.tenant != tenant:
            return None
        return agent

    def issued_keys(self, now_us: int) -> int:
        """How many keys made by command can still open the door."""
        return sum(key.origin == REGISTERED and key.is_good(now_us) for key in self.keys.values())

    def bindings(self) -> tuple[tuple[str, str, str], ...]:
        """Role links (agent, role, tenant) for the policy snapshot, sorted."""
        agents = self.agents.values()
        return tuple(sorted((a.name, role, a.tenant) for a in agents for role in a.roles))

    def set_agent(self, agent: Agent) -> None:
        self.agents[agent.name] = agent
        for key in self.keys.values():
            if key.agent == agent.name:
                self._bind(key)

    def remove_agent(self, name: str) -> None:
        """Forget an agent; none of its keys opens anything from here on."""
        self.agents.pop(name, None)
        for key in self.keys.values():
            if key.agent == name:
                self._bind(key)

    def forget_key(self, key_id: str) -> None:
        """Let go of a key that opens nothing any more."""
        key = self.keys.pop(key_id)
        self._principals.pop(key_id, None)
        if self._by_digest.get(key.digest) is key:
            del self._by_digest[key.digest]

    def set_key(self, key: Key) -> None:
        known = self._by_digest.get(key.digest)
        if known is not None and known.id != key.id and key.revoked_at_us == 0:
            raise NameTaken(f"key {key.id} and key {known.id} are the same secret")
        self.keys[key.id] = key
        self._by_digest[key.digest] = key
        self._bind(key)

    def _bind(self, key: Key) -> None:
        agent = self.agents.get(key.agent)
        if agent is None or agent.disabled:
            self._principals.pop(key.id, None)
            return
        self._principals[key.id] = Principal(
            tenant=agent.tenant,
            subject=agent.name,
            team=agent.team,
            credential=key.id,
        )


def _declared_key(agent: str, key: str) -> Key:
    # The digest is part of the id: a revocation stays with the secret, not with the place it stood.
    digest = key_digest(key)
    return Key(declared_key_id(agent, digest), agent, digest, origin=DECLARED)


def declared_key_id(agent: str, digest: bytes) -> str:
    return f"config:{agent}:{digest.hex()[:8]}"


def revoked_tokens(key_id: str, now_us: int) -> Key:
    """The row that keeps tokens out from *now_us* on: a key that was revoked when it was made."""
    digest = key_digest(key_id)
    return Key(key_id, "", digest, issued_at_us=now_us, revoked_at_us=now_us, origin=STAND_IN)


def agent_effect(agent: Agent) -> Effect:
    values = (
        agent.name,
        agent.origin,
        agent.tenant,
        agent.team,
        json.dumps(sorted(agent.roles)),
        _limits_text(agent.limits),
        int(agent.disabled),
    )
    return keep("agents", values)


def key_effect(key: Key) -> Effect:
    values = (
        key.id,
        key.agent,
        key.digest,
        key.origin,
        key.issued_at_us,
        key.expires_at_us,
        key.revoked_at_us,
    )
    return keep("keys", values)


def _agent(row: AgentRow) -> Agent:
    roles = tuple(json.loads(row.roles))
    limits = _limits(row.limits)
    return Agent(row.name, row.tenant, row.team, roles, limits, bool(row.disabled), row.origin)


# {"budgets":[["tokens","day",200000]],"rate":"60/min"}


def _limits_text(limits: Limits | None) -> str:
    if limits is None:
        return ""
    budgets = sorted([meter, window, amount] for (meter, window), amount in limits.budgets.items())
    return json.dumps({"budgets": budgets, "rate": str(limits.rate) if limits.rate else ""})


def _limits(text: str) -> Limits | None:
    if not text:
        return None
    stored = json.loads(text)
    rate = Rate.parse(stored["rate"]) if stored["rate"] else None
    return Limits(rate, {(meter, window): amount for meter, window, amount in stored["budgets"]})


def _key(row: KeyRow) -> Key:
    return Key(
        row.id, row.agent, row.digest, row.issued_at, row.expires_at, row.revoked_at, row.origin
    )
