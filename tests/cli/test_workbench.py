"""A proposed policy over recorded calls, what no call needed, and rules made of what was called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.app.operations import calls, usage
from gateway.app.operations.args import Args
from gateway.domain.model import Act, Kind, Verdict
from gateway.domain.refusal import Refused
from gateway.store import refusals
from tests.cli.fixtures import AMOUNT, copied, silence
from tests.cli.household import Household, each, tool

RULES = (
    "p, *, *, tool/*, call, danger, deny",
    "p, *, *, tool/shelf/burn, call, -, deny",
    "p, clerk, default, tool/shelf/p*, call, small, allow",
    "p, clerk, default, tool/shelf/l*, *, -, allow",
    "p, clerk, default, tool/shelf/*, list, -, allow",
    "p, ghost, default, tool/shelf/*, call, -, allow",
    "g, boss, clerk, default",
)
CONDITIONS = """
[small]
arguments = [{ at = "/amount", gt = 0, lte = 50 }]
[danger]
tags = { has_any = ["danger"] }
[egress]
tags = { has_any = ["egress"] }
"""
ALLOW = Verdict.ALLOW
ODD = 'odd, call, -, allow\np, bot, default, tool/"*'


@pytest.fixture(scope="module")
def worked_once(blank: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = copied(blank, tmp_path_factory.mktemp("worked"))
    plain = ("look", "log", "hidden", "burn", "star*", ODD)
    home.lists(tool("pay", schema=AMOUNT), *map(tool, plain))
    command = json.dumps(home.shelf)
    home.write(
        f'[servers.shelf]\ncommand = {command}\napprove = "first-seen"\ntags = {{ "look" = ["egress"] }}\n'
    )
    (home.folder / "policies" / "conditions.toml").write_text(CONDITIONS)
    home.policy(*RULES)
    with silence():
        home.do("server", "test", "shelf")
        home.do("agent", "add", "bot", "--role", "clerk")
        home.do("agent", "add", "idle", "--role", "boss")
        for name, arguments in (
            *(("pay", f'{{"amount": {amount}}}') for amount in (7, 8, 70)),
            ("look", "{}"),
            ("look", "{}"),
            *((name, "{}") for name in ("hidden", "burn", "star*", ODD, "invented")),
        ):
            home.run("tool", "call", "--as", "bot", f"shelf/{name}", arguments)
    return home


@pytest.fixture
def worked(worked_once: Household, tmp_path: Path) -> Household:
    return copied(worked_once, tmp_path)


def draft(home: Household, *rules: str) -> str:
    """A proposed policy: the conditions in force, and *rules*."""
    folder = home.folder / "draft"
    folder.mkdir(exist_ok=True)
    (folder / "model.conf").write_bytes((home.folder / "policies" / "model.conf").read_bytes())
    (folder / "conditions.toml").write_text(CONDITIONS)
    (folder / "policy.csv").write_text("\n".join(rules) + "\n")
    return str(folder)


def simulated(home: Household, *words: str) -> dict[str, Any]:
    result = home.run("policy", "simulate", *words, "--json")
    said: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (1 if said["changes"] else 0)
    return said


def lines_of(text: str) -> list[str]:
    """What of a suggestion is no comment."""
    return [line for line in text.splitlines() if not line.startswith("#")]


def looks(home: Household) -> int:
    return len(json.loads(home.run("audit", "query", "what:audit.payload_read", "--json").stdout))


def test_the_policy_in_force_changes_nothing(worked: Household) -> None:
    said = simulated(worked)
    assert (said["calls"], said["alike"], said["changes"]) == (9, 9, [])
    assert said["not_simulated"] == {"there was nothing of the name that it asked for": 1}
    assert "9 calls: 9 alike, 0 gained, 0 lost" in worked.do("policy", "simulate")


def test_who_gains_and_who_loses_is_told_with_a_call_to_open(worked: Household) -> None:
    folder = draft(worked, RULES[2], "p, bot, default, tool/shelf/hidden, call, -, allow")
    said = simulated(worked, folder)
    loses, gains = said["changes"]
    assert (loses["change"], loses["object"], loses["calls"]) == ("loses", "tool/shelf/look", 2)
    assert (gains["change"], gains["object"], gains["calls"]) == ("gains", "tool/shelf/hidden", 1)
    assert loses["by"] == "no rule allows it"
    assert gains["by"].startswith("policy.csv:2 (p, bot,")
    assert (said["gained"], said["lost"], said["alike"]) == (1, 2, 6)
    opened = worked.ask("audit", "show", loses["call"])["entries"]
    assert (opened[0]["leaf"], opened[0]["object"]) == (loses["leaf"], "tool/shelf/look")
    told = worked.run("policy", "simulate", folder)
    first = next(each(told.stdout))
    assert first[:5] == ["bot", "default", "tool/shelf/look", "call", "loses"]
    assert told.exit_code == 1


def test_qualifiers_choose_the_calls(worked: Household) -> None:
    folder = draft(worked, RULES[2])
    assert simulated(worked, folder, "tool:shelf/hidden")["calls"] == 1
    said = simulated(worked, folder, "kind:call", "-tool:shelf/pay")
    assert (said["calls"], said["lost"]) == (2, 2)
    assert simulated(worked, "status:refused")["calls"] == 5
    assert simulated(worked, "until:2020-01-01")["calls"] == 0
    assert worked.refusal("policy", "simulate", "colour:red")["exit_code"] == 2
    assert worked.refusal("policy", "simulate", "nowhere")["exit_code"] == 3
    assert worked.refusal("policy", "simulate", draft(worked, "p, nonsense"))["exit_code"] == 3


def test_arguments_are_opened_only_where_they_count_and_that_is_an_entry(worked: Household) -> None:
    folder = draft(worked, "p, bot, default, tool/shelf/*, call, -, allow")
    assert simulated(worked, folder, "tool:shelf/look")["calls"] == 2
    assert looks(worked) == 0
    said = simulated(worked, folder, "--sealed")
    assert said["not_simulated"]["it depended on arguments: left sealed"] == 3
    assert looks(worked) == 0
    assert simulated(worked, folder)["calls"] == 9
    assert looks(worked) == 1


def test_what_was_erased_is_counted_and_its_name_is_gone(worked: Household) -> None:
    first = worked.ask("audit", "query", "tool:shelf/pay")[0]["call"]
    worked.do("audit", "erase", f"call:{first}", "--yes")
    assert simulated(worked)["calls"] == 8
    worked.do("audit", "erase", "subject:bot", "--yes")
    assert worked.run("policy", "unused").exit_code == 1
    for asked in (("simulate", draft(worked, RULES[0])), ("suggest",)):
        result = worked.run("policy", *asked)
        assert "bot" not in result.stdout
        assert "a name in it was erased" in result.stderr


def test_a_change_that_rests_on_tags_the_log_does_not_hold_says_so(worked: Household) -> None:
    folder = draft(worked, *RULES, "p, *, *, tool/*, call, egress, deny")
    (change,) = simulated(worked, folder)["changes"]
    assert (change["object"], change["on_tags_of_today"]) == ("tool/shelf/look", True)
    assert "by the tags of today" in worked.run("policy", "simulate", folder).stdout
    # The guard rail in force looked at its tags then, and the log has what it saw.
    (change,) = simulated(worked, draft(worked, RULES[0], RULES[2]))["changes"]
    assert (change["object"], change["on_tags_of_today"]) == ("tool/shelf/look", False)


def test_tags_that_changed_since_are_no_evidence(worked: Household) -> None:
    settings = worked.folder / "customhouse.toml"
    settings.write_text(settings.read_text().replace('"egress"', '"danger"'))
    said = simulated(worked)
    assert sum(said["not_simulated"].values()) == 3
    assert any("would decide otherwise now" in why for why in said["not_simulated"])


@pytest.mark.anyio
async def test_what_entries_do_not_name_is_counted_by_its_reason(
    worked: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worked.open() as (house, _):
        args = Args({"server": "shelf", "name": "hidden"}, "server", "name", "arguments")
        call = calls._call(house, calls._principal(house, "bot", "op"), args)
        # Counted by the minute: with any other bound the test would depend on when one ends.
        monkeypatch.setattr(refusals, "SINGLY_PER_MINUTE", 0)
        for _ in range(3):
            with pytest.raises(Refused):
                await house.ledger.hold(call, house.policies.decide(call))
        figures = replace(call, kind=Kind.ADMIN, server="", name="metrics", definition=None)
        await house.ledger.enter(figures, replace(house.policies.decide(call), verdict=ALLOW))
    said = await anyio.to_thread.run_sync(simulated, worked)
    why = said["not_simulated"]
    assert why["it was refused among so many that refusals were only counted"] == 3
    assert why["it read figures of the gateway, and entries do not say which"] == 1
    result = await anyio.to_thread.run_sync(worked.run, "policy", "suggest", "--json")
    assert json.loads(result.stdout)["calls"] == 4


def test_no_more_names_are_kept_than_there_is_room_for(
    worked: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_NAMES", 1)
    for source, counted in (("used", 2), ("refused", 1)):
        said = worked.ask("policy", "suggest", "--from", source)
        assert said["calls"] == counted
        assert sum(said["not_counted"].values()) > 1


@pytest.mark.anyio
async def test_administrators_are_no_candidates_and_their_requests_count(
    worked: Household,
) -> None:
    lines = ("p, auditor, *, admin/*, read, -, allow", "g, idle, auditor, default")
    worked.policy(*RULES, *lines, "g, bot, auditor, default")
    await anyio.to_thread.run_sync(worked.do, "policy", "apply")

    def untold() -> list[str]:
        said = json.loads(worked.run("policy", "unused", "--json").stdout)
        assert not any("auditor" in one["text"] for one in said["memberships"])
        return [one["text"] for one in said["untold"] if "auditor" in one["text"]]

    before = await anyio.to_thread.run_sync(untold)
    assert before == [*lines, "g, bot, auditor, default"]
    async with worked.open() as (house, _):
        args = Args({"server": "shelf", "name": "look"}, "server", "name", "arguments")
        call = calls._call(house, calls._principal(house, "bot", "op"), args)
        look = replace(
            call, method="api/agent.list", kind=Kind.ADMIN, server="", name="agents",
            act=Act.READ, definition=None,
        )  # fmt: skip
        await house.ledger.enter(look, house.policies.decide(look))
    assert await anyio.to_thread.run_sync(untold) == [lines[1]]


@pytest.mark.parametrize("first", [True, False], ids=["narrow first", "wide first"])
def test_of_two_rules_that_allow_a_call_the_narrower_is_kept(
    worked: Household, first: bool
) -> None:
    small, wide = RULES[2], "p, clerk, default, tool/*, call, -, allow"
    worked.policy(*((small, wide) if first else (wide, small)))
    worked.do("policy", "apply")
    said = lines_of(worked.do("policy", "suggest", "tool:shelf/pay"))
    assert said == ["p, clerk, default, tool/shelf/pay, call, small, allow"]


def test_what_no_call_needed_is_told_and_guard_rails_are_no_part_of_it(worked: Household) -> None:
    result = worked.run("policy", "unused", "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [one["text"] for one in said["rules"]] == [RULES[5]]
    assert [one["text"] for one in said["memberships"]] == [RULES[6], "g, idle, boss, default"]
    assert [one["text"] for one in said["guard_rails"]] == [RULES[0]]
    assert [one["text"] for one in said["untold"]] == [RULES[4]]
    assert said["calls"] == 9
    assert said["log_from"] == worked.ask("audit", "query", "kind:open", "--limit", "99")[0]["at"]
    assert looks(worked) == 0
    assert simulated(worked, draft(worked, *RULES[:5]))["changes"] == []


def test_calls_of_an_earlier_version_count_for_the_rule_that_would_decide_them_now(
    worked: Household,
) -> None:
    worked.policy("p, bot, default, tool/shelf/look, call, -, allow", *RULES[:3], *RULES[5:])
    worked.do("policy", "apply")
    said = json.loads(worked.run("policy", "unused", "--json").stdout)
    assert [one["text"] for one in said["rules"]] == [RULES[5]]
    assert looks(worked) == 1  # whether an amount was small says only the call itself


def test_what_is_suggested_is_less_and_loses_no_call_that_was_admitted(worked: Household) -> None:
    lines = lines_of(worked.do("policy", "suggest"))
    assert lines == [
        "p, clerk, default, tool/shelf/pay, call, small, allow",
        "p, clerk, default, tool/shelf/look, call, -, allow",
        RULES[4],
    ]
    folder = draft(worked, *RULES[:2], *lines, RULES[6])
    assert worked.run("policy", "check", folder).exit_code == 0
    assert simulated(worked, folder)["changes"] == []
    assert [one["text"] for one in worked.ask("policy", "suggest")["rules"]] == list(RULES[2:6])


def test_a_right_that_was_taken_away_is_not_suggested_again(worked: Household) -> None:
    worked.policy(*RULES[:3])
    worked.do("policy", "apply")
    said = worked.ask("policy", "suggest")
    assert [one["instead"] for one in said["rules"]] == [
        ["p, clerk, default, tool/shelf/pay, call, small, allow"]
    ]
    assert said["not_counted"]["the policy in force does not allow it any more"] == 2
    assert "look" not in worked.do("policy", "suggest", "--from", "refused")


def test_where_nothing_was_called_nothing_is_suggested(worked: Household) -> None:
    result = worked.run("policy", "suggest", "agent:idle")
    assert (result.exit_code, result.stdout) == (1, "")


def test_what_was_refused_is_suggested_only_when_asked_and_says_so(worked: Household) -> None:
    assert "hidden" not in worked.do("policy", "suggest")
    told = worked.do("policy", "suggest", "--from", "refused")
    assert lines_of(told) == ["p, bot, default, tool/shelf/hidden, call, -, allow"]
    before = told.splitlines()[told.splitlines().index(lines_of(told)[0]) - 1]
    assert before.startswith("# refused 1 times")
    assert "# no line: bot of default, 1 times" in told
    assert "a deny stands above it: policy.csv:2" in told
    assert "it is allowed under conditions" in told
    assert "invented" not in told
    (change,) = simulated(worked, draft(worked, *RULES, *lines_of(told)))["changes"]
    assert (change["change"], change["object"]) == ("gains", "tool/shelf/hidden")


def test_a_tool_with_a_name_like_a_rule_gets_no_rule(worked: Household) -> None:
    said = worked.ask("policy", "suggest", "--from", "refused")
    odd = {one["object"]: one for one in said["additions"]}
    for name in ("star*", ODD):
        assert odd[f"tool/shelf/{name}"]["line"] == ""
        assert odd[f"tool/shelf/{name}"]["why"] == "its name cannot stand in a rule"
    told = worked.do("policy", "suggest", "--from", "refused")
    assert "odd, call, -, allow\\u000ap, bot" in told  # within a comment, on one line


def test_a_right_that_was_used_under_such_a_name_is_kept_as_it_is(worked: Household) -> None:
    worked.policy(*RULES, "p, clerk, default, tool/shelf/st*, call, -, allow")
    worked.do("policy", "apply")
    worked.run("tool", "call", "--as", "bot", "shelf/star*")
    told = worked.do("policy", "suggest")
    assert "p, clerk, default, tool/shelf/st*, call, -, allow" in lines_of(told)
    assert "cannot stand in a rule" in told
