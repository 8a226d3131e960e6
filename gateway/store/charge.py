"""What a call may cost at most, and what it did cost: pure arithmetic over one meter version."""

from __future__ import annotations

from gateway.domain.meter import tokens
from gateway.domain.model import Amounts, Call, Outcome, Permit, Status

NOTHING = Amounts()


def ceiling(call: Call) -> Amounts:
    """The hold of *call*: arguments plus the largest result. Later rounds cost no further call."""
    definition = call.definition
    first = call.round == 1
    result_tokens = definition.max_result_tokens if definition else 0
    price = definition.price_micros if definition and first else 0
    return Amounts(argument_tokens(call) + result_tokens, int(first), price)


def argument_tokens(call: Call) -> int:
    n_bytes = 0
    for raw in call.params.values():
        n_bytes += len(raw)
    for key, raw in call.meta.items():  # whatever is passed on can carry what an argument could
        n_bytes += len(key) + len(raw)
    return tokens(n_bytes)


def used(permit: Permit, outcome: Outcome) -> Amounts:
    """The charge: nothing when nothing was sent, everything when the end is unknown."""
    held = permit.held
    if outcome.status is Status.NOT_SENT or not outcome.sent:
        return NOTHING
    if outcome.status is Status.UNKNOWN:
        return held
    spent = permit.argument_tokens + tokens(outcome.received_bytes)
    return Amounts(tokens=min(spent, held.tokens), calls=held.calls, cost=held.cost)
