"""One version of the policy, compiled: immutable to its users, with every cache inside it.

Replacing the one reference in `Policies` therefore changes decisions and forgets caches in the same
instant. Used from the thread of the event loop; building one is pure and may happen elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from gateway.domain.model import (
    Act,
    Approval,
    Call,
    Decision,
    Definition,
    Kind,
    Principal,
    Verdict,
)
from gateway.policy import joint
from gateway.policy.conditions import Conditions, Facts
from gateway.policy.decide import (
    DISCOVERER,
    PRIMARY,
    Judgement,
    Looked,
    facts_of,
    is_ambiguous,
    is_filtered,
    judge,
    listed,
    object_of,
    recorded,
    sees,
    unmet,
)
from gateway.policy.explain import Explanation, explain
from gateway.policy.files import TENANTS, PolicySource, version
from gateway.policy.roles import Roles
from gateway.policy.rules import ANY, Link, Rule
from gateway.policy.view import NEVER, Ruling, View

Clock = Callable[[], int]
_Who = tuple[str, str, frozenset[str]]  # subject, tenant, roles that the credential proves
_NO_ROLES: Final[frozenset[str]] = frozenset()
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
# Reading a member off an Enum class costs as much as a look-up.
_ALLOW: Final = Verdict.ALLOW
_DENY: Final = Verdict.DENY
_MODEL: Final = Kind.MODEL
_PEER: Final = Kind.PEER
_APPROVED: Final = Approval.APPROVED

# Bounds of the caches. Resource names are the caller's to choose, so what is kept under them is
# small and thrown away as a whole when full: a flood costs its sender's peers microseconds.
MAX_RULINGS: Final = 8_192
MAX_KEPT_NAME: Final = 512
MAX_SIGHTS: Final = 65_536  # of registered definitions only
MAX_SUBJECTS: Final = 65_536
MAX_DECISIONS: Final = 4_096
MAX_VIEWED_RULES: Final = 2_000_000  # references in all views together


class Snapshot:
    """Decides calls as Casbin would over the same files, in microseconds."""

    def __init__(
        self,
        policy_version: str,
        rules: Sequence[Rule],
        links: Iterable[Link],
        conditions: Conditions,
    ) -> None:
        self.version: Final = policy_version
        self.rules: Final = tuple(rules)
        self.links: Final = tuple(links)
        self.conditions: Final = conditions
        self.roles: Final = Roles(self.links)
        self._platform_roles: Roles | None = None  # made when somebody administers
        self._by_subject: dict[tuple[str, str], list[Rule]] = {}
        for rule in self.rules:
            self._by_subject.setdefault((rule.subject, rule.tenant), []).append(rule)
        self._views: dict[tuple[tuple[str, str], ...], View] = {}
        self._viewed_rules = 0
        self._subjects: dict[_Who, View] = {}
        self._callers: dict[_Who, View | None] = {}  # None: must not call at all
        self._rulings: dict[tuple[View, str, str], Ruling] = {}
        self._sights: dict[tuple[View, str], Ruling] = {}
        self._decisions: dict[tuple[object, ...], Decision] = {}
        self._rights: dict[tuple[object, ...], str] = {}
        self._barred: dict[tuple[View, str, str], bool] = {}  # messages that name no skill
        self._always = Decision(Verdict.ALLOW, policy_version, visible=True)
        self._never = Decision(Verdict.DENY, policy_version)

    def decide(self, call: Call, now_us: int) -> Decision:
        """Allow or deny *call*; never raises, and costs microseconds.

        Whoever acts for others may do what all of them may, within what each token says: see joint.
        """
        principal = call.principal
        if principal.actors or principal.grants:
            decisions = [decision for _, decision in self.by_party(call, now_us)]
            covers = is_filtered(call) or joint.covers(principal.grants, object_of(call))
            return joint.joined(decisions, covers)
        return self._decide_one(call, now_us)

    def by_party(self, call: Call, now_us: int) -> list[tuple[Call, Decision]]:
        """What is decided of the caller by itself, then of each that it acts for."""
        return [(each, self._decide_one(each, now_us)) for each in joint.parties(call)]

    def _decide_one(self, call: Call, now_us: int) -> Decision:
        principal = call.principal
        key = (principal.subject, principal.tenant, principal.roles)
        try:
            view = self._callers[key]
        except KeyError:
            view = self._caller(*key)
        if view is None:
            return self._never
        if is_filtered(call):
            return self._always
        if principal.subject == DISCOVERER:
            return self._always if call.act is Act.LIST else self._never
        if is_ambiguous(call):
            return self._never
        decision = self._answer(view, call, now_us)
        if call.kind is _PEER and call.name == ANY and decision.verdict is not _DENY:
            return self._never if self._bars(view, call) else decision
        return decision

    def judge(self, call: Call, now_us: int) -> Decision:
        """What the rules alone say of *call*, whose subject may be a role: Casbin's very answer."""
        principal = call.principal
        view = self._view(principal.subject, principal.tenant, principal.roles)
        return self._answer(view, call, now_us)

    def visible(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        """Those of *definitions* that the principal may see in lists, in their order.

        Depends on the principal, the definitions and this version alone: time and arguments do not
        hide. What is not approved is never listed.
        """
        if principal.actors or principal.grants:
            for party in joint.principals(principal):
                definitions = self._visible_to_one(party, definitions)
            grants = principal.grants
            return tuple([d for d in definitions if joint.covers(grants, d.object)])
        return self._visible_to_one(principal, definitions)

    def _visible_to_one(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        if principal.subject == DISCOVERER:
            return tuple(d for d in definitions if d.approval is Approval.APPROVED)
        view = self._caller(principal.subject, principal.tenant, principal.roles)
        if view is None:
            return ()
        return tuple([d for d in definitions if self._lists(view, principal, d)])

    def visible_to_role(
        self, principal: Principal, definitions: Iterable[Definition]
    ) -> tuple[Definition, ...]:
        """As `visible`, by the rules alone: the subject may be a role, and has no other."""
        view = self._view(principal.subject, principal.tenant, _NO_ROLES)
        return tuple([d for d in definitions if self._lists(view, principal, d)])

    def ruling(self, principal: Principal, act: Act, name: str) -> Ruling | None:
        """All that the rules say of it; None when no principal may be called so.

        Of the subject alone, whomever it acts for.
        """
        view = self._caller(principal.subject, principal.tenant, principal.roles)
        return None if view is None else self._ruling(view, act._value_, name)

    def rights(self, principal: Principal) -> str:
        """Equal only for two principals whose equal calls are all decided alike.

        Who it is counts only through the rules and conditions that look at it.
        """
        who = principal
        limits = tuple(grant.objects for grant in who.grants)
        key = (who.subject, who.tenant, who.team, who.roles, who.scopes, who.actors, limits)
        rights = self._rights.get(key)
        if rights is None:
            rights = self._rights_of(principal)
            _keep(self._rights, key, rights, MAX_SUBJECTS)
        return rights

    def _rights_of(self, principal: Principal) -> str:
        names = self.roles.closure(principal.subject, principal.tenant, principal.roles)
        parts = self._parts(names, principal.tenant)
        scopes = sorted(principal.scopes)
        roles, limits = sorted(principal.roles), [grant.objects for grant in principal.grants]
        said = (parts, principal.tenant, principal.team, roles, scopes, principal.actors, limits)
        return hashlib.sha256(f"{self.version} {said!r}".encode()).hexdigest()

    def spans_tenants(self, call: Call, now_us: int) -> bool:
        """Whether a rule of every tenant (`*`) allows *call*, by roles that the platform gave.

        What a tenant's own file says of roles does not count here: its people would give
        themselves the rights of those who look after all tenants. Whether *call* is allowed at all
        is for `decide` to say. Whoever acts for others needs such a rule for each of them.
        """
        if self._platform_roles is None:
            platform = (link for link in self.links if not link.file.startswith(TENANTS))
            self._platform_roles = Roles(platform)
        roles = self._platform_roles
        return all(self._spans(roles, party, now_us) for party in joint.parties(call))

    def _spans(self, platform: Roles, call: Call, now_us: int) -> bool:
        who = call.principal
        names = {*platform.closure(who.subject, who.tenant, who.roles), ANY}
        rules = [rule for name in names for rule in self._by_subject.get((name, ANY), ())]
        ruling = View(rules).rule_on(call.act._value_, object_of(call))
        return judge(ruling, facts_of(call, now_us), self.conditions, {})[0] is _ALLOW

    def explain(self, call: Call, now_us: int) -> Explanation:
        """Why *call* is decided as it is, in words and rules, for people who may see the policy."""
        return explain(self, call, now_us)

    def _answer(self, view: View, call: Call, now_us: int) -> Decision:
        name = object_of(call)
        ruling = self._ruling(view, call.act._value_, name)
        if not ruling.denies and ruling.deny == NEVER and ruling.allow >= 0 and not ruling.allows:
            return self._decided((_ALLOW, ruling.allow, ()), {}, True)
        facts = facts_of(call, now_us)
        looked: Looked = {}
        said = judge(ruling, facts, self.conditions, looked)
        verdict, rule, _ = said
        if verdict is _ALLOW:
            return self._decided(said, looked, True)
        if not (listed(call) and self._sees(view, call, name, facts)):
            return self._decided(said, looked, False)
        if verdict is not _DENY:
            return self._decided(said, looked, True)
        in_the_way = unmet(ruling, self.rules[rule] if rule >= 0 else None, looked)
        return self._decided(said, looked, True, in_the_way)

    def _bars(self, view: View, call: Call) -> bool:
        """A message to a peer that names no skill may be about any: whether one is denied."""
        key = (view, call.act._value_, call.server)
        barred = self._barred.get(key)
        if barred is None:
            barred = view.denies_below(call.act._value_, f"peer/{call.server}/")
            _keep(self._barred, key, barred, MAX_RULINGS)
        return barred

    def _decided(
        self, said: Judgement, looked: Looked, visible: bool, in_the_way: tuple[str, ...] = ()
    ) -> Decision:
        """Few decisions differ, and making a frozen value costs more than finding it."""
        verdict, rule, approvals = said
        key = (rule, verdict is _ALLOW, approvals, visible, in_the_way, *looked.items())
        decision = self._decisions.get(key)
        if decision is None:
            told = recorded(looked)
            decision = Decision(verdict, self.version, rule, told, visible, in_the_way, approvals)
            _keep(self._decisions, key, decision, MAX_DECISIONS)
        return decision

    def _lists(self, view: View, principal: Principal, definition: Definition) -> bool:
        if definition.approval is not _APPROVED:
            return False
        if definition.kind is _MODEL:
            name = definition.object
        else:  # the same, without a call
            name = "/".join((definition.kind, definition.server, definition.name))
        sight = self._sights.get((view, name))
        if sight is None:
            sight = view.sight_of(PRIMARY[definition.kind._value_], name)
            _keep(self._sights, (view, name), sight, MAX_SIGHTS)
        if not sight.denies and (sight.deny != NEVER or sight.allow >= 0 or not sight.allows):
            return sight.deny == NEVER and sight.allow >= 0
        return sees(sight, Facts(principal, definition.tags, {}, 0), self.conditions)

    def _sees(self, view: View, call: Call, name: str, facts: Facts) -> bool:
        """As `_lists`, of an object whose name may be the caller's invention: nothing is kept."""
        sight = self._sights.get((view, name))
        if sight is None:
            sight = view.sight_of(PRIMARY[call.kind._value_], name)
        return sees(sight, facts, self.conditions)

    def _ruling(self, view: View, act: str, name: str) -> Ruling:
        key = (view, act, name)
        ruling = self._rulings.get(key)
        if ruling is None:
            ruling = view.rule_on(act, name)
            if len(name) <= MAX_KEPT_NAME:
                _keep(self._rulings, key, ruling, MAX_RULINGS)
        return ruling

    def _caller(self, subject: str, tenant: str, held: frozenset[str]) -> View | None:
        """The view of a principal, or None when no principal may be called so."""
        key = (subject, tenant, held)
        if key not in self._callers:
            # Casbin lets empty names match empty rules, and `*` is no tenant's and nobody's name.
            # Agents and roles share one space of names: whoever is registered under the name of a
            # role must not have its rights for it.
            named = bool(subject) and bool(tenant) and ANY not in (subject, tenant)
            barred = not named or self.roles.is_role(subject, tenant)
            view = None if barred else self._view(subject, tenant, held)
            _keep(self._callers, key, view, MAX_SUBJECTS)
        return self._callers[key]

    def _view(self, subject: str, tenant: str, held: frozenset[str]) -> View:
        key = (subject, tenant, held)
        view = self._subjects.get(key)
        if view is None:
            view = self._view_of(self.roles.closure(subject, tenant, held), tenant)
            _keep(self._subjects, key, view, MAX_SUBJECTS)
        return view

    def _view_of(self, names: Sequence[str], tenant: str) -> View:
        """One view for all who hold the same roles: agents are many, sets of roles are few."""
        parts = self._parts(names, tenant)
        view = self._views.get(parts)
        if view is None:
            view = View([rule for part in parts for rule in self._by_subject[part]])
            self._viewed_rules += len(view)
            if self._viewed_rules > MAX_VIEWED_RULES:
                self._forget(len(view))
            self._views[parts] = view
        return view

    def _parts(self, names: Sequence[str], tenant: str) -> tuple[tuple[str, str], ...]:
        return tuple(
            (name, domain)
            for name in sorted({*names, ANY})
            for domain in (tenant, ANY)
            if (name, domain) in self._by_subject
        )

    def _forget(self, viewed_rules: int) -> None:
        """Drop every cache; *viewed_rules* are those of the one view that is being made."""
        self._views.clear()
        self._subjects.clear()
        self._callers.clear()
        self._rulings.clear()
        self._sights.clear()
        self._barred.clear()
        self._viewed_rules = viewed_rules


def _keep(cache: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Remember within bounds: a full cache is emptied, which costs less than tidying it."""
    if len(cache) >= most:
        cache.clear()
    cache[key] = value


class Policies:
    """The policy in force: one reference, replaced as a whole."""

    def __init__(self, current: Snapshot, clock: Clock) -> None:
        self.current = current
        self._clock = clock

    def decide(self, call: Call) -> Decision:
        """Decide *call* under the policy in force now."""
        return self.current.decide(call, self._clock())

    def swap(self, snapshot: Snapshot) -> None:
        """Put *snapshot* in force for every later decision."""
        self.current = snapshot


def builtin_deny_all() -> Snapshot:
    """The policy of a gateway without a policy folder: nobody may do anything."""
    return Snapshot(version(PolicySource({}), ()), (), (), {})
