"""Stop buttons on a real process: new calls are refused at once, open ones end within a second."""

from __future__ import annotations

import concurrent.futures
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest

from tests.journey.process import (
    KEY,
    ROOT,
    GatewayProcess,
    customhouse,
    headers,
    modern,
    write_policy,
)

pytestmark = pytest.mark.slow

BOUND_S = 1.0  # the README says so
SLOW_MS = 8_000
RUN = "run-of-the-stops"
CONFIG = """
listen = "127.0.0.1:0"
[servers.pipe]
command = ["{python}", "-m", "tests.journey.effects", "{folder}/effects", "stdio"]
cwd = "{root}"
approve = "first-seen"
[agents.tester]
key = "env:CH_KEY"
[runs]
repeats = 2
"""


@dataclass
class Border:
    folder: Path
    process: GatewayProcess
    client: httpx2.Client

    def ask(self, *arguments: str) -> Any:
        code, said, complaint = customhouse(
            *arguments, "--json", "--config", str(self.folder / "customhouse.toml")
        )
        assert code == 0, said + complaint
        return json.loads(said)

    def call(self, mark: str, run: str = "", wait_ms: int = 0, key: str = "") -> httpx2.Response:
        arguments = {"mark": mark, "wait_ms": wait_ms}
        body = modern("tools/call", {"name": "pipe_act", "arguments": arguments})
        said = headers("tools/call", "pipe_act", KEY)
        if key:
            said["Idempotency-Key"] = key
        if run:
            said["Customhouse-Run"] = run
        return self.client.post(f"{self.process.url}/mcp", content=body, headers=said)

    def effects(self) -> list[str]:
        return (self.folder / "effects").read_text().split("\n")[:-1]


@pytest.fixture
def border(tmp_path: Path) -> Iterator[Border]:
    write_policy(tmp_path, "p, tester, default, tool/*, call, -, allow\n")
    config = tmp_path / "customhouse.toml"
    config.write_text(CONFIG.format(python=sys.executable, folder=tmp_path, root=ROOT))
    process = GatewayProcess(config).start()
    with httpx2.Client(timeout=30) as client:
        border = Border(tmp_path, process, client)
        try:
            yield border
            code, said, complaint = customhouse("audit", "verify", "--config", str(config))
            assert code == 0, said + complaint
        finally:
            if border.process.process.poll() is None:  # it may be another by now
                border.process.stop()


def ended_by(border: Border, stop: Callable[[], Any]) -> tuple[httpx2.Response, float]:
    """A call that is under way when *stop* is done: its answer, and how long that took then."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        open_call = pool.submit(border.call, "slow", RUN, SLOW_MS)
        while "slow" not in border.effects():
            assert not open_call.done()
        stop()
        began_s = monotonic()
        answer = open_call.result(timeout=SLOW_MS / 1000)
    return answer, monotonic() - began_s


STOPS = {
    "a run": (("run", "stop", RUN), "run_stopped"),
    "a server": (("server", "suspend", "pipe"), "unknown_object"),
    "everything": (("freeze",), "frozen"),
    "an agent": (("agent", "disable", "tester"), "not_authenticated"),
}


@pytest.mark.timed
@pytest.mark.parametrize(("stop", "code"), STOPS.values(), ids=STOPS.keys())
def test_what_is_stopped_ends_within_the_bound_and_begins_nothing_more(
    border: Border, stop: tuple[str, ...], code: str
) -> None:
    border.call("first")
    answer, took_s = ended_by(border, lambda: border.ask(*stop))
    assert answer.status_code in (401, 503)
    assert took_s < BOUND_S
    refused = border.call("after", RUN).json()
    said = refused["result"]["_meta"] if "result" in refused else refused["error"]["data"]
    assert said["io.customhouse/refusal"].get("code", "unknown_object") == code
    assert "after" not in border.effects()


def test_a_key_that_is_repeated_begins_no_new_run(border: Border) -> None:
    def told(key: str, run: str) -> tuple[str, str, int | None]:
        """The run, in the header and in the answer, and the calls that it has left."""
        answer = border.call("once", run, key=key)
        said = answer.json()["result"]["_meta"]["io.customhouse/call"]
        left = said.get("left", {}).get("calls/run")
        return answer.headers.get("customhouse-run", ""), said.get("run", ""), left

    first, again = told("key-1", "new"), told("key-1", "new")
    assert first == again == (first[0], first[0], 999)
    assert told("key-2", "") == told("key-2", "new") == ("", "", None)
    assert border.effects() == ["once", "once"]


def test_a_stopped_run_stops_no_other_run(border: Border) -> None:
    border.call("first", RUN)
    border.ask("run", "stop", RUN)
    assert "result" in border.call("second", "another-run").json()
    assert border.effects() == ["first", "second"]


def test_stops_outlive_the_process_until_they_are_lifted(border: Border) -> None:
    border.call("first", RUN)
    border.ask("run", "stop", RUN)
    border.ask("freeze")
    border.process.kill()
    border.process = GatewayProcess(border.folder / "customhouse.toml").start()
    assert border.call("second").status_code == 503
    assert border.client.get(f"{border.process.url}/readyz").status_code == 503
    border.ask("thaw")
    assert border.call("third").status_code == 200
    refused = border.call("fourth", RUN).json()["result"]
    assert refused["_meta"]["io.customhouse/refusal"]["code"] == "run_stopped"
    assert border.effects() == ["first", "third"]


def test_a_run_is_one_bill(border: Border) -> None:
    answers = [border.call("first", RUN), border.call("second", RUN), border.call("second", RUN)]
    assert [a.headers["customhouse-run"] for a in answers] == [RUN] * 3
    refused = border.call("second", RUN).json()["result"]
    assert refused["_meta"]["io.customhouse/refusal"]["code"] == "loop"
    (row,) = border.ask("run", "list")
    shown = border.ask("run", "show", RUN)
    assert (row["run"], row["calls"], row["refused"]) == (shown["run"], 3, 1)
    assert shown["agents"] == ["tester"]
    assert [step["object"] for step in shown["steps"]] == ["tool/pipe/act"] * 4
    assert shown["tokens"] == sum(step["tokens"] for step in shown["steps"]) > 0
    assert shown["steps"][3]["outcome"] == "refused: loop"


def test_the_gateway_makes_a_run_for_whoever_asks_for_a_new_one(border: Border) -> None:
    made = border.call("first", "new")
    run = made.headers["customhouse-run"]
    assert made.json()["result"]["_meta"]["io.customhouse/call"]["run"] == run
    border.call("second", run)
    assert border.ask("run", "show", run)["calls"] == 2


def test_a_run_that_cannot_be_one_is_refused_with_what_it_must_be(border: Border) -> None:
    refused = border.call("first", "no run")
    assert refused.status_code == 400
    assert "8 to 64" in refused.json()["error"]["message"]


def test_the_same_call_under_one_key_has_one_effect_also_across_a_kill(border: Border) -> None:
    first = border.call("once", key="order-7").json()["result"]
    again = border.call("once", key="order-7").json()["result"]
    assert again["content"] == first["content"]
    assert again["_meta"]["io.customhouse/call"]["replayed"] is True
    border.process.kill()
    border.process = GatewayProcess(border.folder / "customhouse.toml").start()
    later = border.call("once", key="order-7").json()["result"]
    assert later["content"] == first["content"]
    other = border.call("twice", key="order-7").json()["result"]
    assert other["_meta"]["io.customhouse/refusal"]["code"] == "key_reused"
    assert border.effects() == ["once"]


def test_a_keyed_call_that_a_kill_left_open_is_unknown_and_never_tried_again(
    border: Border,
) -> None:
    border.call("first")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        open_call = pool.submit(border.call, "slow", "", SLOW_MS, "order-8")
        while "slow" not in border.effects():
            assert not open_call.done()
        border.process.kill()
        with pytest.raises(httpx2.TransportError):
            open_call.result(timeout=20)
    border.process = GatewayProcess(border.folder / "customhouse.toml").start()
    said = border.call("slow", "", SLOW_MS, "order-8").json()["result"]
    refusal = said["_meta"]["io.customhouse/refusal"]
    assert refusal["code"] == "outcome_unknown"
    assert border.effects().count("slow") == 1
    told = outcome(border, refusal["call_id"])
    assert (told["state"], told["status"]) == ("unknown", "unknown")


def outcome(border: Border, call_id: str, key: str = KEY) -> dict[str, Any]:
    said = {"Authorization": f"Bearer {key}"}
    answer = border.client.get(f"{border.process.url}/calls/{call_id}", headers=said)
    told: dict[str, Any] = answer.json()
    return told


def test_a_caller_can_ask_what_came_of_its_own_call(border: Border) -> None:
    result = border.call("first").json()["result"]
    call_id = result["_meta"]["io.customhouse/call"]["call_id"]
    told = outcome(border, call_id)
    assert (told["state"], told["status"], told["call_id"]) == ("ended", "ok", call_id)
    assert outcome(border, "0" * 26)["error"]["code"] == -32602
    assert outcome(border, "not-an-id")["error"]["code"] == -32602


def test_whoever_looks_is_told_that_everything_is_stopped(border: Border) -> None:
    border.ask("freeze")
    code, said, _ = customhouse(
        "doctor", "--json", "--config", str(border.folder / "customhouse.toml")
    )
    assert code == 1
    assert "customhouse thaw" in said
    assert border.process.stop() == 0
    border.process = GatewayProcess(border.folder / "customhouse.toml").start()
    assert any(line.get("event") == "frozen" for line in border.process.lines)


def test_a_server_is_not_suspended_as_a_peer(border: Border) -> None:
    config = str(border.folder / "customhouse.toml")
    code, _, complaint = customhouse("peer", "suspend", "pipe", "--config", config)
    assert (code, "there is no peer" in complaint) == (1, True)
