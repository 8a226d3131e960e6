"""One real gateway for all attacks, behind it servers that keep count of what reaches them.

When the attacks are over, the log must verify, and every effect must have exactly one intent.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.store import engine
from gateway.store.writer import unseal
from tests.journey.process import ROOT, GatewayProcess, customhouse, headers, modern, write_policy

KEYS = {
    "tester": "chk_tester_0123456789abcdefghijklmnopqrstuvw",
    "stranger": "chk_stranger_abcdefghijklmnopqrstuvwxyz01234",
    "poor": "chk_poor_9876543210zyxwvutsrqponmlkjihgfedcb",
    "hasty": "chk_hasty_5647382910qpwoeirutylaksjdhfgzmxnc",
    "second": "chk_second_ponmlkjihgfedcba9876543210zyxwvut",
}
CONFIG = """
listen = "127.0.0.1:0"
[servers.rogue]
url = "http://127.0.0.1:{port}/mcp"
approve = "first-seen"
timeout_s = 2
max_result_tokens = 20000
max_result_bytes = 4000000
[servers.shifty]
url = "http://127.0.0.1:{shifty}/mcp"
approve = "first-seen"
[servers.pipe]
command = ["{python}", "-m", "tests.journey.effects", "{folder}/effects", "stdio"]
cwd = "{root}"
approve = "first-seen"
[servers.nosy]
command = ["{python}", "-S", "{root}/tests/servers/nosy.py", "older"]
approve = "first-seen"
session = "per-caller"
requests = ["elicitation", "sampling"]
[servers.nosier]
command = ["{python}", "-S", "{root}/tests/servers/nosy.py", "newest"]
approve = "first-seen"
requests = ["elicitation", "sampling"]
[agents.tester]
roles = ["caller"]
key = "env:KEY_TESTER"
[agents.stranger]
key = "env:KEY_STRANGER"
[agents.poor]
roles = ["caller"]
key = "env:KEY_POOR"
budget = {{ calls = "100/day" }}
[agents.hasty]
roles = ["caller"]
key = "env:KEY_HASTY"
rate = "5/hour"
[agents.second]
roles = ["caller"]
key = "env:KEY_SECOND"
"""
POLICY = """\
p, caller, default, tool/*, call, -, allow
p, caller, default, admin/metrics, read, -, allow
"""


@dataclass
class Border:
    """The gateway under attack, and how to speak to it."""

    folder: Path
    process: GatewayProcess
    rogue: str
    shifty: str
    client: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=20))

    @property
    def url(self) -> str:
        return self.process.url

    def post(
        self, body: bytes, said: dict[str, str] | None = None, path: str = "/mcp"
    ) -> httpx2.Response:
        return self.client.post(
            self.url + path, content=body, headers=said or headers("tools/call", "pipe_act", TESTER)
        )

    def call(
        self, name: str, arguments: dict[str, Any] | None = None, agent: str = "tester"
    ) -> dict[str, Any]:
        body = modern("tools/call", {"name": name, "arguments": arguments or {}})
        response = self.post(body, headers("tools/call", name, KEYS[agent]))
        answer: dict[str, Any] = response.json()
        return answer

    def listed(self, agent: str = "tester") -> list[str]:
        said = headers("tools/list", key=KEYS[agent])
        tools = self.post(modern("tools/list", {}), said).json()["result"]["tools"]
        return [tool["name"] for tool in tools]

    def effects(self) -> list[str]:
        return (self.folder / "effects").read_text().split("\n")[:-1]

    def control(self, server: str, **what: Any) -> None:
        """Change what a rogue server lists, and have the gateway look at it."""
        url = self.shifty if server == "shifty" else self.rogue
        self.client.post(f"{url}/control", content=json.dumps(what)).raise_for_status()
        code, said, complaint = customhouse(
            "server", "test", server, "--config", str(self.folder / "customhouse.toml")
        )
        assert code in (0, 1, 5), said + complaint


TESTER = KEYS["tester"]


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.rogue", str(folder / "effects")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    port = process.stdout.readline().decode().strip()
    assert port, "the rogue server did not start"
    return process, port


@pytest.fixture(scope="session")
def border(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Border]:
    folder = tmp_path_factory.mktemp("attacks")
    write_policy(folder, POLICY)
    rogue, port = start(folder)
    shifty, shifty_port = start(folder)
    (folder / "customhouse.toml").write_text(
        CONFIG.format(
            port=port, shifty=shifty_port, python=sys.executable, folder=folder, root=ROOT
        )
    )
    environ = {f"KEY_{name.upper()}": key for name, key in KEYS.items()}
    process = GatewayProcess(folder / "customhouse.toml", environ).start()
    border = Border(folder, process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{shifty_port}")
    try:
        yield border
        border.client.close()
        assert process.stop() == 0
        nothing_was_lost(folder)
    finally:
        if process.process.poll() is None:
            process.kill()
        for server in (rogue, shifty):
            server.terminate()
            server.communicate(timeout=10)


def nothing_was_lost(folder: Path) -> None:
    """Every effect has one intent, every intent one outcome, and the log proves itself."""
    code, said, complaint = customhouse(
        "audit", "verify", "--config", str(folder / "customhouse.toml")
    )
    assert code == 0, said + complaint
    effects = sorted((folder / "effects").read_text().split("\n")[:-1])
    key = (folder / "keys" / "payload.kek").read_bytes()
    with engine.reading(folder / "data" / engine.DATABASE) as connection:
        intent_count, outcome_count = (
            connection.execute("SELECT count(*) FROM entries WHERE kind = ?", (kind,)).fetchone()[0]
            for kind in ("intent", "outcome")
        )
        rows = connection.execute(
            "SELECT p.leaf, p.nonce, p.sealed FROM payloads p JOIN entries e ON e.idx = p.leaf"
            " WHERE e.kind = 'intent'"
        )
        intents = [mark_of(unseal(key, *row)[32:]) for row in rows]
    assert intent_count == outcome_count
    for mark in set(effects):
        assert effects.count(mark) <= intents.count(mark), f"an effect without an intent: {mark}"


def mark_of(content: bytes) -> str:
    name, *fields = content.split(b"\n")
    for line in fields:
        if line.startswith(b"arguments "):
            arguments = json.loads(line.removeprefix(b"arguments "))
            return str(arguments.get("mark", name.decode().rpartition("/")[2]))
    return name.decode().rpartition("/")[2]
