"""The gateway as a real process on loopback, and the plainest client that can talk to it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx2

ROOT = Path(__file__).parents[2]
VERSION = "2026-07-28"
KEY = "chk_tests_only_0123456789abcdefghijklmnopqrstuvwxyz"
START_S = 30.0
STOP_S = 40.0
_ids = itertools.count(1)


def write_policy(folder: Path, rules: str) -> None:
    """The folder `policies` in *folder*, with the model that there is."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "model.conf").write_text((ROOT / "policies" / "model.conf").read_text())
    (policies / "policy.csv").write_text(rules)


@dataclass
class GatewayProcess:
    """`customhouse serve`, started with *config*; its log lines are kept for assertions."""

    config: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()  # of `serve`
    lines: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    process: subprocess.Popen[bytes] = field(init=False)
    _reader: threading.Thread = field(init=False)
    _served: Queue[str] = field(default_factory=Queue)

    def start(self) -> GatewayProcess:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gateway.cli",
                "serve",
                "--config",
                str(self.config),
                *self.options,
            ],
            cwd=ROOT,
            env={**os.environ, "CH_KEY": KEY, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            listen = self._served.get(timeout=START_S)
        except Empty:
            listen = ""
        if not listen:
            self.kill()
            raise AssertionError(f"the gateway did not start: {self.lines}")
        self.url = f"http://{listen}"
        return self

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"text": raw.decode(errors="replace")}
            self.lines.append(line)
            if line.get("event") == "serving":
                self._served.put(line["listen"])
        self._served.put("")

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit code, once everything it said was read."""
        code = self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def stop(self) -> int:
        """Drain it as a service would; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()


@contextmanager
def gateway(
    config: Path, environ: Mapping[str, str] | None = None, options: tuple[str, ...] = ()
) -> Iterator[GatewayProcess]:
    running = GatewayProcess(config, environ or {}, options).start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def customhouse(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run one command; its exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "CH_KEY": KEY, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def modern(method: str, params: dict[str, Any], request_id: int | str | None = None) -> bytes:
    """One request of the newest revision, complete."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
    }
    params = {**params, "_meta": {**envelope, **params.get("_meta", {})}}
    number = next(_ids) if request_id is None else request_id
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode()


def headers(method: str, name: str = "", key: str = KEY) -> dict[str, str]:
    said = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": method,
    }
    return {**said, "Mcp-Name": name} if name else said


async def call_tool(
    client: httpx2.AsyncClient, url: str, name: str, arguments: dict[str, Any], key: str = KEY
) -> dict[str, Any]:
    """POST one tools/call and return the decoded message."""
    response = await client.post(
        f"{url}/mcp",
        content=modern("tools/call", {"name": name, "arguments": arguments}),
        headers=headers("tools/call", name, key),
    )
    answer: dict[str, Any] = response.json()
    return answer
