"""Attacks on the API: to see another tenant, to be more than one is, to change what one has not seen."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import anyio
import pytest

from gateway.audit import entry as entries
from gateway.domain.model import Principal
from gateway.edge.api.places import AT_ONCE
from gateway.edge.api.routes import Queue
from tests.app.administered import KEYS, Administered, anyio_backend, api, fresh, once, own
from tests.edge.fakes import Knocker, Response

__all__ = ["anyio_backend", "api", "fresh", "once", "own"]  # fixtures
pytestmark = pytest.mark.anyio
SERVER = "/servers/shelf"


async def called(api: Administered, who: str) -> str:
    """The id of a call of *who*, which is refused; its arguments are sealed."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "shelf_add",
            "arguments": {"secret": "of-the-island"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    knocker = Knocker(api.app, KEYS[who])
    said = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call"}
    answer = await knocker.raw(
        json.dumps(body).encode(), knocker.headers(**said, mcp_name="shelf_add")
    )
    return str(answer.json["error"]["data"]["io.customhouse/refusal"]["call_id"])


def nothing_of(answer: Response, *words: str) -> None:
    said = answer.body.decode()
    for word in words:
        assert word not in said, (word, said)


# -- another tenant -------------------------------------------------------------------------------


async def test_one_tenant_does_not_see_another_in_any_list(api: Administered) -> None:
    await called(api, "bystander")
    for path in ("/agents", "/keys", "/budgets", "/entries"):
        answer = await api.get("overseer", path)
        await called(api, "bystander")
        assert answer.status == 200, answer.body
        nothing_of(answer, '"op"', "eye", "author", "bystander", "other", '"default"')
    # The newest entry is another tenant's: a page is filled with what the asker may see.
    page = (await api.get("overseer", "/entries", limit=1)).json["items"]
    assert [row["tenant"] for row in page] == ["acme"]
    names = {row["name"] for row in (await api.get("overseer", "/agents")).json["items"]}
    assert names == {"overseer-acme", "climber", "acme-bot"}


@pytest.mark.parametrize(
    "path",
    ["/health", "/servers", SERVER, "/definitions", "/policy", "/policy/findings",
     "/policy/proposals"],
)  # fmt: skip
async def test_a_right_in_one_tenant_is_none_about_the_house(api: Administered, path: str) -> None:
    answer = await api.get("overseer", path)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    nothing_of(answer, "shelf", str(api.home.folder))


async def test_a_right_in_one_tenant_changes_nothing_of_the_house(api: Administered) -> None:
    answer = await api.post("overseer", f"{SERVER}/suspend", if_match='"x"')
    assert answer.status == 403
    assert not api.house.registry.suspended


async def test_a_call_of_another_tenant_is_like_none(api: Administered) -> None:
    theirs, mine = await called(api, "bystander"), await called(api, "overseer")
    nobodys = "0" * 26
    for path in ("", "/payloads", "/proof"):
        assert (await api.get("overseer", f"/calls/{mine}{path}")).status == 200
        no = await api.get("overseer", f"/calls/{theirs}{path}")
        none = await api.get("overseer", f"/calls/{nobodys}{path}")
        assert alike(no, theirs) == alike(none, nobodys)
        assert no.status == 404
    looks = [subject for what, _, subject in api.changes() if what == "audit.payload_read"]
    assert f"call/{theirs}" not in looks
    assert f"call/{mine}" in looks


async def test_an_agent_of_another_tenant_is_like_none(api: Administered) -> None:
    for verb, path, body in (
        ("GET", "/agents/{}", None),
        ("GET", "/keys?agent={}", None),
        ("GET", "/policy/explain?agent={}&object=shelf/add", None),
        ("POST", "/keys", {"agent": "{}"}),
    ):
        answers = []
        for name in ("eye", "nix"):
            where, _, query = path.format(name).partition("?")
            given = {"agent": name} if body else None
            pairs = dict(pair.split("=") for pair in query.split("&")) if query else None
            answer = await api.ask("overseer", verb, where, query=pairs, body=given)
            assert answer.status == 404, (path, answer.body)
            answers.append(alike(answer, name))
        assert answers[0] == answers[1]


async def test_a_key_of_another_tenant_is_not_revoked(api: Administered) -> None:
    theirs = next(key.id for key in api.house.identity.keys.values() if key.agent == "eye")
    for beginning in (theirs, theirs[:-1], "config:eye:"):
        assert (await api.post("overseer", f"/keys/{beginning}/revoke")).status == 404
    assert (await api.get("eye", "/agents")).status == 200


def alike(answer: Response, name: str) -> dict[str, Any]:
    """What is told, without what differs from request to request."""
    told = json.loads(answer.body.decode().replace(name, "NAME"))
    return {key: value for key, value in told.items() if key not in ("call_id", "instance")}


@pytest.mark.parametrize(
    "words",
    [
        ["tenant:default"],
        ["-tenant:acme"],
        ["tenant:acme,default"],
        ["tenant:*"],
        ["agent:bystander"],
        ["kind:change"],
        ["kind:folded"],
        ["kind:open"],
    ],
)
async def test_no_query_widens_the_reach(api: Administered, words: list[str]) -> None:
    await called(api, "bystander")
    rows = (await api.get("overseer", "/entries", q=words)).json["items"]
    assert {row["tenant"] for row in rows} <= {"acme"}


async def test_a_tenants_own_file_makes_nobody_an_auditor_of_the_house(api: Administered) -> None:
    # tenants/acme.csv says: g, climber, auditor, acme. The role's rules hold in every tenant.
    await called(api, "bystander")
    assert (await api.get("climber", "/servers")).status == 403
    rows = (await api.get("climber", "/entries")).json["items"]
    assert {row["tenant"] for row in rows} == {"acme"}
    assert (await api.get("climber", "/agents/eye")).status == 404


# -- more than one is -----------------------------------------------------------------------------


async def test_whoever_makes_keys_does_not_become_an_auditor(api: Administered) -> None:
    before = len(api.house.identity.keys)
    for who in ("op", "overseer"):
        for name in ("eye", "overseer-acme", "climber", "approver-ann"):
            assert (await api.post(who, "/keys", {"agent": name})).status in (403, 404)
    assert len(api.house.identity.keys) == before


async def test_payloads_are_for_auditors(api: Administered) -> None:
    call_id = await called(api, "bystander")
    for who in ("op", "author", "ann", "bystander", "overseer"):
        answer = await api.get(who, f"/calls/{call_id}/payloads")
        assert answer.status in (403, 404)
        nothing_of(answer, "of-the-island")
    seen = await api.get("eye", f"/calls/{call_id}/payloads")
    assert "of-the-island" in seen.body.decode()
    for path in ("/entries", f"/calls/{call_id}"):
        nothing_of(await api.get("eye", path), "of-the-island")


async def test_nothing_is_changed_on_somebody_elses_behalf(
    fresh: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An actor with all the rights there are to it, so that it is not for these that it is refused.
    delegated = Principal("default", "op", actors=("op",), credential="config:op:x")
    monkeypatch.setattr(fresh.house.identity, "authenticate", lambda *_: delegated)
    monkeypatch.setattr(fresh.house.identity, "is_live", lambda *_: True)
    etag = (await fresh.get("op", SERVER)).headers["etag"]
    answer = await fresh.post("op", f"{SERVER}/suspend", if_match=etag)
    assert answer.status == 403
    assert "behalf" in answer.json["detail"]
    assert not fresh.house.registry.suspended


class Turn(asyncio.Lock):
    """The turn of changes, which tells when somebody waits for it."""

    asked: anyio.Event | None = None

    async def acquire(self) -> Literal[True]:
        if self.asked is not None:
            self.asked.set()
        return await super().acquire()


async def test_a_key_that_is_revoked_while_its_change_waits_changes_nothing(
    fresh: Administered,
) -> None:
    etag = (await fresh.get("op", SERVER)).headers["etag"]
    answers: list[Response] = []
    turn = Turn()
    fresh.desk._one_at_a_time = turn

    async def suspend() -> None:
        answers.append(await fresh.post("op", f"{SERVER}/suspend", if_match=etag))

    with anyio.fail_after(5):
        # The turn is another change's, which takes its time.
        async with anyio.create_task_group() as group, turn:
            turn.asked = anyio.Event()
            group.start_soon(suspend)
            await turn.asked.wait()
            fresh.house.identity.remove_agent("op")
    assert answers[0].status == 403
    assert not fresh.house.registry.suspended


async def test_of_two_who_saw_the_same_state_one_changes_it(fresh: Administered) -> None:
    etag = (await fresh.get("op", SERVER)).headers["etag"]
    ends: list[int] = []

    async def suspend() -> None:
        ends.append((await fresh.post("op", f"{SERVER}/suspend", if_match=etag)).status)

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE[Queue.CHANGES]):
            group.start_soon(suspend)
    assert sorted(ends) == [200, *[412] * (AT_ONCE[Queue.CHANGES] - 1)]
    assert [what for what, *_ in fresh.changes()].count("server.suspend") == 1


# -- what is sent ---------------------------------------------------------------------------------


async def cursor_of(api: Administered, who: str, path: str, **query: Any) -> str:
    return str((await api.get(who, path, limit=1, **query)).json["next"])


async def test_a_cursor_is_for_one_question_of_one_principal(api: Administered) -> None:
    good = await cursor_of(api, "eye", "/agents")
    assert (await api.get("eye", "/agents", cursor=good, limit=1)).status == 200
    entry = await cursor_of(api, "eye", "/entries", q="agent:eye")
    flipped = good[:5] + ("A" if good[5] != "A" else "B") + good[6:]
    for who, path, query in (
        ("overseer", "/agents", {"cursor": good}),
        ("op", "/agents", {"cursor": good}),
        ("eye", "/keys", {"cursor": good}),
        ("eye", "/agents", {"cursor": flipped}),
        ("eye", "/agents", {"cursor": good[:-1]}),
        ("eye", "/agents", {"cursor": good + "AAAA"}),
        ("eye", "/agents", {"cursor": "!"}),
        ("eye", "/agents", {"cursor": "AAAA"}),
        ("eye", "/entries", {"cursor": entry}),
        ("eye", "/entries", {"cursor": entry, "q": "agent:op"}),
    ):
        answer = await api.get(who, path, **query)
        assert (answer.status, answer.json["code"]) == (400, "bad_cursor"), (who, path, query)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"agent":"acme-bot","agent":"eye"}', 400),
        (b'{"agent":"acme-bot"}{"agent":"eye"}', 400),
        (b'{"agent":"acme-bot","days":NaN}', 400),
        (b'{"agent":"acme-bot","days":1e999}', 400),
        (b'{"agent":"\\ud800"}', 400),
        (b'{"agent":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"agent":"acme-bot","days":[' + b"1," * 150_000 + b"1]}", 413),
        (b" " * 1_048_577, 413),
        (b'["agent"]', 400),
        (b'"agent"', 400),
        (b"null", 400),
        (b"\xff\xfe{}", 400),
        (b'{"agent":"acme-bot","days":true}', 400),
        (b'{"agent":"acme-bot","days":-1}', 400),
        (b'{"agent":"acme-bot","days":99999}', 400),
        (b'{"agent":["acme-bot"]}', 400),
        (b'{"agent":"acme-bot","tenant":"default"}', 400),
        (b'{"agent":"acme-bot","__proto__":{}}', 400),
    ],
)
async def test_a_body_that_can_be_read_in_two_ways_or_is_too_much_makes_no_key(
    api: Administered, body: bytes, status: int
) -> None:
    before = len(api.house.identity.keys)
    answer = await api.ask("op", "POST", "/keys", body=body)
    assert answer.status == status, answer.body
    assert len(api.house.identity.keys) == before


async def test_a_part_of_the_path_is_not_overruled_by_the_body(api: Administered) -> None:
    body = {"name": "other"}
    answer = await api.post("op", f"{SERVER}/suspend", body, if_match='"x"')
    assert (answer.status, answer.json["code"]) == (400, "bad_params")


@pytest.mark.parametrize(
    "path",
    [
        "/servers/../agents", "/servers/..", "/servers/shelf/", "/servers//shelf", "/servers/shelf\n",
        "/servers/shelf/../shelf", "/agents/op\x00", "/agents/OP", "/agents/", "/calls/../entries",
        f"/calls/{'0' * 27}", f"/calls/{'u' * 26}", "/keys/..%2f/revoke", "/servers/\u0455helf", "",
        "/", "/openapi.json/", "/servers;x=1",
    ],
)  # fmt: skip
async def test_a_path_is_spelled_in_one_way(api: Administered, path: str) -> None:
    answer = await api.get("eye", path)
    assert (answer.status, answer.json["code"]) == (404, "unknown_object")


@pytest.mark.parametrize("verb", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "TRACE", "X"])
async def test_a_verb_is_one_that_is_named(api: Administered, verb: str) -> None:
    answer = await api.ask("op", verb, SERVER)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_no_header_makes_a_look_a_change(api: Administered) -> None:
    for name in ("x_http_method_override", "x_method_override", "x_http_method"):
        answer = await api.ask("op", "GET", f"{SERVER}/suspend", headers={name: "POST"})
        assert answer.status == 405
    assert not api.house.registry.suspended


async def test_a_look_has_no_body(api: Administered) -> None:
    for said in ({"content_length": "2"}, {"transfer_encoding": "chunked"}):
        answer = await api.ask("op", "GET", "/servers", headers=said)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({"origin": "https://evil.example"}, {}, 403),
        ({"host": "evil.example"}, {}, 421),
        ({"x_api_key": "x"}, {}, 400),
        ({}, {"access_token": "x"}, 400),
        ({"authorization": None}, {}, 401),
        ({"authorization": "Basic b3A6b3A="}, {}, 401),
    ],
)
async def test_the_door_is_the_one_of_mcp(
    api: Administered, headers: dict[str, Any], query: dict[str, str], status: int
) -> None:
    answer = await api.ask("op", "GET", "/servers", headers=headers, query=query)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status


@pytest.mark.parametrize(
    "query",
    [b"limit=1&limit=2", b"q", b"q=%ff", b"&&", b"limit=1;cursor=x", b"\xff=1", b"a=1&" * 65],
)
async def test_a_query_is_read_in_one_way(api: Administered, query: bytes) -> None:
    knocker = Knocker(api.app, KEYS["eye"], "/api/v1/agents")
    said = knocker.headers(accept=None, content_type=None)
    answer = await knocker.raw(b"", said, method="GET", query_string=query)
    assert (answer.status, answer.json["code"]) == (400, "bad_params")


async def test_an_answer_never_quotes_a_credential_and_every_no_is_an_entry(
    api: Administered,
) -> None:
    before = len(api.entries())
    answers = [
        await api.get("nobody-with-this-key", "/servers"),
        await api.get("op", "/entries"),
        await api.get("op", "/nothing"),
        await api.ask("op", "PUT", SERVER),
        await api.post("op", f"{SERVER}/suspend"),
        await api.post("op", "/keys", {"agent": "nobody"}),
    ]
    for answer in answers:
        nothing_of(answer, "nobody-with-this-key", KEYS["op"])
    codes = [e.code for e in api.entries()[before:] if isinstance(e, entries.Refused)]
    # The stranger's is folded, and written later.
    assert codes == [
        "forbidden",
        "unknown_object",
        "unknown_method",
        "etag_missing",
        "unknown_object",
    ]
