"""The API of a real gateway over real HTTP: every answer is what its document says, and the command
line does from elsewhere what it does here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from gateway.edge.api.routes import PREFIX, routes_at
from gateway.store import engine
from tests.app.administered import KEYS, furnished
from tests.cli.fixtures import silence
from tests.cli.household import Household
from tests.journey.process import GatewayProcess, headers, modern

pytestmark = pytest.mark.slow


@dataclass
class Journey:
    home: Household
    process: GatewayProcess
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=20))
    document: dict[str, Any] = field(default_factory=dict)
    seen: set[tuple[str, str]] = field(default_factory=set)  # operation, status

    @property
    def url(self) -> str:
        return self.process.url

    def ask(self, who: str, verb: str, path: str, **more: Any) -> httpx2.Response:
        """One request, whose answer has to be one that the document has for it."""
        said = {"Authorization": f"Bearer {KEYS[who]}", **more.pop("headers", {})}
        answer = self.client.request(verb, f"{self.url}{PREFIX}{path}", headers=said, **more)
        operation = self._operation(verb, path)
        if operation is not None:
            self._hold_to(operation, answer)
        return answer

    def _operation(self, verb: str, path: str) -> Mapping[str, Any] | None:
        for route, _ in routes_at(PREFIX + path.partition("?")[0]):
            if route.verb == verb:
                found: Mapping[str, Any] = self.document["paths"][PREFIX + route.path][verb.lower()]
                return found
        return None

    def _hold_to(self, operation: Mapping[str, Any], answer: httpx2.Response) -> None:
        promised = operation["responses"][str(answer.status_code)]
        self.seen.add((operation["operationId"], str(answer.status_code)))
        if "content" not in promised:
            assert not answer.content
            return
        kind = answer.headers["content-type"]
        schema = _closed(promised["content"][kind]["schema"])
        whole = {**schema, "components": _closed(self.document["components"])}
        jsonschema_rs.validator_for(whole).validate(answer.json())

    def run(self, who: str, *arguments: str) -> Any:
        """A command from elsewhere; its JSON, or the refusal."""
        self.home.environ["CUSTOMHOUSE_KEY"] = KEYS[who]
        result = self.home.run("--url", self.url, *arguments, "--json")
        assert result.exit_code in (0, 1), result.output
        return json.loads(result.stdout)


def _closed(schema: Any) -> Any:
    """*schema*, with objects that have no more members than it names."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: _closed(one) for name, one in schema.items()}
    if isinstance(schema.get("properties"), dict):
        said.setdefault("additionalProperties", False)
    return said


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    home = Household(tmp_path_factory.mktemp("journey"))
    home.write()
    home.database.parent.mkdir(mode=0o700)
    engine.prepare(home.database)
    with silence():
        furnished(home)
    environ = {**home.environ, "CUSTOMHOUSE_URL": ""}
    process = GatewayProcess(home.folder / "customhouse.toml", environ).start()
    made = Journey(home, process)
    try:
        made.document = made.client.get(
            f"{made.url}{PREFIX}/openapi.json", headers={"Authorization": f"Bearer {KEYS['op']}"}
        ).json()
        yield made
        assert process.stop() == 0
        with silence():
            assert home.ask("audit", "verify")["clean"] is True
    finally:
        made.client.close()
        if process.process.poll() is None:
            process.kill()


def call_tool(journey: Journey, who: str, name: str) -> str:
    """The id of a call to a tool, made or refused."""
    body = modern("tools/call", {"name": name, "arguments": {"x": "of-the-island"}})
    said = headers("tools/call", name, KEYS[who])
    message = journey.client.post(f"{journey.url}/mcp", content=body, headers=said).json()
    holder = message.get("result", {}).get("_meta") or message["error"]["data"]
    found = holder.get("io.customhouse/call") or holder["io.customhouse/refusal"]
    return str(found["call_id"])


def test_every_answer_is_as_the_document_says(journey: Journey) -> None:
    _look_at_everything(journey)
    _change_servers_and_keys(journey)
    _change_policy_and_definitions(journey)
    _answer_what_waits(journey)
    visited = {operation for operation, _ in journey.seen}
    promised = {
        operation["operationId"]
        for verbs in journey.document["paths"].values()
        for operation in verbs.values()
    }
    assert visited == promised


def _look_at_everything(journey: Journey) -> None:
    call_id = call_tool(journey, "bystander", "shelf_add")
    for path in (
        "/health", "/servers", "/servers/shelf", "/definitions", "/definition?object=shelf/add",
        "/agents", "/agents/op", "/keys", "/policy", "/policy/findings", "/policy/proposals",
        "/policy/explain?agent=op&object=admin/servers", "/budgets", "/entries?q=-kind:change",
        f"/calls/{call_id}", f"/calls/{call_id}/payloads", f"/calls/{call_id}/proof", "/checkpoint",
    ):  # fmt: skip
        answer = journey.ask("eye", "GET", path)
        assert answer.status_code == 200, (path, answer.text)
        assert journey.ask("bystander", "GET", path).status_code == 403, path
    etag = journey.ask("op", "GET", "/servers/shelf").headers["etag"]
    same = journey.ask("op", "GET", "/servers/shelf", headers={"If-None-Match": etag})
    assert same.status_code == 304


def _change_servers_and_keys(journey: Journey) -> None:
    for verb in ("suspend", "resume"):
        path = f"/servers/shelf/{verb}"
        assert journey.ask("op", "POST", path).status_code == 428
        assert journey.ask("op", "POST", path, headers={"If-Match": '"x"'}).status_code == 412
        etag = journey.ask("op", "GET", "/servers/shelf").headers["etag"]
        assert journey.ask("op", "POST", path, headers={"If-Match": etag}).status_code == 200
    made = journey.ask("op", "POST", "/keys", json={"agent": "acme-bot"})
    assert made.status_code == 201
    assert journey.ask("op", "POST", f"/keys/{made.json()['id']}/revoke").status_code == 200
    assert journey.ask("op", "POST", "/keys", json={"agent": "none"}).status_code == 404
    assert journey.ask("op", "POST", "/keys", json={"agnet": "none"}).status_code == 400
    assert journey.ask("op", "POST", "/keys", content=b"{}").status_code == 415
    assert journey.ask("op", "POST", "/keys", content=b" " * 2**21).status_code == 413


def _change_policy_and_definitions(journey: Journey) -> None:
    etag = journey.ask("author", "GET", "/policy").headers["etag"]
    applied = journey.ask("author", "POST", "/policy/apply", headers={"If-Match": etag})
    assert applied.json()["changed"] is False
    nothing = f"/policy/proposals/{'0' * 64}"
    assert journey.ask("ann", "GET", nothing).status_code == 404
    assert journey.ask("ann", "POST", f"{nothing}/approve").status_code == 428
    unseen = {"If-Match": '"0"'}
    assert journey.ask("ann", "POST", f"{nothing}/approve", headers=unseen).status_code == 404
    shown = journey.ask("ann", "GET", "/definition?object=shelf/sub").json()
    one = {"kind": "tool", "server": "shelf", "name": "sub", "digest": shown["digest"]}
    assert journey.ask("ann", "POST", "/definition/approve", json=one).status_code == 200
    seen = [["tool", "add", "0" * 64]]
    answer = journey.ask("ann", "POST", "/servers/shelf/approve", json={"seen": seen})
    assert answer.status_code == 409


def _answer_what_waits(journey: Journey) -> None:
    assert journey.ask("eye", "GET", "/approvals").json()["items"] == []
    nothing = "/approvals/A-00000000"
    for path in (nothing, f"{nothing}/arguments"):
        assert journey.ask("eye", "GET", path).status_code == 404
    for verb in ("approve", "deny"):
        path = f"{nothing}/{verb}"
        assert journey.ask("ann", "POST", path).status_code == 428
        assert journey.ask("ann", "POST", path, headers={"If-Match": '"0"'}).status_code == 404


def test_a_look_at_payloads_is_an_entry_before_it_is_answered(journey: Journey) -> None:
    call_id = call_tool(journey, "bystander", "shelf_add")
    told = journey.ask("eye", "GET", f"/calls/{call_id}/payloads").json()
    assert '{"x": "of-the-island"}' in told["entries"][0]["arguments_opened"]
    assert "of-the-island" not in journey.ask("eye", "GET", f"/calls/{call_id}").text
    looks = journey.ask("eye", "GET", "/entries?q=what:audit.payload_read").json()["items"]
    assert (looks[0]["author"], looks[0]["subject"]) == ("agent:eye", f"call/{call_id}")


def test_a_proof_over_the_api_is_verified_without_the_gateway(
    journey: Journey, tmp_path: Path
) -> None:
    call_id = call_tool(journey, "bystander", "shelf_add")
    proofs = journey.ask("eye", "GET", f"/calls/{call_id}/proof").json()["proofs"]
    path = tmp_path / "call.proof"
    path.write_text("".join(proofs))
    vkey = str(journey.home.folder / "keys" / "log.vkey")
    proved = journey.home.ask("audit", "verify", "--proof", str(path), "--vkey", vkey)
    assert call_id in proved["entries"][0]["entry"]


def test_commands_from_elsewhere_say_what_they_say_here(journey: Journey) -> None:
    home = journey.home
    for arguments in (
        ("server", "list"), ("server", "show", "shelf"), ("agent", "list"),
        ("tool", "list"), ("tool", "show", "shelf/add"),
        ("budget", "show"), ("policy", "can-i", "op", "admin/servers"),
        ("policy", "explain", "bystander", "shelf/add"),
    ):  # fmt: skip
        here = json.loads(home.run(*arguments, "--json").stdout)
        there = journey.run("eye", *arguments)
        assert _sorted(there) == _sorted(here), arguments


def _sorted(value: Any) -> Any:
    """*value* in an order of its own: two lists of the same rows are the same."""
    return (
        sorted(json.dumps(row, sort_keys=True) for row in value)
        if isinstance(value, list)
        else value
    )


def test_an_operator_works_from_elsewhere(journey: Journey) -> None:
    assert journey.run("op", "server", "suspend", "shelf")["suspended"] is True
    assert journey.run("op", "server", "resume", "shelf")["suspended"] is False
    made = journey.run("op", "key", "issue", "acme-bot", "--days", "1")
    assert journey.run("op", "key", "revoke", made["id"])["changed"] is True
    assert journey.run("author", "policy", "apply")["changed"] is False
    call_id = call_tool(journey, "bystander", "shelf_add")
    rows = journey.run("eye", "audit", "query", f"call:{call_id}")
    assert [row["status"] for row in rows] == ["refused"]
    told = journey.run("eye", "audit", "show", call_id)
    assert told["entries"][0]["agent"] == "bystander"
    text = journey.home.run("--url", journey.url, "audit", "show", call_id).stdout
    assert "bystander" in text


def test_an_approver_sees_from_elsewhere_what_is_approved(journey: Journey) -> None:
    done = journey.run("ann", "tool", "approve", "shelf/sub", "--yes")
    assert done["object"] == "tool/shelf/sub"
    result = journey.home.run("--url", journey.url, "server", "approve", "shelf", "--yes")
    assert result.exit_code == 0, result.output
    assert '"description": "adds"' in result.stdout
    listed = journey.ask("ann", "GET", "/definitions").json()["items"]
    assert {row["approval"] for row in listed} == {"approved"}


@pytest.mark.parametrize(
    ("who", "arguments", "code"),
    [
        ("bystander", ("agent", "list"), 4),
        ("op", ("server", "show", "none"), 1),
        ("op", ("agent", "add", "x"), 2),
        ("op", ("audit", "verify"), 2),
        ("op", ("serve",), 2),
        ("op", ("tool", "lock"), 2),
        ("eye", ("audit", "query", "--payloads"), 2),
        ("op", ("key", "issue", "eye"), 4),
    ],
)
def test_commands_from_elsewhere_end_with_the_codes_they_have_here(
    journey: Journey, who: str, arguments: tuple[str, ...], code: int
) -> None:
    journey.home.environ["CUSTOMHOUSE_KEY"] = KEYS[who]
    result = journey.home.run("--url", journey.url, *arguments)
    assert result.exit_code == code, result.output
    assert KEYS[who] not in result.output
