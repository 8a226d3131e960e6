"""The compliance report: every question, an honest answer, and proofs that anybody can verify."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import anyio
import pytest

from gateway.app.compliance import judging
from gateway.app.compliance.catalogue import QUESTIONS
from gateway.app.compliance.judging import JUDGES
from gateway.app.operations import calls
from gateway.app.operations.args import Args
from gateway.audit.checkpoint import Vkey
from gateway.audit.proof import verify_proof
from gateway.domain.model import Outcome, Status, Verdict
from tests.cli.fixtures import CLERK
from tests.cli.household import Household, tool

pytestmark = pytest.mark.anyio


def reported(home: Household) -> dict[str, dict[str, Any]]:
    result = home.run("compliance", "report", "--json")
    return {check["id"]: check for check in json.loads(result.stdout)["checks"]}


def status(home: Household, check_id: str) -> str:
    return str(reported(home)[check_id]["status"])


def test_every_question_has_an_answer_and_never_a_seal_of_approval(busy: Household) -> None:
    result = busy.run("compliance", "report", "--json")
    found = json.loads(result.stdout)
    assert [check["number"] for check in found["checks"]] == list(range(1, 26))
    assert sum(found["summary"].values()) == 25
    assert all(check["says"] and check["evidence_for"] for check in found["checks"])
    said = busy.run("compliance", "report").output + result.stdout
    assert "compliant" not in said.lower()
    assert "evidence for" in said


def test_a_question_is_answered_or_says_why_it_cannot_be() -> None:
    answered = {question.id for question in QUESTIONS if not question.missing}
    assert answered | {"refusal_rates"} == set(JUDGES)


def test_the_same_data_give_the_same_bytes(busy: Household) -> None:
    once, again = (busy.run("compliance", "report", "--json").stdout for _ in range(2))
    assert once == again


def test_samples_are_proved_under_the_checkpoint_of_the_report(busy: Household) -> None:
    found = json.loads(busy.run("compliance", "report", "--json").stdout)
    vkey = Vkey.parse((busy.folder / "keys" / "log.vkey").read_text())
    samples = [sample for check in found["checks"] for sample in check["samples"]]
    assert len(samples) > 5
    for sample in samples:
        proof = verify_proof(sample["proof"], vkey)
        assert (proof.index, proof.checkpoint.size) == (sample["leaf"], found["size"])


def test_an_ordinary_house_has_nothing_to_hide(busy: Household) -> None:
    found = {check_id: check["status"] for check_id, check in reported(busy).items()}
    passed = {check_id for check_id, verdict in found.items() if verdict == "pass"}
    assert passed >= {
        *("log_verifies", "calls_paired", "checkpoints", "decisions_replay", "retention"),
        *("no_wildcards", "duties_separated", "definitions_pinned", "descriptions_scanned"),
        *("tenants_apart", "changes_logged", "clock", "incident_export", "keys_expire"),
    }
    assert found["budgets"] == "fail"  # nobody has one
    assert {found[check_id] for check_id in ("approvals", "erasures", "rights_in_use")} == {
        "not_evaluable"
    }
    assert busy.run("compliance", "report").exit_code == 1


def with_budgets(home: Household) -> None:
    file = home.folder / "customhouse.toml"
    file.write_text(file.read_text() + '\n[tenants.default]\nbudget = { calls = "9/day" }\n')


def wildcard(home: Household) -> None:
    home.policy("p, *, default, tool/shelf/pay, call, -, allow")
    home.do("policy", "apply")


def everything(home: Household) -> None:
    home.policy("p, clerk, default, tool/*, call, -, allow")
    home.do("policy", "apply")


def eternal_key(home: Household) -> None:
    home.do("key", "issue", "bot", "--days", "0")


def erased_young(home: Household) -> None:
    home.do("audit", "erase", "--older-than", "0s", "--yes")


def erased_and_back(home: Household) -> None:
    home.do("audit", "erase", "--older-than", "0s", "--yes")
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE payloads SET sealed = x'00' WHERE leaf = 3")
        connection.execute("INSERT OR IGNORE INTO payloads VALUES (3, x'00', x'00')")


def entry_altered(home: Household) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE pseudonyms SET name = 'other' WHERE name = 'guest'")


@pytest.mark.parametrize(
    ("spoil", "check_id"),
    [
        (wildcard, "no_wildcards"),
        (everything, "no_wildcards"),
        (eternal_key, "keys_expire"),
        (erased_young, "retention"),
        (erased_and_back, "erasures"),
        (entry_altered, "log_verifies"),
    ],
)
def test_what_is_wrong_fails_its_own_question(
    busy: Household, spoil: Callable[[Household], None], check_id: str
) -> None:
    before = status(busy, check_id)
    spoil(busy)
    check = reported(busy)[check_id]
    assert (before != "fail", check["status"]) == (True, "fail")
    assert check["says"]


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ("p, auditor, *, admin/*, read, -, allow", "pass"),
        ("p, auditor, *, admin/*, *, -, allow", "fail"),
        ("p, auditor, *, admin/*, admin, -, allow", "fail"),
        ("p, *, *, admin/*, read, -, allow", "fail"),
    ],
    ids=["an auditor reads all", "and changes all", "changes all", "everybody reads all"],
)
def test_reading_all_administration_is_what_an_auditor_is_for(
    busy: Household, rule: str, verdict: str
) -> None:
    busy.policy(CLERK, rule)
    busy.do("policy", "apply")
    assert status(busy, "no_wildcards") == verdict


def test_what_needs_arguments_is_counted_apart(busy: Household) -> None:
    busy.policy("p, clerk, default, tool/shelf/*, call, small, allow")
    (busy.folder / "policies" / "conditions.toml").write_text(
        '[small]\narguments = [{ at = "/amount", lte = 50 }]\n'
    )
    busy.do("policy", "apply")
    busy.do("tool", "call", "--as", "bot", "shelf/pay", '{"amount":7}')
    check = reported(busy)["decisions_replay"]
    assert check["figures"] == {"agree": 3, "need_arguments": 1, "not_replayed": 0}
    assert "1 need arguments, which stay sealed here; audit replay opens them" in check["says"][0]
    assert busy.ask("audit", "replay")["not_replayed"] == {}


def test_a_budget_over_everybody_answers_the_question_of_budgets(busy: Household) -> None:
    with_budgets(busy)
    assert status(busy, "budgets") == "pass"


def test_a_hidden_character_that_was_approved_is_found(busy: Household) -> None:
    shelf = json.dumps(busy.shelf)
    busy.write(f'[servers.shelf]\ncommand = {shelf}\napprove = "first-seen"\n')
    busy.policy(CLERK)
    busy.lists(tool("pay", "pays\u202e"), tool("fail"))
    busy.do("server", "test", "shelf")
    busy.do("tool", "approve", "shelf/pay", "--yes")
    check = reported(busy)["descriptions_scanned"]
    assert (check["status"], "shelf/pay" in check["says"][0]) == ("fail", True)


async def test_calls_and_changes_that_should_not_be_there_are_found(busy: Household) -> None:
    async with busy.open() as (house, desk):
        await desk.operate("uid:0 root", "key.issue", {"agent": "bot"})
        await desk.operate("uid:0 root", "agent.disable", {"name": "guest"})
        args = Args({"server": "shelf", "name": "pay", "arguments": '{"amount":1}'}, *_ARGS)
        bot = calls._principal(house, "bot", "op")
        call = calls._call(house, bot, args)
        ghost = replace(call, id="01GHOST", principal=replace(bot, subject="guest"))
        false = replace(house.policies.decide(call), verdict=Verdict.ALLOW)
        house.ledger.log.last_us += 2_000_000  # two seconds later
        permit = await house.ledger.hold(ghost, false)
        await house.ledger.settle(permit, Outcome(Status.OK))
        await house.ledger.change("policy.apply", "bot")
        await house.ledger.hold(replace(call, id="01LEFT"), house.policies.decide(call))
        house.ledger.log.last_us += 2_000_000
    found = await anyio.to_thread.run_sync(reported, busy)
    failed = {check_id for check_id, check in found.items() if check["status"] == "fail"}
    assert failed >= {"revocation_holds", "duties_separated", "decisions_replay"}
    assert found["revocation_holds"]["samples"]


_ARGS = ("server", "name", "arguments")


async def test_who_administers_over_the_api_is_no_agent_that_meddles(busy: Household) -> None:
    file = busy.folder / "customhouse.toml"
    file.write_text(file.read_text() + '[agents.op]\nroles = ["gateway-operator"]\n')
    busy.policy(CLERK, "p, gateway-operator, *, admin/keys, *, -, allow")
    async with busy.open() as (_, desk):
        await desk.operate("agent:op", "key.issue", {"agent": "bot"})
        await desk.operate("agent:corp/alice", "key.issue", {"agent": "bot"})
    report = await anyio.to_thread.run_sync(reported, busy)
    check = report["duties_separated"]
    assert (check["status"], check["figures"]["over_api"]) == ("pass", 2)
    assert "2 over the API" in check["says"][0]
    assert "a second person is not asked" in check["says"][0]
    # Who has the right no more had it then; who never had it did not come that way.
    busy.policy(CLERK)
    file.write_text("two_person_policy = true\n" + file.read_text())
    async with busy.open() as (_, desk):
        proposed = (await desk.operate("uid:0 root", "policy.apply", {}))["proposed"]
        await desk.operate("uid:7 eve", "policy.approve", {"digest": proposed})
    check = (await anyio.to_thread.run_sync(reported, busy))["duties_separated"]
    assert (check["status"], "a second person is asked" in check["says"][0]) == ("pass", True)
    async with busy.open() as (house, _):
        await house.ledger.change("key.issue", "agent:bot")
    check = (await anyio.to_thread.run_sync(reported, busy))["duties_separated"]
    assert (check["status"], "agent:bot" in check["says"][0]) == ("fail", True)


@pytest.mark.parametrize(
    ("opened", "published", "longest"),
    [
        ([[0, 100]], [10, 20, 90], 70),
        ([[0, 100]], [], 100),
        ([[0, 10], [1_000, 1_010]], [5, 1_005], 5),
        ([[0, 10], [1_000, 1_200]], [500, 1_100], 100),
        ([], [5], 0),
    ],
    ids=["between two", "none at all", "closed in between", "after a crash", "never opened"],
)
def test_silence_counts_only_while_a_process_is_there(
    opened: list[list[int]], published: list[int], longest: int
) -> None:
    assert max(judging._silences(opened, iter(published)), default=0) == longest
