"""Policy from the command line: checked, tested, asked and put in force."""

from __future__ import annotations

import json
import shutil

import anyio
import pytest

from tests.cli.household import Household

REFUND = "p, clerk, default, tool/shelf/pay, call, small, allow"
SMALL = '[small]\narguments = [{ at = "/amount", gt = 0, lte = 50 }]\n'


def test_what_init_writes_is_valid_and_its_cases_pass(home: Household) -> None:
    assert [f["level"] for f in home.ask("policy", "check")] == ["warning"]
    assert [case["problem"] for case in home.ask("policy", "test")] == ["", "", ""]
    home.do("agent", "add", "bot", "--role", "reader")
    assert home.ask("policy", "check") == []  # somebody holds the role now


def test_a_finding_says_where(home: Household) -> None:
    home.policy(
        "p, clerk, default, tool/*, call, -, allow", "p, clerk, default, tool/*, cal, -, deny"
    )
    result = home.run("policy", "check")
    assert result.exit_code == 3
    assert "error: policy.csv:2:" in result.stdout
    assert "did you mean" in result.stdout


def test_another_folder_is_checked_before_it_is_the_one(home: Household) -> None:
    draft = home.folder / "draft"
    shutil.copytree(home.folder / "policies", draft)
    home.policy("nonsense")
    assert home.run("policy", "test").exit_code == 3
    assert home.run("policy", "test", str(draft)).exit_code == 0


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        pytest.param(
            ["bot", "shelf/pay", "--arguments", '{"amount":20}'], 0, "yes", id="a small one"
        ),
        pytest.param(
            ["bot", "shelf/pay", "--arguments", '{"amount":99}'], 1, "no", id="a large one"
        ),
        pytest.param(["bot", "shelf/pay"], 1, "no", id="without an amount"),
        pytest.param(["guest", "tool/shelf/pay"], 1, "no", id="without the role"),
        pytest.param(["bot", "shelf/nothing"], 1, "no", id="what is not there"),
        pytest.param(["bot", "nowhere/pay"], 1, "no", id="where there is no server"),
    ],
)
def test_may_i_is_an_answer_and_an_exit_code(
    busy: Household, asked: list[str], code: int, said: str
) -> None:
    (busy.folder / "policies" / "conditions.toml").write_text(SMALL)
    busy.policy(REFUND)
    assert busy.run("policy", "can-i", *asked, "--draft").exit_code == code
    busy.do("policy", "apply")
    result = busy.run("policy", "can-i", *asked)
    assert (result.exit_code, result.stdout) == (code, f"{said}\n")


def test_may_i_says_who_would_have_to_approve(busy: Household) -> None:
    waits = "p, clerk, default, tool/shelf/pay, call, approval:boss, allow"
    busy.policy(waits, "p, boss, default, tool/shelf/look, call, -, allow")
    busy.do("policy", "apply")
    result = busy.run("policy", "can-i", "bot", "shelf/pay")
    assert (result.exit_code, result.stdout) == (1, "not before it is approved\n")
    assert "the role 'boss' has to approve" in result.stderr
    told = busy.ask("policy", "explain", "bot", "shelf/pay")
    assert (told["allowed"], told["verdict"], told["approvals"]) == (False, "needs", [["boss"]])
    assert "if approval:boss" in busy.run("policy", "who-can", "shelf/pay").stdout


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        pytest.param([], 1, id="a token that proves nothing"),
        pytest.param(["--role", "clerk"], 0, id="a role"),
        pytest.param(["--role", "clerk", "--role", "reader"], 0, id="two roles"),
        pytest.param(["--scope", "pay"], 0, id="a scope that brings the role"),
        pytest.param(["--scope", "read"], 1, id="a scope that brings nothing"),
        pytest.param(["--role", "root"], 2, id="a role that no token of it proves"),
    ],
)
def test_what_a_token_would_allow_is_asked_before_there_is_one(
    busy: Household, asked: list[str], code: int
) -> None:
    table = '{"scope:pay" = "clerk", "groups:ops" = "reader"}'
    with (busy.folder / "customhouse.toml").open("a") as settings:
        settings.write(f'[issuers.corp]\nurl = "https://corp.example"\nroles = {table}\n')
    assert busy.run("policy", "can-i", "corp/bob", "shelf/pay", *asked).exit_code == code
    listed = busy.run("policy", "can-i", "corp/bob", "--list", *asked)
    assert (listed.exit_code, "shelf/pay" in listed.stdout) == (code, code == 0)
    if code != 2:
        told = busy.ask("policy", "explain", "corp/bob", "shelf/pay", *asked)
        assert (told["agent"], told["allowed"]) == ("corp/bob", code == 0)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (["other/bob", "shelf/pay"], 1),
        (["bot", "shelf/pay", "--role", "clerk"], 2),
        (["bot", "shelf/pay", "--scope", "pay"], 2),
    ],
    ids=str,
)
def test_roles_and_scopes_are_those_of_a_declared_issuers_tokens(
    busy: Household, asked: list[str], code: int
) -> None:
    assert busy.refusal("policy", "explain", *asked)["exit_code"] == code


@pytest.mark.anyio
async def test_an_edited_file_is_a_draft_until_it_is_applied(busy: Household) -> None:
    async def may(*options: str) -> bool:
        asked = ("policy", "can-i", "guest", "shelf/pay", *options)
        return (await anyio.to_thread.run_sync(busy.run, *asked)).exit_code == 0

    async with busy.served():
        busy.policy("p, guest, default, tool/shelf/pay, call, -, allow")
        assert not await may()
        assert await may("--draft")
        done = await anyio.to_thread.run_sync(busy.ask, "policy", "apply")
        assert done["changed"]
        assert await may()
        assert not (await anyio.to_thread.run_sync(busy.ask, "policy", "apply"))["changed"]


def test_an_invalid_folder_is_not_put_in_force(busy: Household) -> None:
    busy.policy("p, bot, default, tool/*, call, missing, allow")
    assert busy.refusal("policy", "apply")["exit_code"] == 3
    assert busy.run("policy", "can-i", "bot", "shelf/fail").exit_code == 0


def test_an_explanation_names_the_rule_or_the_nearest_one(busy: Household) -> None:
    allowed = busy.do("policy", "explain", "bot", "shelf/fail")
    assert "policy.csv:1 (p, clerk, default, tool/shelf/*, call, -, allow)" in allowed
    denied = busy.ask("policy", "explain", "guest", "shelf/fail")
    assert not denied["allowed"]
    assert any("role 'clerk'" in near for near in denied["nearest"])


def test_what_stands_beside_policy_is_said_as_well(busy: Household) -> None:
    busy.do("server", "suspend", "shelf")
    answer = busy.ask("policy", "explain", "bot", "shelf/fail")
    assert (answer["verdict"], answer["allowed"]) == ("allow", False)
    assert answer["stopped"] == "server shelf is suspended"
    busy.do("server", "resume", "shelf")
    busy.do("agent", "disable", "bot")
    assert busy.run("policy", "can-i", "bot", "shelf/fail").exit_code == 1


def test_an_agent_sees_what_it_may_use(busy: Household) -> None:
    seen = busy.ask("policy", "can-i", "bot", "--list")
    assert [row["object"] for row in seen] == ["tool/shelf/fail", "tool/shelf/pay"]
    assert busy.run("policy", "can-i", "guest", "--list").exit_code == 1


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(["bot", "pay"], id="no object"),
        pytest.param(["bot", "shelf/pay", "--act", "fly"], id="no such act"),
        pytest.param(["bot", "shelf/pay", "--arguments", "[1]"], id="arguments that are a list"),
        pytest.param(["bot", "shelf/pay", "--at", "noon"], id="no time"),
    ],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(busy: Household, asked: list[str]) -> None:
    assert busy.refusal("policy", "can-i", *asked)["exit_code"] == 2


def test_an_object_is_named_as_it_is_on_mcp(busy: Household) -> None:
    busy.do("policy", "can-i", "bot", "shelf_pay")
    assert "tool/shelf/pay" in busy.do("policy", "explain", "bot", "shelf_pay")


@pytest.mark.parametrize("command", ["check", "test", "apply"])
def test_without_a_policies_folder_it_is_said_how_to_make_one(
    busy: Household, command: str
) -> None:
    shutil.rmtree(busy.folder / "policies")
    busy.write()
    shutil.rmtree(busy.folder / "policies")
    settings = busy.folder / "customhouse.toml"
    settings.write_text(settings.read_text().replace('policies = "./policies"\n', ""))
    no = busy.refusal("policy", command)
    assert (no["exit_code"], "customhouse init" in no["fix"]) == (3, True)


def test_before_a_gateway_ever_ran_the_files_answer(home: Household) -> None:
    home.database.unlink()
    home.write('[agents.bot]\nroles = ["reader"]\n[servers.time]\ncommand = ["x"]\n')
    answer = home.ask("policy", "explain", "bot", "time/get_current_time")
    assert answer["stopped"] == "the server lists nothing of this name"
    assert any("reader" in row["rule"] for row in answer["matches"])


def test_who_can_names_everybody_with_the_rule_and_the_conditions(busy: Household) -> None:
    (busy.folder / "policies" / "conditions.toml").write_text(SMALL)
    busy.policy(REFUND, "p, guest, default, tool/shelf/*, call, -, allow")
    rows = busy.ask("policy", "who-can", "shelf/pay", "--draft")
    assert [(row["agent"], row["answer"]) for row in rows] == [
        ("bot", "if small"),
        ("guest", "yes"),
    ]
    assert rows[0]["by"] == f"policy.csv:1 ({REFUND})"
    busy.do("agent", "disable", "guest")
    assert len(busy.ask("policy", "who-can", "shelf/pay", "--draft")) == 1
    assert busy.run("policy", "who-can", "admin/metrics", "--act", "read").exit_code == 1


def test_a_diff_says_which_lines_and_which_agents_it_touches(busy: Household) -> None:
    busy.do("policy", "apply")
    assert busy.run("policy", "diff").exit_code == 0
    (busy.folder / "policies" / "conditions.toml").write_text(SMALL)
    busy.policy(REFUND, "p, guest, default, tool/shelf/fail, call, -, allow")
    said = busy.run("policy", "diff", "--json")
    assert said.exit_code == 1
    told = json.loads(said.stdout)
    assert ["-", "p, clerk, default, tool/shelf/*, call, -, allow"] in told["rules"]
    assert ["+", REFUND] in told["rules"]
    changed = [(r["agent"], r["object"], r["now"], r["then"]) for r in told["agents"]]
    assert changed == [
        ("bot", "tool/shelf/fail", "yes", "no"),
        ("bot", "tool/shelf/pay", "yes", "if small"),
        ("guest", "tool/shelf/fail", "no", "yes"),
    ]
    assert "1 gained, 2 lost or changed" in busy.run("policy", "diff").output
