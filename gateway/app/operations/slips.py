"""What is spelt rightly and names nothing: most often a typing mistake. It is told, never refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from gateway.app.operations.reading import Reading
from gateway.config import Config
from gateway.domain.model import Kind
from gateway.policy.rules import BINDINGS_FILE, did_you_mean
from gateway.policy.snapshot import Snapshot

_ADD = "add one to the policy"


def idle_roles(policy: Snapshot, roles: Iterable[str]) -> Iterator[str]:
    """A sentence for each of *roles* that gives nothing: no rule is for it, none waits for it."""
    useful = {rule.subject for rule in policy.rules}
    useful |= {role for rule in policy.rules for role in rule.approvals}
    useful |= {link.member for link in policy.links if link.file != BINDINGS_FILE}
    for role in roles:
        if role not in useful:
            yield f"no rule names the role {role}; {did_you_mean(role, useful, _ADD)}"


def declared_roles(config: Config, policy: Snapshot) -> Iterator[str]:
    """The same of the roles that the file gives, to agents or for tokens."""
    for name, agent in config.agents.items():
        yield from (f"agents.{name}.roles: {said}" for said in idle_roles(policy, agent.roles))
    for name, issuer in config.issuers.items():
        given = dict.fromkeys(role for *_, role in issuer.roles)
        yield from (f"issuers.{name}.roles: {said}" for said in idle_roles(policy, given))


def unknown_skills(config: Config, house: Reading) -> Iterator[str]:
    """A sentence for each skill that messages may ask, and that the card, as it was seen, has not."""
    for name, peer in config.peers.items():
        pins = house.registry.pins.values()
        seen = {p.place[2] for p in pins if p.place[:2] == (name, Kind.PEER) and not p.gone}
        for glob in peer.rules.skills if seen else ():
            if not any(fnmatchcase(skill, glob) for skill in seen):
                hint = did_you_mean(glob, seen, f"see: customhouse tool list {name}")
                yield f"peers.{name}.rules: the card has no skill {glob!a:.60}; {hint}"
