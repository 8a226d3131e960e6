"""What may be given for what: tickets for an agent itself, and narrower ones for those it sends.

Pure: what is asked for, who asks, and what it has, in; a ticket out, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.domain.model import Grant, Principal
from gateway.domain.run import NEW_RUN
from gateway.edge.oauth.server.wanted import Budget, Unfit, Wanted, malformed
from gateway.edge.oauth.ticket import Link, Ticket

OWN_LIFE_S = 3_600  # where nothing is said
DELEGATED_LIFE_S = 600


@dataclass(frozen=True, slots=True)
class Client:
    """An agent that proved who it is."""

    principal: Principal
    key: str  # id of what it proved itself with
    key_ends_s: int  # 0: never


@dataclass(frozen=True, slots=True)
class Fresh:
    """What every ticket has of its own; *run*: the id of one that nobody used yet."""

    id: str
    run: str
    now_s: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A token that was shown: whom it proves, and its ticket where the gateway gave it out."""

    principal: Principal
    ticket: Ticket | None = None

    @property
    def holder(self) -> str:
        """Who uses it: the nearest actor, else the subject itself."""
        who = self.principal
        return who.actors[0] if who.actors else who.subject

    @property
    def links(self) -> tuple[Link, ...]:
        return self.ticket.links if self.ticket is not None else ()

    @property
    def ends_s(self) -> int:
        token = self.principal.token
        return token.ends_us // 1_000_000 if token is not None else 0


def for_itself(wanted: Wanted, client: Client, audience: str, fresh: Fresh) -> Ticket:
    """The ticket of an agent that acts for nobody else."""
    ends_s = _ends_s(fresh.now_s, wanted.life_s or OWN_LIFE_S, [client.key_ends_s])
    return Ticket(
        own=Link(Grant(fresh.id, wanted.objects or (), wanted.budget), client.key),
        client=client.principal.subject,
        tenant=client.principal.tenant,
        subject=client.principal.subject,
        audience=audience,
        issued_s=fresh.now_s,
        ends_s=ends_s,
        run=_run(wanted, "", fresh),
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """A delegator's token, and the agent that is to act for it."""

    client: Client
    parent: Holding
    actor: Holding | None  # a token of the delegatee, where it is not the client itself
    most_actors: int  # 0: any number

    @property
    def delegatee(self) -> str:
        return self.actor.holder if self.actor is not None else self.client.principal.subject


def for_another(wanted: Wanted, exchange: Exchange, audience: str, fresh: Fresh) -> Ticket:
    """The ticket of an agent that acts for whom the token is that it was handed (RFC 8693).

    Raises: Unfit: it would be wider than that token, in whatever way.
    """
    _check_people(exchange)
    client, parent, actor = exchange.client, exchange.parent, exchange.actor
    who, held = parent.principal, [parent, *([actor] if actor is not None else [])]
    links = tuple({link.grant.id: link for one in held for link in one.links}.values())
    ends_s = [client.key_ends_s, *(one.ends_s for one in held)]
    return Ticket(
        own=Link(_narrowed(wanted, [link.grant for link in links], fresh.id), client.key),
        client=client.principal.subject,
        tenant=who.tenant,
        subject=who.subject,
        audience=audience,
        issued_s=fresh.now_s,
        ends_s=_ends_s(fresh.now_s, wanted.life_s or DELEGATED_LIFE_S, ends_s),
        actors=(exchange.delegatee, *who.actors),
        parents=links,
        run=_run(wanted, _run_of(held), fresh),
        roles=tuple(sorted(who.roles)),
        of=_names(parent),
    )


def narrower_audience(wanted: str, parent: str, everywhere: Sequence[str]) -> str:
    """Where the ticket is good; *wanted* and *parent* are audiences, "" for nothing said.

    Raises: Unfit: where the parent is not.
    """
    if parent in everywhere:
        return wanted or parent
    if wanted in ("", parent):
        return parent
    raise Unfit(
        "invalid_target", "The subject token is for another resource than the one asked for."
    )


def _check_people(exchange: Exchange) -> None:
    client, parent, actor = exchange.client.principal, exchange.parent, exchange.actor
    who, delegatee = parent.principal, exchange.delegatee
    if who.tenant != client.tenant or (actor and actor.principal.tenant != client.tenant):
        raise malformed("The subject token or the actor token is not good for this client.")
    if actor is not None:
        if actor.principal.actors or "/" in delegatee:
            raise malformed("The actor token is that of an agent which acts for nobody else.")
        if client.subject not in (delegatee, parent.holder):
            raise malformed("The client is neither whose token it is nor who is to act.")
    if parent.ticket is None and who.actors:
        raise malformed("A token of an issuer in which somebody acts for another is not delegated.")
    if delegatee in (who.subject, *who.actors):
        raise malformed("The agent is in the chain of the subject token already: a cycle.")
    if exchange.most_actors and len(who.actors) >= exchange.most_actors:
        raise malformed(f"A chain has at most {exchange.most_actors} actors (runs.depth).")


def _narrowed(wanted: Wanted, grants: Sequence[Grant], jti: str) -> Grant:
    """Raises: Unfit."""
    objects = wanted.objects if wanted.objects is not None else _inherited(grants)
    for grant in grants:
        if grant.objects and not (objects and all(_covers(grant.objects, one) for one in objects)):
            raise Unfit("invalid_scope", "The scope is wider than that of the token it comes from.")
    for grant in grants:
        held = dict(grant.budget)
        if any(amount > held.get(meter, amount) for meter, amount in wanted.budget):
            raise Unfit(
                "invalid_scope", "The budget is larger than that of the token it comes from."
            )
    return Grant(jti, objects, _smallest([*(g.budget for g in grants), wanted.budget]))


def _inherited(grants: Sequence[Grant]) -> tuple[str, ...]:
    return next((grant.objects for grant in grants if grant.objects), ())


def _smallest(budgets: Iterable[Budget]) -> Budget:
    """Of each meter the smallest amount: what is not asked for is what the parents have."""
    least: dict[str, int] = {}
    for meter, amount in (row for budget in budgets for row in budget):
        least[meter] = min(amount, least.get(meter, amount))
    return tuple(sorted(least.items()))


def _covers(held: Iterable[str], wanted: str) -> bool:
    """Whether all that *wanted* stands for is among what *held* stand for."""
    return any(wanted.startswith(one[:-1]) if one.endswith("*") else wanted == one for one in held)


def _ends_s(now_s: int, life_s: int, ends_s: Iterable[int]) -> int:
    """Raises: Unfit: nothing is left."""
    end_s = min([now_s + life_s, *(one for one in ends_s if one)])
    if end_s <= now_s:
        raise malformed("What the token would come from ends now.")
    return end_s


def _run(wanted: Wanted, bound: str, fresh: Fresh) -> str:
    """Raises: Unfit: the parent's is another one."""
    if bound and wanted.run not in ("", bound):
        raise malformed("The token it comes from is bound to another run.")
    return fresh.run if wanted.run == NEW_RUN else wanted.run or bound


def _run_of(held: Sequence[Holding]) -> str:
    bound = {one.principal.run for one in held if one.principal.run}
    if len(bound) > 1:
        raise malformed("The tokens are bound to different runs.")
    return bound.pop() if bound else ""


def _names(parent: Holding) -> tuple[str, ...]:
    """Under which the chain is revoked beyond what is seen of it: the token of an issuer has an id."""
    token = parent.principal.token
    if parent.ticket is not None or token is None:
        return parent.ticket.of if parent.ticket is not None else ()
    return (token.id,) if token.id else ()
