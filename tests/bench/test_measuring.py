"""What the benchmark says is so: a wrong reply is noticed, CPU and memory are whole trees'."""

import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.bench import answers, askers, load, proc, report, targets
from tests.bench.load import Spell, Target, WrongReply
from tests.bench.measure import (
    CHAT_STREAM,
    KEPT,
    PLAIN,
    TIED,
    Bench,
    Cell,
    Decided,
    Grown,
    Miscounted,
    Results,
    Verified,
    seen,
)
from tests.bench.wire import Message

JSON = {b"content-type": b"application/json"}
SSE = {b"content-type": b"text/event-stream"}
REPLY = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"a"}]}}'

# A child that works, and one that works for a parent that does not.
BURN = "while True: pass"
NEST = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{BURN}'])"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message(status=200, headers=JSON, body=REPLY), id="plain JSON"),
        pytest.param(Message(status=200, headers=SSE, body=b"data: " + REPLY), id="one frame"),
        pytest.param(
            Message(status=200, headers=SSE, body=b"id: 1\ndata: \n\nid: 2\ndata: " + REPLY),
            id="a frame to resume from, then the reply",
        ),
    ],
)
def test_a_reply_is_read_in_every_form_it_may_come(message: Message) -> None:
    reply = load.read(message)
    assert reply.id == 7
    assert reply.result is not None
    assert reply.result.content[0].text == "a"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message(status=503, body=REPLY), id="not 200"),
        pytest.param(Message(status=200, headers=JSON, body=b"<html>"), id="no JSON"),
        pytest.param(Message(status=200, headers=SSE, body=b": ping"), id="a stream of nothing"),
    ],
)
def test_anything_else_is_not_taken_for_a_reply(message: Message) -> None:
    with pytest.raises(WrongReply):
        load.read(message)


def test_quantiles_are_latencies_that_were_seen() -> None:
    spell = Spell(4, 1.0, (1.0, 2.0, 3.0, 40.0))
    assert spell.quantile_ms(0.5) == 3.0
    assert spell.quantile_ms(0.99) == 40.0


def test_the_work_of_a_grandchild_is_counted_and_its_memory_too() -> None:
    with subprocess.Popen([sys.executable, "-c", NEST]) as child:
        try:
            until = time.monotonic() + 20
            while proc.cpu_s(child.pid) < 0.3 and time.monotonic() < until:
                os.sched_yield()
            members = proc.tree(child.pid)
            assert proc.cpu_s(child.pid) >= 0.3
            assert proc.pss_mb(child.pid) > proc.own_mb(child.pid) > 1
        finally:
            for member in reversed(proc.tree(child.pid)):
                os.kill(member, 9)
    assert len(members) == 2


def cell(way: str, cpu_ms: float, foreign_cores: float = 0.0) -> Cell:
    return Cell(way, "2026-07-28", 16, 0, 100, 5000.0, 1.0, 2.0, cpu_ms, 1.0, foreign_cores)


def test_a_noisy_round_counts_only_when_there_is_no_quiet_one() -> None:
    results = Results(2, 1.0, cells=[cell("raw hop", 0.07), cell("raw hop", 0.2, 1.5)])
    assert [c.cpu_ms for c in results.of("raw hop", "2026-07-28", 16)] == [0.07]
    del results.cells[0]
    assert [c.cpu_ms for c in results.of("raw hop", "2026-07-28", 16)] == [0.2]


def test_a_missed_gate_is_written_down_as_missed() -> None:
    cells = [cell("raw hop", 0.07), cell("customhouse", 0.35)]
    results = Results(1, 1.0, cells=cells, fsync_ms=[0.2], commit_ms=[0.3])
    written = report.document(results, "2026-01-01")
    assert "| modern call, 16 concurrent | <= 0.3 ms CPU | 0.35 | **missed** |" in written
    assert "| the same, against the raw hop | <= 4.5 times | 5 | **missed** |" in written
    assert "| memory PSS, all loaded | <= 130 MB | - | not measured |" in written


def beside(way: str, what: str, cpu_ms: float) -> Cell:
    return Cell(way, what, 16, 0, 100, 50.0, 1.0, 2.0, cpu_ms, 1.0, 0.0)


def test_a_stream_is_told_by_the_event_and_each_row_against_the_least_that_does_the_same() -> None:
    streamed = [beside("raw hop", CHAT_STREAM, 5.0), beside("customhouse", CHAT_STREAM, 15.0)]
    calls = [beside("customhouse", PLAIN, 0.2), beside("customhouse", TIED, 0.5)]
    table = report.beside(Results(1, 1.0, cells=[*streamed, *calls]))
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    told = {(row[1], row[3]): (row[7], row[8]) for row in rows}
    assert told[CHAT_STREAM, "raw hop"] == ("10.0", "-")
    assert told[CHAT_STREAM, "customhouse"] == ("30.0", "3.0")
    assert told[PLAIN, "customhouse"] == ("-", "-")
    assert told[TIED, "customhouse"] == ("-", "2.5")


def test_a_stream_that_lost_an_event_is_not_taken_for_whole() -> None:
    askers.holds_every_event(b'"delta" ' * answers.EVENTS, b'"delta"')
    with pytest.raises(WrongReply, match="expected 500 events, got 499"):
        askers.holds_every_event(b'"delta" ' * (answers.EVENTS - 1), b'"delta"')


def gates(results: Results) -> dict[str, report.Gate]:
    return {gate.what: gate for gate in report.gates(results)}


def test_what_was_measured_of_the_gateway_alone_is_held_against_its_gates() -> None:
    results = Results(1, 1.0, fsync_ms=[0.2], commit_ms=[0.3])
    results.decided = Decided(100_000, warm_us=5.1, cold_us=90.0, compile_s=2.0)
    results.verified = Verified(1_000_040, log_mb=1000.0, wall_s=14.0, cpu_s=13.0)
    results.grown = Grown(
        loaded_mb=120.0,
        warm_calls=20_000,
        warm_mb=3.0,
        calls=50_000,
        calls_mb=0.6,
        warm_sessions=600,
        warm_sessions_mb=5.0,
        sessions=400,
        sessions_mb=0.2,
    )
    judged = gates(results)
    assert not judged["policy decision at 100,000 rules"].met
    assert judged["`audit verify` of 1,000,000 entries"].met
    assert judged["memory PSS, all loaded"].met
    growth = judged["memory growth per 100,000 calls"]
    assert (growth.measured, growth.met) == (1.2, False)
    assert "+0.60 MB over 50,000 more" in report.inside(results)


def test_a_short_log_says_nothing_of_a_long_one() -> None:
    results = Results(1, 1.0, fsync_ms=[0.2], commit_ms=[0.3])
    results.verified = Verified(100_000, log_mb=100.0, wall_s=0.8, cpu_s=0.8)
    assert gates(results)["`audit verify` of 1,000,000 entries"].measured is None


@pytest.mark.anyio
async def test_callers_make_exactly_as_many_calls_as_were_asked_for() -> None:
    made: list[int] = []

    def caller(number: int) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            await anyio.lowlevel.checkpoint()
            made.append(number)

        return call

    with anyio.fail_after(5):
        await load.count([caller(number) for number in range(3)], 10)
    assert len(made) == 10
    assert set(made) == {0, 1, 2}


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_kept_result_that_reaches_the_upstream_is_noticed(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with targets.upstream(tmp_path) as upstream:
            bench = Bench(upstream, [upstream], Results(1, 0.05))
            with pytest.raises(Miscounted, match="0 calls had to reach the upstream"):
                await bench.cell(upstream, KEPT, 1, 0)


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_hop_passes_on_what_models_and_agents_say_and_each_call_is_counted(
    tmp_path: Path,
) -> None:
    with anyio.fail_after(20):
        async with (
            targets.upstream(tmp_path) as upstream,
            targets.hop(tmp_path, upstream.target.port, "asgi") as hop,
        ):
            chat, agent = [
                [
                    await askers.asker(Target("hop", hop.target.port, path, targets.KEY))
                    for _ in range(2)
                ]
                for path in (answers.CHAT, answers.RPC)
            ]
            before = await seen(upstream)
            async with anyio.create_task_group() as tasks:
                for step in (chat[0].chat, chat[1].chat_streamed):
                    tasks.start_soon(step)
                for step in (agent[0].send, agent[1].send_streamed):
                    tasks.start_soon(step)
            after = await seen(upstream)
            for one in (*chat, *agent):
                one.close()
    assert (after.calls - before.calls, after.distinct - before.distinct) == (4, 4)
