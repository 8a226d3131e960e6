"""The measuring beside MCP: models, agents, tokens, and what a run and a key add to a call."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench import answers, askers, load, targets
from tests.bench.askers import ACCESS_TOKEN, EXCHANGE, Asker
from tests.bench.load import Era, WrongReply
from tests.bench.measure import (
    BESIDE,
    CHAT,
    CHAT_STREAM,
    PLAIN,
    SEND,
    SEND_STREAM,
    TIED,
    TOKEN,
    Bench,
    Line,
)
from tests.bench.targets import OFTEN, PLENTY, House, Running

# The token endpoint has a pace for each client that no configuration changes: so there are many.
CLERKS = 64
AGENT = "/a2a/office"
_READY_S = 30.0

MORE = f"""\
[runs]
fan_out = {OFTEN}
calls = {PLENTY}
tokens = {PLENTY}
[models.chatty]
url = "http://127.0.0.1:{{upstream}}/v1"
model = {{{{ id = "bench", context = 128000, prompt = 150000, completion = 600000 }}}}
rate = "{OFTEN}/s"
[peers.office]
url = "http://127.0.0.1:{{upstream}}{answers.CARD}"
approve = "first-seen"
rate = "{OFTEN}/s"
"""
CLERK = """\
[agents.{name}]
key = "env:{variable}"
"""
POLICY = """\
p, caller, default, model/chatty, call, -, allow
p, caller, default, peer/office/*, call, -, allow
"""
Step = Callable[[], Awaitable[None]]


def _clerk(number: int) -> tuple[str, str, str]:
    """One client of the token endpoint: its name, the variable of its key, and the key."""
    return f"clerk{number}", f"BENCH_CLERK_{number}", f"{targets.KEY}-{number:04d}"


def house(folder: Path, upstream_port: int, command: tuple[str, ...]) -> House:
    """A gateway with a model, an agent and clients that come for tokens."""
    clerks = [_clerk(number) for number in range(CLERKS)]
    tables = "".join(CLERK.format(name=name, variable=variable) for name, variable, _ in clerks)
    more = MORE.format(upstream=upstream_port) + tables
    return House(folder, upstream_port, command, more=more, more_policy=POLICY)


async def measured(bench: Bench, folder: Path, house: House) -> None:
    """Every row, the raw hop beside the gateway where it can do the same."""
    env = {variable: key for _, variable, key in map(_clerk, range(CLERKS))}
    async with (
        targets.hop(folder, house.upstream_port, "asgi") as hop,
        targets.gateway(house, env) as gateway,
    ):
        for path in (answers.CHAT, AGENT):
            await _ready(_at(gateway, path))
        parent = await _parent(gateway)
        tokens: set[str] = set()
        for round_ in range(bench.results.rounds):
            await _relays(bench, hop, gateway, round_)
            await _calls(bench, gateway, round_)
            await _tokens(bench, _at(gateway, "/oauth/token"), (parent, tokens), round_)


def _at(running: Running, path: str) -> Running:
    return replace(running, target=replace(running.target, path=path))


async def _ready(way: Running) -> None:
    """Wait until what stands behind *way* is known there. Raises: WrongReply."""
    until = time.monotonic() + _READY_S
    async with _asking(way, 1) as (one,):
        ask = one.chat if way.target.path == answers.CHAT else one.send
        while True:
            try:
                return await ask()
            except WrongReply:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _asking(way: Running, count: int) -> AsyncIterator[Sequence[Asker]]:
    made = [await askers.asker(way.target) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


async def _relays(bench: Bench, hop: Running, gateway: Running, round_: int) -> None:
    """Models and the agent, whole and streamed, the ways taking turns."""
    rows: tuple[tuple[str, str, str, Callable[[Asker], Step]], ...] = (
        (CHAT, answers.CHAT, answers.CHAT, lambda one: one.chat),
        (CHAT_STREAM, answers.CHAT, answers.CHAT, lambda one: one.chat_streamed),
        (SEND, answers.RPC, AGENT, lambda one: one.send),
        (SEND_STREAM, answers.RPC, AGENT, lambda one: one.send_streamed),
    )
    for what, behind, before, step in rows:
        ways = [_at(hop, behind), _at(gateway, before)]
        for way in ways if round_ % 2 else reversed(ways):
            async with _asking(way, BESIDE[what]) as asking:
                await bench.measure(way, Line(what, round_), [step(one) for one in asking])


async def _calls(bench: Bench, gateway: Running, round_: int) -> None:
    """tools/call as ever, and in a run with keys, by the same callers."""
    run = f"bench-run-{os.urandom(8).hex()}"
    callers = await load.callers(gateway.target, Era.MODERN, BESIDE[PLAIN])

    def tied(caller: load.Caller) -> Step:
        return lambda: caller.call_tied(run)

    rows: list[tuple[str, list[Step]]] = [
        (PLAIN, [one.call for one in callers]),
        (TIED, [tied(one) for one in callers]),
    ]
    try:
        for what, steps in rows if round_ % 2 else reversed(rows):
            await bench.measure(gateway, Line(what, round_), steps)
    finally:
        await load.leave(callers)


async def _parent(gateway: Running) -> str:
    """A token of the agent whose rights are handed on."""
    target = _at(gateway, "/oauth/token").target
    one = await askers.asker(target, askers.basic("bench", targets.KEY))
    try:
        return await one.token(grant_type="client_credentials")
    finally:
        one.close()


async def _tokens(bench: Bench, way: Running, handed_on: tuple[str, set[str]], round_: int) -> None:
    """Exchanges, of which each has to give another token."""
    parent, given = handed_on
    clerks = [askers.basic(name, key) for name, _, key in map(_clerk, range(CLERKS))]
    asking = [await askers.asker(way.target, clerk) for clerk in clerks]
    form = {
        "grant_type": EXCHANGE,
        "subject_token": parent,
        "subject_token_type": ACCESS_TOKEN,
        "scope": "tool/bench/echo",
    }

    def exchange(turns: Iterator[Asker]) -> Step:
        async def step() -> None:
            token = await next(turns).token(**form)
            if token in given:
                raise WrongReply("a token was given out twice")
            given.add(token)

        return step

    count = BESIDE[TOKEN]
    steps = [exchange(itertools.cycle(asking[n::count])) for n in range(count)]
    try:
        await bench.measure(way, Line(TOKEN, round_, reaching=0), steps)
    finally:
        for one in asking:
            one.close()
