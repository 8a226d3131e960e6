"""What the kernel says of a process tree, of the whole machine, and of the disk (Linux only)."""

import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_SAMPLES = 60
_ROW = b"x" * 1400  # what one governed call adds to the log, in bytes


def tree(pid: int) -> list[int]:
    """*pid* and all its living descendants."""
    found = [pid]
    for task in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it ended while we looked
            continue
        for child in children:
            found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """User and system time of *pid*'s tree so far, children that ended included."""
    ticks = 0
    for member in tree(pid):
        try:
            stat = (_PROC / str(member) / "stat").read_text()
        except OSError:
            continue
        # pid (name, may hold anything) state ppid ...: utime stime cutime cstime are 14 to 17
        fields = stat.rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks * _TICK_S


def pss_mb(pid: int) -> float:
    """Memory of *pid*'s tree; what several processes share counts once.

    The gateway closes its maps to its own user: who is not root sees all that is resident there.
    """
    return _memory_mb(pid, "Pss:", "VmRSS:")


def own_mb(pid: int) -> float:
    """Memory of *pid*'s tree that no file stands behind: what a process gathers by itself.

    Its share of a library changes with every other process that comes and goes with the same one.
    """
    return _memory_mb(pid, "Pss_Anon:", "RssAnon:")


def _memory_mb(pid: int, word: str, word_for_strangers: str) -> float:
    total_kb = 0
    for member in tree(pid):
        try:
            said, sought = (_PROC / str(member) / "smaps_rollup").read_text(), word
        except PermissionError:
            said, sought = (_PROC / str(member) / "status").read_text(), word_for_strangers
        lines = [line.split() for line in said.splitlines()]
        total_kb += next(int(line[1]) for line in lines if line[0] == sought)
    return total_kb / 1024


def busy_s() -> float:
    """CPU time the whole machine has spent on anything so far."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = (
        int(field) for field in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) * _TICK_S


def spent_s(pids: Iterable[int]) -> float:
    """CPU time of several trees."""
    return sum(cpu_s(pid) for pid in pids)


def fsync_ms(folder: Path) -> float:
    """Median time to make 4 KiB durable in *folder*."""
    path, took = folder / "fsync", []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(_SAMPLES):
            began = time.perf_counter()
            os.write(handle, b"x" * 4096)
            os.fdatasync(handle)
            took.append(time.perf_counter() - began)
    finally:
        os.close(handle)
        path.unlink()
    return statistics.median(took) * 1000


def commit_ms(folder: Path) -> float:
    """Median time of one durable SQLite commit of one call's bytes in *folder*."""
    path, took = folder / "commit.db", []
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE entries (body BLOB)")
        for _ in range(_SAMPLES):
            began = time.perf_counter()
            database.execute("INSERT INTO entries VALUES (?)", (_ROW,))
            took.append(time.perf_counter() - began)
    finally:
        database.close()
        for leftover in folder.glob("commit.db*"):
            leftover.unlink()
    return statistics.median(took) * 1000


def machine() -> str:
    """Cores, processor and kernel, without naming the machine."""
    model = "unknown processor"
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kb = int((_PROC / "meminfo").read_text().split()[1])
    kernel = platform.release().split("-")[0]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({model}), {memory_kb / 2**20:.0f} GiB, Linux {kernel}"
