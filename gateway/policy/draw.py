"""Random requests made of a policy's own names, so that most of them meet a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from gateway.domain.model import Act, Approval, Call, CallClass, Definition, Kind, Principal
from gateway.policy.predicates import pointer
from gateway.policy.rules import ANY, Rule
from gateway.policy.snapshot import Snapshot

_WEEK_US = 7 * 86_400 * 1_000_000
_STRANGER = "stranger"
_ACTS = {Kind.RESOURCE: Act.READ, Kind.PROMPT: Act.GET, Kind.ADMIN: Act.READ}


class Draw:
    """Draws calls that are near the rules of *snapshot*: some match, some miss by one part."""

    def __init__(self, snapshot: Snapshot, random: Random) -> None:
        self._rules = snapshot.rules
        self._random = random
        self._holders: dict[str, list[str]] = {}
        for link in snapshot.links:
            self._holders.setdefault(link.role, []).append(link.member)
        tables = [condition.table for condition in snapshot.conditions.values()]
        self._tags = sorted({tag for table in tables for tag in _leaves(table.get("tags", {}))})
        self._pointers = [row for table in tables for row in table.get("arguments", ())]

    def call(self) -> Call:
        """One request, most often about a rule, sometimes off it by one part."""
        rule = self._random.choice(self._rules)
        other = self._random.choice(self._rules)
        part = self._random.randrange(6)
        subject = self._subject(other if part == 0 else rule)
        tenant = self._tenant(other if part == 1 else rule)
        kind, server, name = self._object(other if part == 2 else rule)
        act = self._act((other if part == 3 else rule).act, kind)
        return self._made(Principal(tenant, subject), kind, server, name, act)

    def group(self, n: int) -> list[Call]:
        """*n* requests with one tenant and one object between them."""
        first = self.call()
        calls = [first]
        while len(calls) < n:
            rule = self._random.choice(self._rules)
            principal = Principal(first.principal.tenant, self._subject(rule))
            act = self._act(rule.act, first.kind)
            calls.append(self._made(principal, first.kind, first.server, first.name, act))
            if self._random.random() < 0.5:
                calls.append(replace(calls[-1], principal=first.principal, act=first.act))
        return calls[:n]

    def moment_us(self) -> int:
        """Some moment of some week."""
        return 2_900 * _WEEK_US + self._random.randrange(_WEEK_US)

    def _made(self, who: Principal, kind: Kind, server: str, name: str, act: Act) -> Call:
        tags = frozenset(tag for tag in self._tags if self._random.random() < 0.3)
        definition = Definition(server, kind, name, name, b"", "", Approval.APPROVED, tags=tags)
        known = kind not in (Kind.SERVER, Kind.ADMIN) and self._random.random() < 0.9
        return Call(
            id="",
            principal=who,
            method="",
            kind=kind,
            server=server,
            name=name,
            act=act,
            weight=CallClass.FULL,
            arguments=self._arguments(),
            definition=definition if known else None,
        )

    def _subject(self, rule: Rule) -> str:
        """The rule's subject, or somebody who holds it through a few links."""
        name = _STRANGER if rule.subject == ANY else rule.subject
        for _ in range(self._random.randrange(4)):
            if holders := self._holders.get(name):
                name = self._random.choice(holders)
        return name

    def _tenant(self, rule: Rule) -> str:
        if rule.tenant != ANY:
            return rule.tenant
        other = self._random.choice(self._rules).tenant
        return "default" if other == ANY else other

    def _object(self, rule: Rule) -> tuple[Kind, str, str]:
        word, _, rest = rule.object.partition("/")
        if word not in set(Kind):
            return Kind.TOOL, "some", "thing"
        if rest.endswith(ANY):
            rest = rest[:-1] + self._random.choice(("x", "x/y", ""))
        if word == Kind.ADMIN:
            return Kind.ADMIN, "", rest
        if word == Kind.MODEL:
            return Kind.MODEL, rest, rest
        server, _, name = rest.partition("/")
        return Kind(word), server, name

    def _act(self, act: str, kind: Kind) -> Act:
        return Act(act) if act in set(Act) else _ACTS.get(kind, Act.CALL)

    def _arguments(self) -> dict[str, Any]:
        """Values at and around those that conditions name; some missing, some of another type."""
        document: dict[str, Any] = {}
        for row in self._pointers:
            if self._random.random() < 0.8:
                operators = {key: operand for key, operand in row.items() if key != "at"}
                leaf = self._random.choice(list(_leaves(operators)) or [0])
                _put(document, pointer(row["at"]), self._varied(leaf))
        return document

    def _varied(self, leaf: Any) -> Any:
        near = leaf + self._random.choice((-1, 1)) if isinstance(leaf, int) else f"{leaf}/x"
        return self._random.choice((leaf, leaf, near, near, [leaf], [leaf, near], str(leaf), None))


def _leaves(value: Any) -> Iterator[Any]:
    """The scalars inside a table of operators."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _put(document: dict[str, Any], tokens: tuple[str, ...], value: Any) -> None:
    for token in tokens[:-1]:
        inner = document.setdefault(token, {})
        if not isinstance(inner, dict):
            return
        document = inner
    document[tokens[-1]] = value
