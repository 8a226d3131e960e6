"""The A2A compatibility kit, twice: against the test agent itself, and through the gateway.

python -m tests.a2a.tck KIT [PYTHON]

KIT is a checkout of the kit (branch 1.0-dev of a2aproject/a2a-tck), PYTHON an interpreter that has
what it needs. The gateway is transparent when the same tests pass both times, but for those in
differences.toml, each with its reason. Exit 0: so it is; 1: it is not; 2: there is no kit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.a2a.shim import Shim, before
from tests.journey.process import KEY, GatewayProcess, gateway, write_policy
from tests.servers.agent import Agent, serving

HERE = Path(__file__).parent
SUITE = Path("tests/compatibility")
TRANSPORTS = "jsonrpc,http_json"
MOST_S = 600
CARD = "/.well-known/agent-card.json"
CONFIG = """
listen = "127.0.0.1:0"
[peers.billing]
url = "{card}"
approve = "first-seen"
rules = {{ max_bytes = 1048576 }}
[agents.alice]
roles = ["caller"]
key = "env:CH_KEY"
"""
POLICY = "p, caller, default, peer/billing/*, call, -, allow\n"
Results = Mapping[str, str]  # test -> passed | failed | skipped


def main() -> int:
    kit = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if kit is None or not (kit / SUITE).is_dir():
        sys.stdout.write(f"There is no compatibility kit: {__doc__}")
        return 2
    python = sys.argv[2] if len(sys.argv) > 2 else sys.executable
    with serving(Agent()) as agent:
        with before(Shim(agent.url, CARD)) as shim:
            directly = _run(kit, python, shim.url)
        with _between(agent) as house, before(Shim(house.url, f"/a2a/billing{CARD}", KEY)) as shim:
            through = _run(kit, python, shim.url)
    return _compare(directly, through)


@contextmanager
def _between(agent: Agent) -> Iterator[GatewayProcess]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_policy(place, POLICY)
        config = place / "customhouse.toml"
        config.write_text(CONFIG.format(card=agent.card_url))
        with gateway(config) as house:
            yield house


def _run(kit: Path, python: str, url: str) -> Results:
    """What became of each test of the kit against *url*."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            *(python, "-m", "pytest", str(SUITE), "-q", "-p", "no:cacheprovider"),
            *(f"--sut-host={url}", f"--transport={TRANSPORTS}", f"--junitxml={report}"),
        ]
        subprocess.run(
            command,
            cwd=kit,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=MOST_S,
            check=False,  # some of its tests fail against every agent
            stdout=subprocess.DEVNULL,
        )
        return dict(_results(report))


def _results(report: Path) -> Iterator[tuple[str, str]]:
    # Written by a process that we started, from a checkout that the operator named.
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - as said
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            yield name, "failed"
        else:
            yield name, "skipped" if "skipped" in kinds else "passed"


def _compare(directly: Results, through: Results) -> int:
    agreed: dict[str, str] = tomllib.loads((HERE / "differences.toml").read_text())
    differ = {
        name: {"directly": directly.get(name, "-"), "through": through.get(name, "-")}
        for name in sorted(directly.keys() | through.keys())
        if directly.get(name) != through.get(name)
    }
    surprises = {name: said for name, said in differ.items() if name not in agreed}
    stale = [name for name in agreed if name not in differ]
    said = {
        "directly": _counts(directly),
        "through": _counts(through),
        "agreed": {name: agreed[name] for name in differ if name in agreed},
        "surprises": surprises,
        "agreed_but_equal": stale,
    }
    sys.stdout.write(json.dumps(said, indent=2) + "\n")
    # Two empty runs are equal, too.
    return 1 if surprises or stale or not _counts(directly).get("passed") else 0


def _counts(results: Results) -> dict[str, int]:
    found = list(results.values())
    return {word: found.count(word) for word in sorted(set(found))}


if __name__ == "__main__":
    sys.exit(main())
