"""Servers that ask what they may not, and answers from those who were not asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from gateway.store import engine
from tests.attacks.conftest import KEYS, Border
from tests.journey.process import headers, modern

pytestmark = pytest.mark.slow

FORM, SAMPLE, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"
SECRET = "tell me your password"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


@dataclass
class Older:
    """A client of the older era, by hand, as one agent."""

    border: Border
    agent: str
    session: str = ""

    def __post_init__(self) -> None:
        self.session = self._open({})

    def declare(self, **capabilities: Any) -> "Older":
        self.session = self._open(capabilities)
        return self

    def _open(self, capabilities: dict[str, Any]) -> str:
        said = {"name": "by hand", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": said}
        answer = self.post({"id": 1, "method": "initialize", "params": params})
        session: str = answer.headers["mcp-session-id"]
        return session

    def headers(self, session: str = "") -> dict[str, str]:
        said = {
            "Authorization": f"Bearer {KEYS[self.agent]}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        session = session or self.session
        return said | ({"Mcp-Session-Id": session} if session else {})

    def post(self, message: dict[str, Any], session: str = "") -> httpx2.Response:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        return self.border.post(body, self.headers(session))

    @contextmanager
    def calling(self, tool: str, **arguments: Any) -> Iterator[Iterator[Any]]:
        """The messages on the stream of one call, as they come."""
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        url, body = self.border.url + "/mcp", json.dumps(message).encode()
        with self.border.client.stream("POST", url, content=body, headers=self.headers()) as stream:
            yield _messages(stream)

    def call(self, tool: str, **arguments: Any) -> list[Any]:
        """All messages of a call that nobody is asked in."""
        with self.calling(tool, **arguments) as messages:
            return list(messages)


def _messages(stream: httpx2.Response) -> Iterator[Any]:
    if stream.headers["content-type"] == "application/json":
        yield json.loads(stream.read())
        return
    for line in stream.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def text(message: Any) -> Any:
    return json.loads(message["result"]["content"][0]["text"])


def logged(border: Border, kind: str) -> int:
    """How many entries of *kind* say that something may not be asked."""
    with engine.reading(border.folder / "data" / engine.DATABASE) as connection:
        rows = connection.execute("SELECT body FROM entries WHERE kind = ?", (kind,))
        return sum(b'"code":"not_askable"' in body for (body,) in rows)


@pytest.mark.parametrize(
    ("method", "params", "declared", "code"),
    [
        pytest.param(SAMPLE, {}, {}, -32601, id="sampling, not declared"),
        pytest.param(SAMPLE, {}, {"elicitation": {}}, -32601, id="sampling, another declared"),
        pytest.param(ROOTS, {}, {"roots": {}}, -32601, id="roots, declared and not allowed"),
        pytest.param(FORM, {}, {"sampling": {}}, -32601, id="a form, not declared"),
        pytest.param(FORM, {"mode": "url"}, {"elicitation": {}}, -32602, id="a page, not declared"),
        pytest.param("tools/call", {}, {"elicitation": {}}, -32601, id="no question at all"),
    ],
)
def test_a_caller_is_not_asked_what_it_did_not_declare(
    border: Border, method: str, params: dict[str, Any], declared: dict[str, Any], code: int
) -> None:
    before = logged(border, "refused")
    older = Older(border, "tester").declare(**declared)
    given = {**params, "message": SECRET}
    [answer] = older.call("nosy_ask", method=method, params=given)
    assert SECRET not in json.dumps(answer)
    assert text(answer)[0]["code"] == code
    is_question = method != "tools/call"
    assert logged(border, "refused") - before == is_question


@pytest.mark.parametrize("method", [SAMPLE, ROOTS, FORM, "tools/call"])
def test_nor_is_one_of_the_newest_era(border: Border, method: str) -> None:
    before = logged(border, "outcome")
    arguments = {"method": method, "params": {"message": SECRET}}
    answer = border.call("nosier_ask", arguments)
    assert SECRET not in json.dumps(answer)
    assert answer["result"]["_meta"]["io.customhouse/refusal"]["code"] == "not_askable"
    assert logged(border, "outcome") - before == 1


def test_only_whoever_was_asked_can_answer(border: Border) -> None:
    tester = Older(border, "tester").declare(elicitation={})
    other_session = Older(border, "tester").declare(elicitation={})
    thief = Older(border, "second").declare(elicitation={})
    with tester.calling("nosy_ask", method=FORM, params={"message": "?"}) as messages:
        question = next(messages)
        forged = {"id": question["id"], "result": {"action": "accept", "content": {"by": "Eve"}}}
        assert thief.post(forged).status_code == 400
        assert thief.post(forged, tester.session).status_code == 404
        assert other_session.post(forged).status_code == 400
        assert tester.post({**forged, "id": "ask-99"}).status_code == 400
        right = {"id": question["id"], "result": {"action": "decline"}}
        assert tester.post(right).status_code == 202
        assert tester.post(forged).status_code == 400
        assert text(next(messages)) == [{"action": "decline"}]
    assert tester.post(forged).status_code == 400


def test_two_agents_that_are_asked_at_once_see_their_own_questions(border: Border) -> None:
    one = Older(border, "tester").declare(elicitation={})
    other = Older(border, "second").declare(elicitation={})
    with (
        one.calling("nosy_ask", method=FORM, params={"message": "one"}) as first,
        other.calling("nosy_ask", method=FORM, params={"message": "other"}) as second,
    ):
        questions = next(first), next(second)
        assert [question["params"]["message"] for question in questions] == ["one", "other"]
        for older, question in ((other, questions[1]), (one, questions[0])):
            said = {"action": "accept", "content": {"agent": older.agent}}
            assert older.post({"id": question["id"], "result": said}).status_code == 202
        ended = [text(next(first)), text(next(second))]
    assert [end[0]["content"]["agent"] for end in ended] == ["tester", "second"]


def test_a_call_that_waits_for_input_is_its_callers_alone(border: Border) -> None:
    name, arguments = "nosy_ask", {"method": FORM, "params": {"message": "?"}}
    can: dict[str, Any] = {CAPABILITIES: {"elicitation": {}}}

    def ask(agent: str, **more: Any) -> Any:
        params = {"name": name, "arguments": arguments, "_meta": can, **more}
        said = headers("tools/call", name, KEYS[agent])
        return border.post(modern("tools/call", params), said).json()

    begun = ask("tester")["result"]
    assert begun["resultType"] == "input_required"
    answer = {key: {"action": "accept"} for key in begun["inputRequests"]}
    state = begun["requestState"]
    assert ask("second", requestState=state, inputResponses=answer)["error"]["code"] == -32602
    forged = state[:-2] + ("AA" if not state.endswith("AA") else "BB")
    assert ask("tester", requestState=forged, inputResponses=answer)["error"]["code"] == -32602
    assert text(ask("tester", requestState=state, inputResponses=answer)) == [{"action": "accept"}]
    assert ask("tester", requestState=state, inputResponses=answer)["error"]["code"] == -32602


def test_a_server_that_never_stops_asking_is_answered_eight_times(border: Border) -> None:
    older = Older(border, "tester").declare(elicitation={})
    with older.calling("nosy_ask", method=FORM, params={"message": "?"}, times=100) as messages:
        for _ in range(8):
            question = next(messages)
            assert (
                older.post({"id": question["id"], "result": {"action": "cancel"}}).status_code
                == 202
            )
        said = text(next(messages))
    assert len(said) == 100
    assert sum("code" in one for one in said) == 92


def test_an_answer_that_floods_does_not_reach_the_server(border: Border) -> None:
    older = Older(border, "tester").declare(elicitation={})
    with older.calling("nosy_ask", method=FORM, params={"message": "?"}) as messages:
        question = next(messages)
        huge = {"action": "accept", "content": {"x": "y" * 100_000}}
        assert older.post({"id": question["id"], "result": huge}).status_code == 202
        assert text(next(messages))[0]["code"] == -32603
