"""Messages blame what is to blame, name what is missing, and offer nothing that does harm."""

from __future__ import annotations

import json

import anyio
import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from tests.cli.household import Household, each
from tests.cli.test_remote import PROBLEM, elsewhere

pytestmark = pytest.mark.anyio
GUARD = "p, *, *, tool/*, call, destructive, deny"
DESTRUCTIVE = '[destructive]\ntags = { has_any = ["destructive"] }\n'
BEYOND = """
[models.gpt]
url = "http://127.0.0.1:9/v1"
model = { id = "x" }
[peers.billing]
url = "http://127.0.0.1:9/card"
[agents.planner]
roles = ["clerk"]
"""


@pytest.fixture
def guarded(busy: Household) -> Household:
    """A guard rail of which nobody knows whether it is about what is not there."""
    (busy.folder / "policies" / "conditions.toml").write_text(DESTRUCTIVE)
    busy.policy(GUARD, "p, clerk, default, tool/shelf/*, call, -, allow")
    busy.do("policy", "apply")
    return busy


# -- what is not there -----------------------------------------------------------------------------


def test_a_call_of_what_is_not_there_says_so_first_and_blames_no_rule(guarded: Household) -> None:
    done = guarded.run("tool", "call", "--as", "bot", "shelf/pya", "{}")
    assert done.exit_code == 1
    first, sentence = done.stdout.splitlines()
    assert first == "the server lists nothing of this name; did you mean shelf/pay?"
    assert sentence.startswith("There is nothing of this name")


def test_an_explanation_begins_with_what_is_not_there_and_does_not_mend_the_rail(
    guarded: Household,
) -> None:
    first, *rest = guarded.do("policy", "explain", "bot", "shelf/pya").splitlines()
    assert first == "stopped: the server lists nothing of this name; did you mean shelf/pay?"
    assert rest[0].startswith("deny  bot -> call tool/shelf/pya")
    assert "deny overrides" not in str(rest)
    server = guarded.ask("policy", "explain", "bot", "shlf/pay")
    assert server["stopped"] == "there is no server 'shlf'; did you mean shelf/pay?"


def test_a_rule_that_denies_what_is_there_is_still_to_blame(guarded: Household) -> None:
    guarded.policy("p, *, *, tool/shelf/pay, call, -, deny")
    guarded.do("policy", "apply")
    said = guarded.do("policy", "explain", "bot", "shelf/pay")
    assert said.startswith("deny  bot")
    assert "a deny overrides every allow" in said
    called = guarded.run("tool", "call", "--as", "bot", "shelf/pay", "{}")
    assert "a deny overrides every allow" in called.stdout


async def test_a_policy_reader_elsewhere_is_not_told_what_else_there_is(
    guarded: Household,
) -> None:
    from gateway.app.operations.looks import LOOKS
    from gateway.domain.model import Principal
    from gateway.edge.api.desk import EVERY_TENANT, Errand

    async with guarded.open() as (house, _):
        args = {"agent": "bot", "object": "shelf/pya"}
        errand = Errand(Principal("default", "ann"), EVERY_TENANT, "policy.explain", args)
        told = (await LOOKS["policy.explain"](house, errand)).value
    assert told["stopped"] == "the server lists nothing of this name"
    assert "shelf/pay" not in json.dumps(told)


@pytest.mark.parametrize(
    ("asked", "object_"),
    [
        pytest.param("billing/quote", "peer/billing/quote", id="a skill of a peer"),
        pytest.param("gpt", "model/gpt", id="a model"),
        pytest.param("shelf/pay", "tool/shelf/pay", id="a tool"),
        pytest.param("tool/billing/quote", "tool/billing/quote", id="what is named in full"),
    ],
)
def test_peers_and_models_are_named_as_shortly_as_tools(
    busy: Household, asked: str, object_: str
) -> None:
    with (busy.folder / "customhouse.toml").open("a") as settings:
        settings.write(BEYOND)
    assert busy.ask("policy", "explain", "planner", asked)["object"] == object_


# -- what is missing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["approval", "list"], "read on admin/approvals"),
        (["key", "revoke", "abc"], "admin on admin/keys"),
        (["model", "suspend", "gpt"], "read on admin/servers, in every tenant (*)"),
    ],
    ids=str,
)
def test_a_refusal_from_elsewhere_names_the_right_that_is_missing(
    home: Household, words: list[str], right: str
) -> None:
    home.environ["CUSTOMHOUSE_KEY"] = "chk_elsewhere_0123456789abcdefghijklmnopqrstuvw"
    no = "Policy does not allow this."
    problem = {"code": "forbidden", "title": no, "detail": no, "fix": "Ask for a role whose rules"}
    with elsewhere(403, PROBLEM, problem) as there:
        error = home.refusal("--url", there.url, *words)
    assert (error["what"], error["why"]) == (no, f"forbidden: this needs {right}")
    assert error["fix"] == f"ask for a role whose rules allow {right}"


def test_what_is_refused_for_another_reason_is_not_put_on_policy(home: Household) -> None:
    home.environ["CUSTOMHOUSE_KEY"] = "chk_elsewhere_0123456789abcdefghijklmnopqrstuvw"
    problem = {
        "code": "forbidden", "title": "Policy does not allow this.",
        "detail": "agent:ann cannot decide on A-1: nobody approves or denies what they asked for",
        "fix": "have somebody else decide",
    }  # fmt: skip
    with elsewhere(403, PROBLEM, problem) as there:
        error = home.refusal("--url", there.url, "approval", "list")
    assert (error["why"], error["fix"]) == ("forbidden", "have somebody else decide")


# -- what was meant --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("agent revoke report-bot boss", "Did you mean 'withdraw'?"),
        ("agent remvoe bot", "Did you mean 'remove'?"),
        ("agnet list", "Did you mean 'agent'?"),
        ("agent rename bot", ""),
        ("server revive docs", ""),
        ("model show gpt", "customhouse server show"),
        ("key delete abc", "Did you mean 'revoke'?"),
    ],
)
def test_a_wrong_word_is_answered_by_what_was_meant_and_by_nothing_that_takes_away(
    words: str, offered: str
) -> None:
    done = CliRunner().invoke(main, words.split())
    said = done.stderr.splitlines()[-1]
    assert (done.exit_code, said.startswith("Error: No such command")) == (2, True)
    assert said.endswith(offered or "'.")


@pytest.mark.parametrize(("kind", "name"), [("model", "gpt"), ("peer", "billing")])
def test_models_and_peers_are_listed_by_themselves(busy: Household, kind: str, name: str) -> None:
    assert busy.ask(kind, "list") == []
    with (busy.folder / "customhouse.toml").open("a") as settings:
        settings.write(BEYOND)
    assert [row["name"] for row in busy.ask(kind, "list")] == [name]
    assert len(busy.ask("server", "list")) == 3


# -- what is shown ---------------------------------------------------------------------------------


def test_a_table_has_headings_wherever_it_goes_unless_it_is_empty(busy: Household) -> None:
    head, *rows = busy.do("agent", "list").splitlines()
    assert head.split("\t")[:2] == ["AGENT", "TENANT"]
    assert [row.split("\t")[0] for row in rows] == ["bot", "guest"]
    assert busy.do("key", "list") == ""


async def test_a_call_that_waits_tells_how_it_is_approved(busy: Household) -> None:
    busy.policy("p, clerk, default, tool/shelf/pay, call, approval:boss, allow")

    def called() -> str:
        busy.do("policy", "apply")
        asked = busy.run("tool", "call", "--as", "bot", "shelf/pay", '{"amount":1}')
        assert asked.exit_code == 1
        (waiting,) = each(busy.do("approval", "list"))
        line = f"approval {waiting[0]}: customhouse approval approve {waiting[0]}"
        assert line in asked.stdout.splitlines()
        return busy.do("approval", "approve", waiting[0], "--yes")

    async with busy.served():
        assert "is approved" in await anyio.to_thread.run_sync(called)


def test_after_a_warning_nothing_else_is_wrong(home: Household) -> None:
    assert home.do("config", "check").endswith(": nothing is wrong\n")
    home.write('[servers.gone]\ncommand = ["no-such-program"]\n')
    done = home.run("config", "check")
    assert "warning: servers.gone.command" in done.stderr
    assert done.stdout.endswith(": nothing else is wrong\n")


async def test_what_the_file_says_and_the_gateway_has_not_read_is_marked(home: Household) -> None:
    home.write('[agents.one]\nroles = ["a"]\n[agents.two]\n[agents.three]\n')

    def marks() -> dict[str, str]:
        return {row["name"]: row.get("at_restart", "") for row in home.ask("agent", "list")}

    async with home.served():
        same = await anyio.to_thread.run_sync(marks)
        home.write('[agents.one]\nroles = ["b"]\n[agents.two]\n[agents.four]\n')
        edited = await anyio.to_thread.run_sync(marks)
        told = await anyio.to_thread.run_sync(home.run, "agent", "list")
    assert set(same.values()) == {""}
    assert edited == {"four": "added", "one": "changed", "three": "removed", "two": ""}
    assert "enabled, changed at a restart" in told.stdout
    assert "restart it" in told.stderr
    assert set(marks().values()) == {""}, "without a gateway the file is what there is"


def test_serving_names_first_what_waits_for_approval(shelf: Household) -> None:
    from gateway.app.operations.reading import read_house
    from gateway.cli.serving import _waiting

    assert _waiting(read_house(shelf.config)) == "customhouse server approve shelf"
    shelf.do("server", "approve", "shelf", "--yes")
    # The other has a hidden character, and takes a look of its own.
    assert _waiting(read_house(shelf.config)) == "customhouse tool diff tool/shelf/add"
    shelf.do("tool", "approve", "shelf/add", "--yes")
    assert _waiting(read_house(shelf.config)) == ""
