"""What is measured of the gateway alone: one decision, the verifier, and memory."""

import asyncio
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping

import msgspec

from gateway.store.engine import DATABASE
from tests.bench import load, proc, targets
from tests.bench.load import Era
from tests.bench.measure import Decided, Grown, Results, Verified
from tests.bench.targets import ROOT, House

CALLERS = 8  # of each era, for as long as memory is measured
WARM_CALLS, MORE_CALLS = 20_000, 60_000
WARM_SESSIONS, MORE_SESSIONS, SESSIONS_AT_ONCE = 600, 400, 20


class Failed(Exception):
    """A process that should have measured something did not."""


async def decisions(results: Results) -> None:
    """One decision under 100,000 rules."""
    said = await _said(sys.executable, "-m", "tests.bench.decisions")
    results.decided = msgspec.json.decode(said, type=Decided)


async def verifying(results: Results, house: House, entries: int) -> None:
    """`audit verify` of a log of *entries* entries, which the house writes first."""
    config = targets.write_config(house, targets.free_port())
    key = {"BENCH_KEY": targets.KEY}
    fill = (sys.executable, "-m", "tests.bench.longlog", str(config), str(entries))
    written = int(await _said(*fill, env=key))
    log_mb = (house.folder / "data" / DATABASE).stat().st_size / 1e6
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = (*house.command, "audit", "verify", "--config", str(config), "--json")
    await _said(*command)
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    results.verified = Verified(written, log_mb, wall_s, cpu_s)
    shutil.rmtree(house.folder)


async def memory(results: Results, house: House) -> None:
    """What stays of calls over the same connections and sessions, and what of opening sessions.

    PSS of what is mapped from files changes with whoever else has mapped the same libraries, so
    that growth is measured without it.
    """
    async with targets.gateway(house) as gateway:
        target = gateway.target
        kept = [caller for era in Era for caller in await load.callers(target, era, CALLERS)]

        async def more(calls: int) -> float:
            before_mb = proc.own_mb(gateway.pid)
            await load.count([caller.call for caller in kept], calls)
            return proc.own_mb(gateway.pid) - before_mb

        async def sessions(count: int) -> float:
            before_mb = proc.own_mb(gateway.pid)
            for _ in range(count // SESSIONS_AT_ONCE):
                await load.leave(await load.callers(target, Era.SESSION, SESSIONS_AT_ONCE))
            return proc.own_mb(gateway.pid) - before_mb

        warm_mb = await more(WARM_CALLS)
        calls_mb = await more(MORE_CALLS)
        first_mb = await sessions(WARM_SESSIONS)
        later_mb = await sessions(MORE_SESSIONS)
        pss_mb = proc.pss_mb(gateway.pid)
        await load.leave(kept)
    results.grown = Grown(
        loaded_mb=pss_mb,
        warm_calls=WARM_CALLS,
        warm_mb=warm_mb,
        calls=MORE_CALLS,
        calls_mb=calls_mb,
        warm_sessions=WARM_SESSIONS,
        warm_sessions_mb=first_mb,
        sessions=MORE_SESSIONS,
        sessions_mb=later_mb,
    )


async def _said(*command: str, env: Mapping[str, str] | None = None) -> bytes:
    """What *command* writes on standard output. Raises: Failed: its exit status is not 0."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, wrong = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        tail = wrong[-2000:].decode(errors="replace")
        raise Failed(f"{' '.join(command)}: exit {process.returncode}:\n{tail}")
    return said
