"""What a call may cost at most, and what it did cost: pure arithmetic over one meter version."""

from __future__ import annotations

from gateway.domain import model_meter
from gateway.domain.a2a import PUSHED
from gateway.domain.asking import is_child
from gateway.domain.meter import tokens
from gateway.domain.model import (
    KEPT,
    Act,
    Amounts,
    Call,
    ModelTerms,
    Outcome,
    Permit,
    Status,
    Usage,
)
from gateway.domain.refusal import UPSTREAM_REFUSED

NOTHING = Amounts()
MAX_INPUT_TOKENS = 8_192  # of one answer of a caller to a question of the server
BODY = "body"  # the one parameter of a call of a model


def ceiling(call: Call) -> Amounts:
    """The hold of *call*: arguments plus the largest result. Later rounds, and what the server asks
    its caller meanwhile, cost no further call.
    """
    if call.act is Act.SUBSCRIBE or call.method == PUSHED:
        return NOTHING  # held to its rate alone; what a peer tells is held to the peer's
    definition = call.definition
    if definition is not None and definition.terms is not None:
        return model_meter.ceiling(call.params[BODY], call.arguments, definition)
    first = call.round == 1 and not is_child(call)
    price = definition.price_micros if definition and first else 0
    return Amounts(argument_tokens(call) + result_tokens(call), int(first), price)


def result_tokens(call: Call) -> int:
    """The most that comes back: a result, or what a caller answers to a question of the server."""
    if is_child(call):
        return MAX_INPUT_TOKENS
    if call.definition is None or call.act is Act.SUBSCRIBE or call.method == PUSHED:
        return 0
    if call.definition.terms is not None:
        return model_meter.answer_ceiling(call.arguments)
    return call.definition.max_result_tokens


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
    terms = _terms(permit)
    if terms is not None and outcome.code != KEPT:
        return _used_of_model(permit, outcome, terms)[0]
    spent = permit.argument_tokens + tokens(outcome.received_bytes)
    cost = 0 if outcome.code == KEPT else held.cost  # a model reads it, a server did not make it
    return Amounts(tokens=min(spent, held.tokens), calls=held.calls, cost=cost)


def is_underreported(permit: Permit, outcome: Outcome) -> bool:
    """Whether a model's provider says that it was far less than we counted."""
    terms = _terms(permit)
    if terms is None or outcome.usage is None or outcome.status is not Status.OK:
        return False
    return not _used_of_model(permit, outcome, terms)[1]


def _terms(permit: Permit) -> ModelTerms | None:
    definition = permit.call.definition
    return definition.terms if definition is not None else None


def _used_of_model(permit: Permit, outcome: Outcome, terms: ModelTerms) -> tuple[Amounts, bool]:
    counted = outcome.counted or Usage(permit.argument_tokens, 0)
    # What its provider refuses, or does not let us ask, nobody has made anything of.
    was_taken = outcome.status is not Status.RPC_ERROR and outcome.code != UPSTREAM_REFUSED.id
    if outcome.usage is None and was_taken and model_meter.n_opaque(permit.call.arguments):
        # Nobody says how many tokens an image was: as many as it could be, or whoever hangs up in
        # time has it for nothing.
        counted = Usage(max(permit.argument_tokens, counted.prompt), counted.completion)
    spent, is_believed = model_meter.used(permit.held, outcome.usage, counted, terms)
    if outcome.usage is None and outcome.status is Status.CANCELLED:
        spent = Amounts(spent.tokens, spent.calls, permit.held.cost)
    return spent, is_believed
