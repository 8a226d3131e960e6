"""The API: who may look and change, what they see, and what stands in the log of it."""

from __future__ import annotations

import anyio
import pytest

from gateway.app.operations import glances, search
from gateway.audit import entry as entries
from gateway.edge.api import places
from gateway.edge.api.routes import Queue
from tests.app.administered import (
    KEYS,
    Administered,
    administered,
    anyio_backend,
    api,
    fresh,
    once,
    own,
)
from tests.cli.household import Household

__all__ = ["anyio_backend", "api", "fresh", "once", "own"]  # fixtures
pytestmark = pytest.mark.anyio
SERVER = "/servers/shelf"


async def test_without_a_credential_the_api_says_401_and_how_to_come_in(api: Administered) -> None:
    answer = await api.get("nobody", "/servers")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "not_authenticated"


async def test_an_operator_lists_and_shows_servers(api: Administered) -> None:
    answer = await api.get("op", "/servers")
    assert answer.status == 200, answer.body
    assert [row["name"] for row in answer.json["items"]] == ["shelf"]
    assert answer.headers["cache-control"] == "no-store"
    shown = await api.get("op", SERVER)
    assert shown.json["definitions"] == {"proposed": 2}
    assert shown.json["state"] == "serving"


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("op", "/entries"),
        ("op", "/checkpoint"),
        ("op", f"/calls/{'0' * 26}/payloads"),
        ("op", "/policy"),
        ("author", "/servers"),
        ("author", "/keys"),
        ("ann", "/agents"),
        ("bystander", "/health"),
        ("bystander", "/agents"),
    ],
)
async def test_each_role_sees_what_it_is_for(api: Administered, who: str, path: str) -> None:
    answer = await api.get(who, path)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert answer.json["call_id"]


@pytest.mark.parametrize(
    "path",
    ["/health", "/servers", "/definitions", "/agents", "/keys", "/policy", "/policy/findings",
     "/policy/proposals", "/budgets", "/entries", "/checkpoint"],
)  # fmt: skip
async def test_an_auditor_sees_everything(api: Administered, path: str) -> None:
    answer = await api.get("eye", path)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{SERVER}/suspend", None),
        ("/keys", {"agent": "bystander"}),
        ("/policy/apply", None),
        ("/definition/approve", {"kind": "tool", "server": "shelf", "name": "add", "digest": "0" * 64}),
    ],
)  # fmt: skip
async def test_an_auditor_changes_nothing(api: Administered, path: str, body: object) -> None:
    before = api.changes()
    assert (await api.post("eye", path, body)).status == 403
    assert api.changes() == before


async def test_each_request_and_each_no_is_an_entry_of_its_principal(api: Administered) -> None:
    before = len(api.entries())
    await api.get("op", "/servers")
    await api.get("op", "/entries")
    await api.get("op", "/servers", colour="red")
    name = api.house.ledger.pseudonyms.name
    said = [
        (type(e).__name__, name(e.who), e.method, getattr(e, "code", ""))
        for e in api.entries()[before:]
        if isinstance(e, entries.Single | entries.Refused)
    ]
    assert said == [
        ("Single", "op", "api/server.list", ""),
        ("Refused", "op", "api/entry.list", "forbidden"),
        ("Single", "op", "api/server.list", ""),
        ("Refused", "op", "api/server.list", "bad_params"),
    ]


# -- servers --------------------------------------------------------------------------------------


async def test_suspending_is_a_change_of_the_principal_and_in_force(fresh: Administered) -> None:
    answer = await fresh.guarded("op", SERVER, f"{SERVER}/suspend", {"reason": "it misbehaves"})
    assert answer.json == {"name": "shelf", "suspended": True, "changed": True}
    assert fresh.house.registry.suspended == {"shelf"}
    assert fresh.changes()[-1] == ("server.suspend", "agent:op", "server/shelf")
    again = await fresh.guarded("op", SERVER, f"{SERVER}/resume")
    assert again.json["suspended"] is False


async def test_a_change_has_to_say_which_state_it_is_for(api: Administered) -> None:
    assert (await api.post("op", f"{SERVER}/suspend")).status == 428
    assert (await api.post("op", f"{SERVER}/suspend", if_match="*")).status == 428
    assert (await api.post("op", f"{SERVER}/suspend", if_match='"old"')).status == 412
    assert (await api.post("op", f"{SERVER}/suspend", if_match="old")).status == 400
    assert not api.house.registry.suspended


async def test_who_has_seen_it_already_is_told_so(fresh: Administered) -> None:
    etag = (await fresh.get("op", SERVER)).headers["etag"]
    same = await fresh.ask("op", "GET", SERVER, headers={"if_none_match": f'"x", W/{etag}'})
    assert (same.status, same.body) == (304, b"")
    await fresh.guarded("op", SERVER, f"{SERVER}/suspend")
    other = await fresh.ask("op", "GET", SERVER, headers={"if_none_match": etag})
    assert other.status == 200


# -- definitions ----------------------------------------------------------------------------------


async def test_an_approver_approves_what_was_seen_and_nothing_else(fresh: Administered) -> None:
    rows = (await fresh.get("ann", "/definitions", approval="proposed")).json["items"]
    assert [row["object"] for row in rows] == ["tool/shelf/add", "tool/shelf/sub"]
    shown = (await fresh.get("ann", "/definition", object="shelf/add")).json
    assert shown["body"]["description"] == "adds"
    one = {"kind": "tool", "server": "shelf", "name": "add"}
    wrong = await fresh.post("ann", "/definition/approve", {**one, "digest": "0" * 64})
    assert (wrong.status, wrong.json["code"]) == (409, "in_the_way")
    right = await fresh.post("ann", "/definition/approve", {**one, "digest": shown["digest"]})
    assert right.json["changed"] is True
    seen = [[row["kind"], row["name"], row["digest"]] for row in rows]
    late = await fresh.post("ann", f"{SERVER}/approve", {"seen": seen})
    assert late.status == 409
    rest = await fresh.post("ann", f"{SERVER}/approve", {"seen": seen[1:]})
    assert rest.json == {"server": "shelf", "approved": ["tool/shelf/sub"]}


async def test_an_operator_does_not_approve(api: Administered) -> None:
    answer = await api.post("op", f"{SERVER}/approve", {"seen": [["tool", "add", "0" * 64]]})
    assert answer.status == 403


# -- keys -----------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_opens_the_door_and_is_revoked(fresh: Administered) -> None:
    made = await fresh.post("op", "/keys", {"agent": "acme-bot", "days": 1})
    assert made.status == 201
    assert "etag" not in made.headers
    KEYS["made"] = made.json["key"]
    listed = await fresh.get("op", "/keys", agent="acme-bot")
    assert made.json["key"] not in listed.body.decode()
    assert [row["state"] for row in listed.json["items"]] == ["good"]
    assert (await fresh.get("made", "/servers")).json["code"] == "forbidden"
    gone = await fresh.post("op", f"/keys/{made.json['id']}/revoke")
    assert gone.json["changed"] is True
    assert (await fresh.get("made", "/servers")).status == 401


async def test_no_key_is_made_for_somebody_who_administers(api: Administered) -> None:
    for name in ("eye", "approver-ann", "op", "overseer-acme", "climber"):
        answer = await api.post("op", "/keys", {"agent": name})
        assert (answer.status, answer.json["code"]) == (403, "forbidden"), name
        assert "not made over the API" in answer.json["detail"]


# -- policy ---------------------------------------------------------------------------------------


async def test_an_author_puts_the_folder_in_force(fresh: Administered, own: Household) -> None:
    shown = await fresh.get("author", "/policy")
    path = own.folder / "policies" / "policy.csv"
    path.write_text(path.read_text() + "p, clerk, default, tool/desk/*, call, -, allow\n")
    done = await fresh.post("author", "/policy/apply", if_match=shown.headers["etag"])
    assert done.json["changed"] is True
    assert done.json["version"] == fresh.house.policies.current.version
    assert fresh.changes()[-1][:2] == ("policy.apply", "agent:author")
    late = await fresh.post("author", "/policy/apply", if_match=shown.headers["etag"])
    assert late.status == 412


async def test_a_policy_that_is_wrong_is_not_put_in_force(
    fresh: Administered, own: Household
) -> None:
    before = fresh.house.policies.current.version
    (own.folder / "policies" / "policy.csv").write_text("p, what\n")
    findings = (await fresh.get("author", "/policy/findings")).json["items"]
    assert any(row["level"] == "error" for row in findings)
    answer = await fresh.guarded("author", "/policy", "/policy/apply")
    assert (answer.status, answer.json["code"]) == (422, "not_valid")
    assert fresh.house.policies.current.version == before


async def test_where_it_takes_two_a_key_of_an_agent_is_no_person(own: Household) -> None:
    """Whoever has the key and a token of their own would be two."""
    settings = own.folder / "customhouse.toml"
    settings.write_text("two_person_policy = true\n" + settings.read_text())
    path = own.folder / "policies" / "policy.csv"
    path.write_text(path.read_text() + "p, clerk, default, tool/desk/*, call, -, allow\n")
    async with administered(own) as house:
        before = house.house.policies.current.version
        answer = await house.guarded("author", "/policy", "/policy/apply")
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert "not who holds it" in answer.json["detail"]
        assert house.house.proposals == []
        proposed = (await house.desk.operate("uid:7 eve", "policy.apply", {}))["proposed"]
        one = f"/policy/proposals/{proposed}"
        answer = await house.guarded("ann", one, f"{one}/approve")
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert house.house.policies.current.version == before


async def test_what_a_proposal_would_change_is_told_and_none_is_approved_unseen(
    own: Household,
) -> None:
    settings = own.folder / "customhouse.toml"
    settings.write_text("two_person_policy = true\n" + settings.read_text())
    path = own.folder / "policies" / "policy.csv"
    rule = "p, clerk, default, tool/desk/*, call, -, allow"
    path.write_text(path.read_text() + f"{rule}\n")
    async with administered(own) as house:
        proposed = (await house.desk.operate("uid:7 eve", "policy.apply", {}))["proposed"]
        one = f"/policy/proposals/{proposed}"
        shown = await house.get("ann", one)
        (row,) = (await house.get("ann", "/policy/proposals")).json["items"]
        changes = {"files": ["policy.csv"], "rules": [["+", rule]]}
        assert shown.json == {**row, **changes}
        for headers, status in (({}, 428), ({"if_match": "*"}, 428), ({"if_match": '"x"'}, 412)):
            answer = await house.post("ann", f"{one}/approve", **headers)
            assert answer.status == status, answer.body
        # Somebody proposed it again: what was seen is not what would be approved.
        await house.desk.operate("uid:8 bob", "policy.apply", {})
        late = await house.post("ann", f"{one}/approve", if_match=shown.headers["etag"])
        assert late.status == 412
        nothing = f"/policy/proposals/{'0' * 64}"
        assert (await house.get("ann", nothing)).status == 404
        assert (await house.post("ann", f"{nothing}/approve", if_match='"x"')).status == 404


async def test_why_an_agent_may_or_may_not_is_told(api: Administered) -> None:
    asked = {"agent": "bystander", "object": "shelf/add"}
    answer = (await api.get("author", "/policy/explain", **asked)).json
    assert answer["allowed"] is False
    assert "would be allowed with role 'clerk'" in answer["nearest"][0]
    assert answer["policy"] == api.house.policies.current.version


# -- lists ----------------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page(api: Administered) -> None:
    names: list[str] = []
    query: dict[str, str] = {}
    for _ in range(20):
        page = (await api.get("eye", "/agents", limit=3, **query)).json
        names += [row["name"] for row in page["items"]]
        if "next" not in page:
            break
        query = {"cursor": page["next"]}
    assert names == sorted(api.house.identity.agents)


async def test_entries_are_read_page_by_page_the_newest_first(api: Administered) -> None:
    first = len(api.entries())
    for _ in range(3):
        await api.get("op", "/servers")
    leaves: list[int] = []
    query = {"q": ["agent:op", "method:api/server.list"], "limit": 2}
    while True:
        page = (await api.get("eye", "/entries", **query)).json
        leaves += [row["leaf"] for row in page["items"]]
        if "next" not in page:
            break
        query["cursor"] = page["next"]
    assert [leaf >= first for leaf in leaves[:4]].count(True) == 3
    assert leaves == sorted(leaves, reverse=True)


async def test_a_word_that_is_no_qualifier_is_told_with_a_suggestion(api: Administered) -> None:
    answer = await api.get("eye", "/entries", q="agnet:op")
    assert answer.status == 400
    assert answer.json["fix"] == "did you mean agent:?"
    unknown = await api.get("eye", "/entries", limitt="3")
    assert "did you mean limit?" in unknown.json["detail"]
    member = await api.post("op", "/keys", {"agnet": "acme-bot"})
    assert "did you mean agent?" in member.json["detail"]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1e2", "many", "", "٣"])
async def test_a_limit_is_between_1_and_1000(api: Administered, limit: str) -> None:
    assert (await api.get("eye", "/agents", limit=limit)).json["code"] == "bad_params"


async def test_budgets_say_what_is_left(api: Administered) -> None:
    rows = (await api.get("op", "/budgets")).json["items"]
    assert {row["name"]: row["left"] for row in rows} == {"acme-bot": 7, "acme": 100, "other": 5}
    one = (await api.get("op", "/budgets", name="acme-bot")).json["items"]
    assert [row["meter"] for row in one] == ["calls"]


async def test_what_the_api_says_of_budgets_is_what_the_log_says(
    api: Administered,
) -> None:
    by_name = sorted(api.home.ask("budget", "show"), key=lambda row: (row["level"], row["name"]))
    assert (await api.get("op", "/budgets")).json["items"] == by_name


async def test_a_page_that_takes_too_long_is_what_was_found_so_far(
    api: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.get("op", "/servers")
    query: dict[str, object] = {"q": ["agent:op"], "limit": 1000}
    whole = (await api.get("eye", "/entries", **query)).json
    assert "next" not in whole
    monkeypatch.setattr(glances, "PAGE_S", 0.0)
    monkeypatch.setattr(search, "PAGE_PIECE", 2)
    leaves: list[int] = []
    pages = 0
    while True:
        page = (await api.get("eye", "/entries", **query)).json
        leaves += [row["leaf"] for row in page["items"]]
        pages += 1
        if "next" not in page:
            break
        query["cursor"] = page["next"]
    assert pages > 3
    assert leaves == [row["leaf"] for row in whole["items"]]


async def test_a_log_that_is_too_long_to_be_hashed_is_not_proved_over_the_api(
    api: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.get("bystander", "/servers")
    row = (await api.get("eye", "/entries", q="agent:bystander", limit=1)).json["items"][0]
    assert (await api.get("eye", f"/calls/{row['call']}/proof")).status == 200
    monkeypatch.setattr(glances, "PROOF_S", -1.0)
    answer = await api.get("eye", f"/calls/{row['call']}/proof")
    assert (answer.status, answer.json["code"]) == (503, "not_now")


async def test_more_changes_than_there_are_places_for_are_told_to_come_again(
    api: Administered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "WAIT_S", 0.05)
    etag = (await api.get("op", "/servers/shelf")).headers["etag"]
    ends: list[int] = []
    turned_away = anyio.Event()

    async def suspend() -> None:
        ends.append((await api.post("op", "/servers/shelf/suspend", if_match=etag)).status)
        if len(ends) == 2:
            turned_away.set()

    # The turn is another change's, which takes its time.
    async with anyio.create_task_group() as group, api.desk._one_at_a_time:
        for _ in range(places.Places(Queue.CHANGES).of_one + 2):
            group.start_soon(suspend)
        with anyio.fail_after(5):
            await turned_away.wait()
        # Whoever only looks does not wait for those who change.
        assert (await api.get("op", "/servers")).status == 200
    assert sorted(ends)[-2:] == [503, 503]
    await api.guarded("op", "/servers/shelf", "/servers/shelf/resume")
