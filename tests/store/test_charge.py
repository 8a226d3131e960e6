"""What a model's call is charged when nobody says what it used."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.model import (
    Amounts,
    Approval,
    Definition,
    Kind,
    ModelTerms,
    Outcome,
    Permit,
    Status,
    Usage,
)
from gateway.store.charge import ceiling, result_tokens, used
from tests.fakes import make_call

MODEL = Definition(
    "m",
    Kind.MODEL,
    "m",
    "m",
    b"{}",
    "0" * 64,
    Approval.APPROVED,
    terms=ModelTerms("m", "small", 1_000, 1_000_000, 1_000_000, 50),
)
IMAGE = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]


def permit(content: Any) -> Permit:
    arguments = {"messages": [{"role": "user", "content": content}], "max_completion_tokens": 100}
    params = {"body": json.dumps(arguments).encode()}
    call = replace(make_call(definition=MODEL), arguments=arguments, params=params)
    held, answer = ceiling(call), result_tokens(call)
    return Permit(call, 1, held, (), held.tokens - answer, answer)  # as the ledger does


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.OK, Status.FAILED])
def test_an_image_that_nobody_counted_is_as_long_as_it_may_be(status: Status) -> None:
    asked = permit(IMAGE)
    charged = used(asked, Outcome(status, counted=Usage(4, 20)))
    assert (asked.held, charged.tokens) == (Amounts(1_100, 1, 1_100), 1_020)


def test_an_image_that_the_provider_did_not_take_is_no_token() -> None:
    charged = used(permit(IMAGE), Outcome(Status.RPC_ERROR, code="http_429", counted=Usage(0, 0)))
    assert charged == Amounts(0, 1, 0)


def test_an_image_costs_no_agent_anything_where_our_credential_is_not_taken() -> None:
    refused = Outcome(Status.FAILED, code="upstream_refused", counted=Usage(4, 0))
    assert used(permit(IMAGE), refused) == Amounts(4, 1, 4)


def test_what_the_provider_says_of_an_image_is_believed() -> None:
    charged = used(permit(IMAGE), Outcome(Status.OK, usage=Usage(85, 20), counted=Usage(4, 20)))
    assert charged == Amounts(105, 1, 105)


def test_whoever_leaves_before_it_is_known_pays_the_cost_that_was_held() -> None:
    asked = permit("Name a river.")
    charged = used(asked, Outcome(Status.CANCELLED, counted=Usage(4, 20)))
    assert charged == Amounts(24, 1, asked.held.cost)
    told = used(asked, Outcome(Status.CANCELLED, usage=Usage(4, 20), counted=Usage(4, 20)))
    assert told == Amounts(24, 1, 24)
