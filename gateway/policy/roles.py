"""Who holds which role in which tenant: the `g` lines as a graph, bounded as Casbin bounds it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from gateway.policy.rules import Link

# Casbin's role manager looks ten levels deep, the first being the subject itself.
MAX_LINKS = 9

_Graph = Mapping[str, tuple[str, ...]]


class Roles:
    """The role graph of every tenant. Immutable."""

    __slots__ = ("_granted", "_graphs")

    def __init__(self, links: Iterable[Link]) -> None:
        graphs: dict[str, dict[str, dict[str, None]]] = {}
        granted: dict[str, set[str]] = {}
        for link in links:
            graphs.setdefault(link.tenant, {}).setdefault(link.member, {})[link.role] = None
            granted.setdefault(link.tenant, set()).add(link.role)
        self._graphs: Mapping[str, _Graph] = {
            tenant: {member: tuple(roles) for member, roles in graph.items()}
            for tenant, graph in graphs.items()
        }
        self._granted = {tenant: frozenset(names) for tenant, names in granted.items()}

    def is_role(self, name: str, tenant: str) -> bool:
        """Whether anyone in *tenant* holds *name* as a role."""
        return name in self._granted.get(tenant, ())

    def closure(self, subject: str, tenant: str, held: Collection[str] = ()) -> tuple[str, ...]:
        """The subject and every role that it holds, nearest first.

        *held* are roles that its credential proves: as if there were a link to each of them.
        """
        return tuple(self._origins(subject, tenant, held))

    def path(
        self, subject: str, role: str, tenant: str, held: Collection[str] = ()
    ) -> tuple[str, ...]:
        """The shortest chain from *subject* to *role*, both named; () when there is none."""
        origins = self._origins(subject, tenant, held)
        if role not in origins:
            return ()
        chain = [role]
        while chain[-1] != subject:
            chain.append(origins[chain[-1]])
        return tuple(reversed(chain))

    def _origins(self, subject: str, tenant: str, held: Collection[str]) -> dict[str, str]:
        """Each name in reach, in breadth-first order, with the member through which it came."""
        graph = self._graphs.get(tenant, {})
        if held:
            graph = {**graph, subject: (*graph.get(subject, ()), *sorted(held))}
        origins, queue = {subject: ""}, deque([(subject, 0)])
        while queue:
            member, links = queue.popleft()
            if links == MAX_LINKS:
                continue
            for role in graph.get(member, ()):
                if role not in origins:
                    origins[role] = member
                    queue.append((role, links + 1))
        return origins


def faults(links: Iterable[Link]) -> list[tuple[Link, str]]:
    """A link of each cycle, and of each chain that is too long, with words for what is wrong."""
    tenants: dict[str, list[Link]] = {}
    for link in links:
        tenants.setdefault(link.tenant, []).append(link)
    return [fault for group in tenants.values() for fault in _faults_of(group)]


def _faults_of(links: list[Link]) -> list[tuple[Link, str]]:
    """Peel off members that nobody holds, counting links; what cannot be peeled is a cycle."""
    holders: dict[str, int] = {}
    above: dict[str, list[Link]] = {}
    for link in links:
        holders[link.role] = holders.get(link.role, 0) + 1
        above.setdefault(link.member, []).append(link)
    ready = deque(name for name in above if name not in holders)
    depth: dict[str, int] = {}
    while ready:
        name = ready.popleft()
        for link in above.get(name, ()):
            depth[link.role] = max(depth.get(link.role, 0), depth.get(name, 0) + 1)
            holders[link.role] -= 1
            if not holders[link.role]:
                ready.append(link.role)
    stuck = [link for link in links if holders[link.role] and holders.get(link.member)]
    if stuck:
        return [_cycle(stuck)]
    long = next((link for link in links if depth[link.role] > MAX_LINKS), None)
    if long is not None:
        return [(long, f"the chain to role '{long.role}' has more than {MAX_LINKS} links")]
    return []


def _cycle(stuck: list[Link]) -> tuple[Link, str]:
    """Each role among *stuck* has a holder there, so walking down must come round again."""
    below = {link.role: link for link in stuck}
    name, seen = stuck[0].role, dict[str, None]()
    while name not in seen:
        seen[name] = None
        name = below[name].member
    names = [*list(seen)[list(seen).index(name) :], name]
    return below[name], f"roles hold one another in a circle: {' -> '.join(reversed(names))}"
