"""The tools and the prompt that answer in rounds (2026-07-28, `input_required`).

The SDK seals `requestState` on its way out and refuses an altered one before it comes back in,
so the state here is plain: the number of the round it belongs to.
"""

from collections.abc import Callable, Mapping
from typing import Any

import mcp_types as t

Asked = t.CallToolResult | t.InputRequiredResult


def said(text: str) -> t.CallToolResult:
    """A tool's answer of one sentence."""
    return t.CallToolResult(content=[t.TextContent(type="text", text=text)])


def form(message: str, **fields: str) -> t.ElicitRequest:
    """An elicitation of *fields*: name -> JSON Schema type, all required."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in fields.items()},
        "required": list(fields),
    }
    return t.ElicitRequest(
        params=t.ElicitRequestFormParams(message=message, requested_schema=schema)
    )


def sampling(question: str, max_tokens: int) -> t.CreateMessageRequest:
    """A question to the client's model."""
    content = t.TextContent(type="text", text=question)
    return t.CreateMessageRequest(
        params=t.CreateMessageRequestParams(
            messages=[t.SamplingMessage(role="user", content=content)], max_tokens=max_tokens
        )
    )


QUESTIONS: dict[str, t.InputRequests] = {
    "test_input_required_result_elicitation": {
        "user_name": form("What is your name?", name="string")
    },
    "test_input_required_result_sampling": {
        "capital_question": sampling("What is the capital of France?", 100)
    },
    "test_input_required_result_list_roots": {"client_roots": t.ListRootsRequest()},
    "test_input_required_result_request_state": {"confirm": form("Please confirm", ok="boolean")},
    "test_input_required_result_tampered_state": {"confirm": form("Please confirm", ok="boolean")},
    "test_input_required_result_multiple_inputs": {
        "user_name": form("What is your name?", name="string"),
        "greeting": sampling("Generate a greeting", 50),
        "client_roots": t.ListRootsRequest(),
    },
}
STATEFUL = frozenset(
    {
        "test_input_required_result_request_state",
        "test_input_required_result_tampered_state",
        "test_input_required_result_multiple_inputs",
    }
)
STEPS: tuple[t.InputRequests, ...] = (
    {"step1": form("Step 1: What is your name?", name="string")},
    {"step2": form("Step 2: What is your favorite color?", color="string")},
)
PROMPT_QUESTION: t.InputRequests = {
    "user_context": form("What context should the prompt use?", context="string")
}


def answered(questions: t.InputRequests, responses: Mapping[str, Any] | None) -> bool:
    """Every question has an answer. Answers to other questions are ignored."""
    return set(questions) <= set(responses or {})


def ask(name: str, params: t.CallToolRequestParams) -> Asked:
    """One round of a tool that asks once, whatever it asks."""
    questions = QUESTIONS[name]
    wanted = "1" if name in STATEFUL else None
    if answered(questions, params.input_responses) and params.request_state == wanted:
        return said(f"Thank you, state-ok: {', '.join(sorted(questions))} answered.")
    return t.InputRequiredResult(input_requests=questions, request_state=wanted)


def ask_twice(params: t.CallToolRequestParams) -> Asked:
    """Two questions in two rounds; the state says which round was answered."""
    state = params.request_state or "0"
    asked = int(state)
    if asked and answered(STEPS[asked - 1], params.input_responses):
        if asked == len(STEPS):
            return said("Both steps answered.")
        return t.InputRequiredResult(input_requests=STEPS[asked], request_state=str(asked + 1))
    return t.InputRequiredResult(input_requests=STEPS[0], request_state="1")


def ask_what_the_client_can(capabilities: t.ClientCapabilities | None) -> Asked:
    """Only questions whose capability the client declared in this very request."""
    offers: dict[str, tuple[Callable[[t.ClientCapabilities], bool], t.InputRequest]] = {
        "user_name": (
            lambda can: can.elicitation is not None,
            form("What is your name?", name="string"),
        ),
        "greeting": (lambda can: can.sampling is not None, sampling("Generate a greeting", 50)),
    }
    can = capabilities or t.ClientCapabilities()
    questions = {key: request for key, (able, request) in offers.items() if able(can)}
    if not questions:
        return said("The client can be asked nothing.")
    return t.InputRequiredResult(input_requests=questions)
