"""What the benchmark says is so: a wrong reply is noticed, CPU and memory are whole trees'."""

import os
import subprocess
import sys
import time

import pytest

from tests.bench import load, proc, report
from tests.bench.load import Spell, WrongReply
from tests.bench.measure import Cell, Results
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
            assert proc.pss_mb(child.pid) > 1
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
