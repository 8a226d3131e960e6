"""Whoever may make and revoke keys over the API tries to become an administrator, or the only one."""

from __future__ import annotations

import json

import pytest

from gateway.audit import entry as entries
from tests.app.administered import (
    KEYS,
    Administered,
    administered,
    anyio_backend,
    fresh,
    once,
    own,
)
from tests.cli.household import Household

__all__ = ["anyio_backend", "fresh", "once", "own"]  # fixtures
pytestmark = pytest.mark.anyio


async def made(api: Administered, who: str, agent: str) -> tuple[str, str]:
    """The id and the secret of a key that *who* made."""
    answer = await api.post(who, "/keys", {"agent": agent, "days": 0})
    assert answer.status == 201, answer.body
    return answer.json["id"], answer.json["key"]


async def test_a_key_made_over_the_api_never_administers_whatever_its_agent_is_given(
    own: Household,
) -> None:
    """Who made it has a copy."""
    async with administered(own) as api:
        await api.desk.operate("uid:0 root", "agent.add", {"name": "bob"})
        _, copied = await made(api, "op", "bob")
        _, theirs = await made(api, "overseer", "acme-bot")
        await api.desk.operate("uid:0 root", "agent.grant", {"name": "bob", "role": "approver"})
        by_hand = (await api.desk.operate("uid:0 root", "key.issue", {"agent": "bob"}))["key"]
    # After a restart it is still known how each was made.
    async with administered(own) as api:
        assert (await api.get(by_hand, "/policy/proposals")).status == 200
        answer = await api.get(copied, "/policy/proposals")
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert "was made over the API" in answer.json["detail"]
        assert answer.json["fix"] == "on the gateway's machine: customhouse key issue bob"
        body = {"kind": "tool", "server": "shelf", "name": "add", "digest": "0" * 64}
        assert (await api.post(copied, "/definition/approve", body)).status == 403
        assert (await api.post(by_hand, "/definition/approve", body)).status == 409
        assert (await api.get(theirs, "/agents")).json["code"] == "forbidden"
        # It opens the door as before.
        assert (await api.get(copied, "/openapi.json")).status == 200


async def test_the_log_tells_how_a_key_was_made(fresh: Administered) -> None:
    key_id, _ = await made(fresh, "op", "acme-bot")
    assert key_id.startswith("api:")
    assert fresh.changes()[-1] == ("key.issue", "agent:op", f"key/{key_id}")
    issued = await fresh.desk.operate("uid:0 root", "key.issue", {"agent": "acme-bot"})
    assert issued["id"].startswith("k")
    assert isinstance(fresh.entries()[-1], entries.Change)
    gone = await fresh.post("op", f"/keys/{key_id}/revoke")
    assert gone.json["changed"] is True


async def test_a_right_in_one_tenant_locks_no_administrator_out(own: Household) -> None:
    """Those who look after all tenants live in one of them."""
    path = own.folder / "policies" / "policy.csv"
    path.write_text(path.read_text() + "p, bystander, default, admin/keys, *, -, allow\n")
    async with administered(own) as api:
        await api.desk.operate("uid:0 root", "agent.add", {"name": "plain"})
        plain = (await api.desk.operate("uid:0 root", "key.issue", {"agent": "plain"}))["id"]
        second = (await api.desk.operate("uid:0 root", "key.issue", {"agent": "op"}))["id"]
        keys = api.house.identity.keys
        theirs = [i for i, k in keys.items() if k.agent in ("op", "author", "eye", "approver-ann")]
        assert second in theirs
        for key_id in theirs:
            answer = await api.post("bystander", f"/keys/{key_id}/revoke")
            assert (answer.status, answer.json["code"]) == (403, "forbidden"), key_id
            assert not keys[key_id].revoked_at_us
        seen = await api.get("bystander", "/keys")
        assert [row["id"] for row in seen.json["items"]] == [plain]
        assert (await api.get("bystander", "/keys", agent="op")).json["items"] == []
        assert KEYS["op"] not in json.dumps(seen.json)
        assert (await api.post("bystander", f"/keys/{plain}/revoke")).json["changed"] is True
        # Who looks after all tenants may.
        assert second in {row["id"] for row in (await api.get("op", "/keys")).json["items"]}
        assert (await api.post("op", f"/keys/{second}/revoke")).json["changed"] is True
