"""kill -9, again and again, with calls in flight: the crash table of the design, row by row."""

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from gateway.audit import entry as entries
from gateway.domain.budget import Purses
from gateway.store import engine
from gateway.store.counters import fold, rebuild_purses, stored_entries
from gateway.store.writer import unseal
from tests.journey.process import ROOT, GatewayProcess, call_tool, customhouse, write_policy

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROUNDS = 18
CALLERS = 16
SETTLE_ROUNDS = range(0, ROUNDS, 3)  # killed in the instant an answer arrives

CONFIG = """
listen = "127.0.0.1:0"
[servers.pipe]
command = ["{python}", "-m", "tests.journey.effects", "{folder}/effects", "stdio"]
cwd = "{root}"
approve = "first-seen"
[servers.web]
url = "http://127.0.0.1:{port}/mcp"
approve = "first-seen"
[agents.tester]
roles = ["caller"]
key = "env:CH_KEY"
budget = {{ calls = "1000000/day", tokens = "100G/day" }}
"""
POLICY = "p, caller, default, tool/*, call, -, allow\n"


@dataclass
class Tally:
    answered: set[str] = field(default_factory=set)
    rounds_in_flight: int = 0
    rounds_in_settle: int = 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_policy(tmp_path, POLICY)
    return tmp_path


def start_web(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journey.effects", folder / "effects", "http"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


async def one_round(folder: Path, number: int, tally: Tally, dice: random.Random) -> None:
    running = GatewayProcess(folder / "customhouse.toml").start()
    enough, answers = asyncio.Event(), dice.randrange(16, 200)
    async with httpx2.AsyncClient(timeout=10) as client:

        async def caller(name: str, luck: float) -> None:
            """Calls until the gateway is gone; remembers what it was answered."""
            server = "pipe" if luck < 0.5 else "web"
            for n in range(100_000):
                mark = f"{name}-{n}"
                wanted = {"mark": mark, "wait_ms": int(luck * 7)}
                try:
                    answer = await call_tool(client, running.url, f"{server}_act", wanted)
                except httpx2.TransportError:
                    return
                if answer.get("result", {}).get("content", [{}])[0].get("text") == mark:
                    tally.answered.add(mark)
                if n * CALLERS > answers:
                    enough.set()

        callers = [
            asyncio.create_task(caller(f"{number}-{n}", dice.random())) for n in range(CALLERS)
        ]
        if number in SETTLE_ROUNDS:  # as an answer leaves, others are being settled
            async with asyncio.timeout(30):
                await enough.wait()
        else:
            await asyncio.wait(callers, timeout=dice.uniform(0.05, 2.0))
        running.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(running.wait)
        await asyncio.gather(*callers)


def marks_of_intents(folder: Path) -> dict[str, int]:
    """mark -> leaf of its intent, from the sealed payloads."""
    key = (folder / "keys" / "payload.kek").read_bytes()
    marks: dict[str, int] = {}
    with engine.reading(folder / "data" / engine.DATABASE) as connection:
        rows = connection.execute(
            "SELECT p.leaf, p.nonce, p.sealed FROM payloads p JOIN entries e ON e.idx = p.leaf"
            " WHERE e.kind = 'intent'"
        )
        for leaf, nonce, sealed in rows:
            content = unseal(key, leaf, nonce, sealed)[32:]
            [arguments] = [line for line in content.split(b"\n") if line.startswith(b"arguments ")]
            mark = json.loads(arguments.removeprefix(b"arguments "))["mark"]
            assert mark not in marks, "two intents for one call"
            marks[mark] = leaf
    return marks


def settled_leaves(connection: sqlite3.Connection) -> set[int]:
    settled: set[int] = set()
    for entry in stored_entries(connection, 0):
        if isinstance(entry, entries.Outcome):
            assert entry.intent not in settled, "two outcomes for one intent"
            settled.add(entry.intent)
    return settled


def check_after_crash(folder: Path, tally: Tally) -> None:
    effects = (folder / "effects").read_text().split()
    assert len(effects) == len(set(effects)), "a call was made twice"
    marks = marks_of_intents(folder)
    assert set(effects) <= marks.keys(), "an effect without an intent"
    with engine.reading(folder / "data" / engine.DATABASE) as connection:
        settled = settled_leaves(connection)
    assert {marks[mark] for mark in tally.answered} <= settled, "an answered call was lost"
    open_marks = {mark for mark, leaf in marks.items() if leaf not in settled}
    tally.rounds_in_flight += bool(open_marks)
    tally.rounds_in_settle += bool(open_marks & set(effects))


async def test_no_effect_without_an_intent_and_no_answer_without_an_outcome(folder: Path) -> None:
    dice, tally = random.Random(20261122), Tally()
    web, port = start_web(folder)
    (folder / "customhouse.toml").write_text(
        CONFIG.format(python=sys.executable, folder=folder, root=ROOT, port=port)
    )
    try:
        for number in range(ROUNDS):
            await one_round(folder, number, tally, dice)
            check_after_crash(folder, tally)
        last = GatewayProcess(folder / "customhouse.toml").start()
        assert last.stop() == 0
    finally:
        web.terminate()
        web.communicate(timeout=10)

    assert tally.answered
    assert tally.rounds_in_flight >= 10
    assert tally.rounds_in_settle >= 5
    with engine.reading(folder / "data" / engine.DATABASE) as connection:
        from_state, state_leaf = rebuild_purses(connection)
        from_scratch = Purses()
        for entry in stored_entries(connection, 0):
            fold(from_scratch, entry)
            last_us = entry.t
    assert state_leaf >= 0
    assert not from_scratch.open_holds()
    assert from_state.canonical(last_us) == from_scratch.canonical(last_us)
    code, said, complaint = customhouse(
        "audit", "verify", "--config", str(folder / "customhouse.toml")
    )
    assert code == 0, said + complaint
