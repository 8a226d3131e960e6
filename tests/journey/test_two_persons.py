"""A policy that one person proposes and another one approves, both elsewhere, with tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journey.guarded import AGENT_KEY, BORDER, CONFIG, POLICY, Guarded, guarded
from tests.journey.process import ROOT, GatewayProcess

pytestmark = pytest.mark.slow
RIGHTS = """\
p, policy-author, *, admin/policy, *, -, allow
p, approver, *, admin/policy, read, -, allow
p, approver, *, admin/approvals, admin, -, allow
"""
SETTINGS = CONFIG.replace(
    '"groups:eng" = "engineer"',
    '"groups:eng" = "engineer"\n"groups:pol" = "policy-author"\n"groups:app" = "approver"',
).replace('"realm_access', '"realm_access.roles:app" = "approver", "realm_access')


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One policy is in force; from then on it takes two persons."""
    settings = SETTINGS.replace('roles = ["reader"]', 'roles = ["reader", "policy-author"]', 1)
    with guarded(tmp_path_factory.mktemp("two"), settings, POLICY + RIGHTS) as house:
        assert house.process.stop() == 0
        file = Path(house.config)
        file.write_text(f"two_person_policy = true\n{file.read_text()}")
        house.process = GatewayProcess(file, {"CLERK_KEY": AGENT_KEY}).start()
        yield house


def corp(house: Guarded, who: str, group: str) -> str:
    return house.corp.token(house.resource, sub=who, groups=[group])


def ask(house: Guarded, token: str, verb: str, path: str, etag: str = "") -> httpx2.Response:
    headers = {"Authorization": f"Bearer {token}"} | ({"If-Match": etag} if etag else {})
    return house.client.request(verb, f"{house.url}/api/v1{path}", headers=headers)


def propose(house: Guarded, token: str, mark: str) -> httpx2.Response:
    file = house.folder / "policies" / "policy.csv"
    file.write_text(f"{file.read_text()}p, reader, default, tool/desk/{mark}, call, -, allow\n")
    etag = ask(house, token, "GET", "/policy").headers["etag"]
    return ask(house, token, "POST", "/policy/apply", etag)


def approve(house: Guarded, token: str, digest: str) -> httpx2.Response:
    path = f"/policy/proposals/{digest}"
    etag = ask(house, token, "GET", path).headers["etag"]
    return ask(house, token, "POST", f"{path}/approve", etag)


def command(house: Guarded, token: str, *arguments: str) -> tuple[int, Any, str]:
    """A command from elsewhere: its exit code, its JSON, its standard error."""
    environ = {**os.environ, "CUSTOMHOUSE_KEY": token, "CUSTOMHOUSE_URL": ""}
    words = [sys.executable, "-m", "gateway.cli", "--url", house.url, *arguments, "--json"]
    done = subprocess.run(
        words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


def test_one_person_is_not_two_by_another_credential(house: Guarded) -> None:
    assert propose(house, AGENT_KEY, "one").status_code == 403
    proposed = propose(house, corp(house, "alice", "pol"), "two")
    digest = proposed.json()["proposed"]
    assert proposed.json()["proposed_by"] == "agent:corp/alice"
    for token in (
        corp(house, "alice", "app"),
        corp(house, "Alice", "app"),
        corp(house, "\u0430lice", "app"),
        corp(house, "ali\u0301ce", "app"),
        house.partner.token(BORDER, sub="alice", realm_access={"roles": ["app"]}),
    ):
        answer = approve(house, token, digest)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), answer.text
    assert approve(house, corp(house, "bob", "app"), digest).json()["version"] == digest


def test_the_second_person_sees_from_elsewhere_what_is_approved(house: Guarded) -> None:
    digest = propose(house, corp(house, "alice", "pol"), "three").json()["proposed"]
    bob = corp(house, "bob", "app")
    code, waiting, _ = command(house, bob, "policy", "pending")
    assert (code, [row["digest"] for row in waiting]) == (0, [digest])
    code, shown, _ = command(house, bob, "policy", "pending", digest)
    assert (code, shown["files"]) == (0, ["policy.csv"])
    assert shown["rules"] == [["+", "p, reader, default, tool/desk/three, call, -, allow"]]
    code, _, said = command(house, bob, "policy", "approve", digest)
    assert (code, "nobody is there to ask" in said) == (2, True)
    code, _, said = command(
        house, corp(house, "alice", "app"), "policy", "approve", digest, "--yes"
    )
    assert (code, "proposed this policy" in said) == (4, True)
    assert command(house, bob, "policy", "approve", "0" * 64, "--yes")[0] == 1
    code, done, _ = command(house, bob, "policy", "approve", digest, "--yes")
    assert (code, done["version"], done["proposed_by"]) == (0, digest, "agent:corp/alice")
    assert command(house, bob, "policy", "pending")[:2] == (1, [])
