"""Who acted for whom, in the log and on the bill: calls, refusals, and the qualifiers to find them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from gateway.app.operations import calls, search
from gateway.app.operations.args import Args
from gateway.app.operations.query import parse
from gateway.domain.model import Grant
from gateway.domain.refusal import Refused
from gateway.domain.run import run_account
from gateway.store.trail import opened
from tests.cli.fixtures import CLERK, copied, silence
from tests.cli.household import Household, each

RUN = "run-refund-1"
CALL_ARGS = ("server", "name", "arguments")
FAR = 1 << 62
CONDITIONS = '[through_temp]\nactors = { has_any = ["temp"] }\n'
GRANTS = (Grant("j1"),)  # as every token has that was handed on


@pytest.fixture(scope="module")
def sent_once(busy_once: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    """bot called in a run through worker, which may, and through intern, which may not.

    Somebody of another tenant was refused in a run of the same id.
    """
    home = copied(busy_once, tmp_path_factory.mktemp("sent"))
    home.policy(
        CLERK,
        "p, *, *, tool/shelf/fail, call, through_temp, deny",
        "p, banned, default, tool/shelf/fail, call, -, deny",
        "g, intern, banned, default",
    )

    (home.folder / "policies" / "conditions.toml").write_text(CONDITIONS)

    async def work() -> None:
        async with home.open() as (house, _):
            bot = replace(calls._principal(house, "bot", "op"), grants=GRANTS)
            for who, name, arguments in (
                (replace(bot, actors=("worker",)), "pay", '{"amount": 1}'),
                (replace(bot, actors=("worker",)), "pay", '{"amount": "one"}'),
                (replace(bot, actors=("intern",)), "fail", "{}"),
                (replace(bot, tenant="other", grants=()), "pay", '{"amount": 1}'),
            ):
                args = Args({"server": "shelf", "name": name, "arguments": arguments}, *CALL_ARGS)
                made = replace(calls._call(house, who, args), run=RUN)
                with suppress(Refused):
                    await house.pipeline.govern(made, calls._Silent())

    with silence():
        home.do("policy", "apply")
        home.do("agent", "add", "worker", "--role", "clerk")
        home.do("agent", "add", "intern")
        anyio.run(work)
    return home


@pytest.fixture
def sent(sent_once: Household, tmp_path: Path) -> Household:
    return copied(sent_once, tmp_path)


def found(home: Household, *qualifiers: str) -> list[tuple[str, str, str]]:
    """Who acted, for whom, and how it ended."""
    rows = json.loads(home.run("audit", "query", *qualifiers, "--json").stdout)
    return [
        (" ".join(row.get("actors", ())), row["agent"], row.get("code", row["status"]))
        for row in rows
    ]


PASSED, WRONG, BANNED = (
    ("worker", "bot", "ok"),
    ("worker", "bot", "invalid_arguments"),
    ("intern", "bot", "forbidden"),
)
STRANGE = ("", "bot", "forbidden")  # of the other tenant


@pytest.mark.parametrize(
    ("qualifiers", "expected"),
    [
        pytest.param(["actor:worker"], [PASSED, WRONG], id="calls and refusals"),
        pytest.param(["actor:intern"], [BANNED], id="a refusal alone"),
        pytest.param(["actor:intern,worker", "kind:refused"], [WRONG, BANNED], id="either of them"),
        pytest.param(["actor:w*"], [PASSED, WRONG], id="who begins so"),
        pytest.param(["actor:worker", "agent:worker"], [], id="for somebody else only"),
        pytest.param(["actor:bot"], [], id="whoever has somebody act acts for nobody"),
        pytest.param(["actor:nobody"], [], id="nobody"),
        pytest.param(["-actor:worker", f"run:{RUN}"], [BANNED, STRANGE], id="not through it"),
        pytest.param([f"run:{RUN}"], [PASSED, WRONG, BANNED, STRANGE], id="a run by its id"),
        pytest.param([f"run:{RUN}", "tenant:default"], [PASSED, WRONG, BANNED], id="of one tenant"),
        pytest.param([f"run:{run_account('other', RUN)}"], [STRANGE], id="a run as in the log"),
        pytest.param([f"run:another-run,{RUN}", "tenant:other"], [STRANGE], id="either run"),
        pytest.param([f"-run:{RUN}", "actor:*"], [], id="not of the run"),
        pytest.param(["run:r*"], [PASSED, WRONG, BANNED, STRANGE], id="of any run"),
        pytest.param(["run:another-run"], [], id="a run that never was"),
    ],
)
def test_who_acted_and_in_which_run_is_found(
    sent_once: Household, qualifiers: list[str], expected: list[tuple[str, str, str]]
) -> None:
    assert found(sent_once, *qualifiers) == expected


def test_a_run_is_found_however_many_ids_are_asked_for(sent_once: Household) -> None:
    many = ",".join(f"some-run-{number}" for number in range(search.MAX_RUNS))
    assert len(found(sent_once, f"run:{many},{RUN}")) == 4


def test_for_an_actor_that_never_acted_the_log_is_not_read(sent_once: Household) -> None:
    def work(name: str) -> list[str]:
        said: list[str] = []
        with opened(sent_once.config.data_dir) as trail:
            trail._connection.set_trace_callback(said.append)
            search.search(trail, parse([f"actor:{name}"], 0), 10)
        return [one for one in said if "SELECT body" in one]

    assert work("worker")
    assert not work("nobody")


def test_every_command_that_takes_qualifiers_takes_these(sent_once: Household) -> None:
    exported = sent_once.do("audit", "export", f"run:{RUN}", "actor:worker").splitlines()
    records = [json.loads(line) for line in exported]
    assert [record["status"] for record in records] == ["ok", "refused"]
    assert all("worker" in record["names"].values() for record in records)
    assert (
        sent_once.ask("policy", "simulate", "--sealed", "actor:worker", f"run:{RUN}")["calls"] == 2
    )


def test_who_sees_one_tenant_finds_its_run_and_not_that_of_another(sent_once: Household) -> None:
    def leaves(tenant: str) -> int:
        with opened(sent_once.config.data_dir) as trail:
            query = parse([f"run:{RUN}"], 0)
            return len(search.page(trail, query, FAR, 10, lambda: True, tenant).rows)

    assert (leaves("default"), leaves("other"), leaves("nowhere")) == (3, 1, 0)


def test_a_refusal_is_shown_with_who_acted(sent_once: Household) -> None:
    (row,) = sent_once.ask("audit", "query", "actor:intern")
    (entry,) = sent_once.ask("audit", "show", row["call"])["entries"]
    assert (entry["agent"], entry["actors"], entry["code"]) == ("bot", ["intern"], "forbidden")
    assert "actors: intern" in sent_once.do("audit", "show", row["call"])
    cells = [*each(sent_once.do("audit", "query", f"run:{RUN}"))]
    assert [one[2] for one in cells] == [
        "worker for bot",
        "worker for bot",
        "intern for bot",
        "bot",
    ]


def test_a_refusal_of_several_is_decided_again_with_all_of_them(sent: Household) -> None:
    said = sent.ask("audit", "replay", f"run:{RUN}", "tenant:default")
    assert (said["agree"], said["differ"], said["not_replayed"]) == (3, 0, {})


def test_what_refuses_an_actor_is_used(sent: Household) -> None:
    said = json.loads(sent.run("policy", "unused", "--sealed", "--json").stdout)
    assert not [one for one in said["memberships"] if "banned" in one["text"]]
    assert not [one for one in said["guard_rails"] if "banned" in one["text"]]


def test_a_bill_names_everybody_who_took_part(sent_once: Household) -> None:
    shown = sent_once.ask("run", "show", RUN)
    assert shown["agents"] == ["bot", "intern", "worker"]
    assert [step["actors"] for step in shown["steps"]] == [["worker"], ["worker"], ["intern"]]
    told = sent_once.do("run", "show", RUN)
    assert "intern for bot" in told
    assert "by 3 agents; quiet" in told
    assert "agents: bot, intern, worker" in told
    assert "by 1 agent; quiet" in sent_once.do("run", "show", RUN, "--tenant", "other")


def test_a_list_of_runs_has_headings_in_a_pipe_as_well(sent_once: Household) -> None:
    head, *rows = [line.split("\t") for line in sent_once.do("run", "list").splitlines()]
    assert head == ["RUN", "TENANT", "AGENTS", "CALLS", "REFUSED", "TOKENS", "COST", "STATE"]
    listed = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    ours = listed[run_account("default", RUN)]
    assert (ours["AGENTS"], ours["CALLS"], ours["REFUSED"]) == ("bot intern worker", "1", "2")


def test_who_stops_a_run_is_told_whether_the_log_knows_it(sent: Household) -> None:
    def stop(run: str, *more: str) -> dict[str, Any]:
        said: dict[str, Any] = sent.ask("run", "stop", run, *more)
        assert said["stopped"]
        return said

    assert (stop(RUN)["known"], stop("nosuchrun1")["known"]) == (True, False)
    assert stop(RUN, "--tenant", "nowhere")["known"] is False
    assert (stop("nosuchrun1")["changed"], stop("nosuchrun1")["known"]) == (False, False)
    told = sent.do("run", "stop", "nosuchrun2")
    assert "is stopped, in case it comes: the log knows no call of this run" in told
    assert "the log knows no call" not in sent.do("run", "stop", RUN)
