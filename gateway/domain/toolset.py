"""A curated bundle of tools: a place to find them, and no right to use them.

    tools = ["docs/search", "git/git_*", "role:analyst"]

One tool, those of a server whose names begin so, and all that analysts may use. Who calls through it
needs the same rights as elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.domain.names import is_name

_ANY = "*"
_ROLE = "role:"


@dataclass(frozen=True, slots=True)
class Toolset:
    exact: frozenset[str] = frozenset()  # server/name
    prefixes: tuple[str, ...] = ()  # server/begi
    roles: tuple[str, ...] = ()

    @classmethod
    def of(cls, items: Iterable[str]) -> Toolset:
        """Raises: ValueError: an item is neither `server/tool`, `server/begi*` nor `role:name`."""
        exact, prefixes, roles = set(), [], []
        for item in items:
            server, slash, tool = item.partition("/")
            if item.startswith(_ROLE) and is_name(item[len(_ROLE) :]):
                roles.append(item[len(_ROLE) :])
            elif not slash or not is_name(server) or not tool or _ANY in tool[:-1]:
                raise ValueError('expected "server/tool", "server/begins_*" or "role:analyst"')
            elif tool.endswith(_ANY):
                prefixes.append(item[:-1])
            else:
                exact.add(item)
        return cls(frozenset(exact), tuple(prefixes), tuple(roles))

    def names(self, server: str, tool: str) -> bool:
        """Whether it holds that tool by name; what it holds for its roles, policy has to say."""
        name = f"{server}/{tool}"
        return name in self.exact or name.startswith(self.prefixes)

    @property
    def servers(self) -> frozenset[str]:
        """Every server that it names."""
        return frozenset(item.partition("/")[0] for item in (*self.exact, *self.prefixes))
