"""A gateway process that gives out tokens to its agents, with a server behind it."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from joserfc.jwk import Key

from tests.journey.issuing import new_key
from tests.journey.process import ROOT, GatewayProcess, customhouse, headers, modern, write_policy
from tests.servers.issuer import signed

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
KEYS = {
    name: f"chk_{name}_0123456789abcdefghijklmnopqrstuvwxyz"
    for name in ("planner", "worker", "third", "fourth", "outsider")
}
CONFIG = """
listen = "127.0.0.1:0"
runs = {{ depth = 2 }}
[servers.desk]
python = "python:tests.servers.functions"
cwd = "{root}"
approve = "first-seen"
[agents.planner]
roles = ["caller"]
key = "env:KEY_PLANNER"
[agents.worker]
roles = ["caller"]
key = "env:KEY_WORKER"
[agents.third]
roles = ["caller"]
key = "env:KEY_THIRD"
[agents.fourth]
roles = ["caller"]
key = "env:KEY_FOURTH"
[agents.outsider]
tenant = "acme"
key = "env:KEY_OUTSIDER"
"""
SIGNER = """
[agents.signer]
roles = ["caller"]
jwks = "file:signer.jwks.json"
[agents.signer2]
roles = ["caller"]
jwks = "file:signer.jwks.json"
"""
POLICY = "p, caller, default, tool/desk/*, call, -, allow\n"


@dataclass
class Delegating:
    folder: Path
    process: GatewayProcess
    signer: Key  # of the agents signer and signer2
    client: httpx2.Client = field(init=False, default_factory=lambda: httpx2.Client(timeout=20))

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def resource(self) -> str:
        return f"{self.url}/mcp"

    def ask(self, agent: str = "", path: str = "/oauth/token", **form: Any) -> httpx2.Response:
        """Ask for a token as *agent*, which proves itself with its API key; "" with what the form says."""
        said = {}
        if agent:
            secret = b64encode(f"{agent}:{KEYS[agent]}".encode()).decode()
            said = {"Authorization": f"Basic {secret}"}
        return self.client.post(self.url + path, data=form, headers=said)

    def own(self, agent: str = "planner", **form: Any) -> str:
        """A token of *agent* for itself."""
        answer = self.ask(agent, grant_type="client_credentials", **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def exchange(self, token: str, agent: str = "worker", **form: Any) -> httpx2.Response:
        """What comes of it when *agent* comes with *token* of somebody else."""
        given = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, **form}
        return self.ask(agent, grant_type=EXCHANGE, **given)

    def delegated(self, token: str, agent: str = "worker", **form: Any) -> str:
        answer = self.exchange(token, agent, **form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def assertion(self, agent: str = "signer", key: Key | None = None, **claims: Any) -> str:
        now_s = int(time.time())  # noqa: TID251 - as a client does
        said = {"iss": agent, "sub": agent, "aud": self.url, "jti": str(uuid4()), "iat": now_s}
        header = claims.pop("header", {"typ": "JWT"})
        return signed({**said, "exp": now_s + 60, **claims}, key or self.signer, **header)

    def asserted(self, assertion: str, **form: Any) -> httpx2.Response:
        given = {"client_assertion": assertion, "client_assertion_type": ASSERTION}
        return self.ask(**{"grant_type": "client_credentials", **given, **form})

    def call(
        self, token: str, tool: str = "desk_add", path: str = "/mcp", **arguments: Any
    ) -> httpx2.Response:
        body = modern("tools/call", {"name": tool, "arguments": arguments or {"a": 1}})
        said = headers("tools/call", tool, token)
        return self.client.post(self.url + path, content=body, headers=said)

    def customhouse(self, *arguments: str) -> tuple[int, str, str]:
        return customhouse(*arguments, "--config", str(self.folder / "customhouse.toml"))

    def said(self, *arguments: str) -> Any:
        """What a command that must succeed says as JSON."""
        code, said, complaint = self.customhouse(*arguments, "--json")
        assert code == 0, said + complaint
        return json.loads(said)


@contextmanager
def delegating(folder: Path, more: str = SIGNER) -> Iterator[Delegating]:
    """*more*: of the configuration."""
    write_policy(folder, POLICY)
    key = new_key("s1")
    (folder / "signer.jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    (folder / "customhouse.toml").write_text(CONFIG.format(root=ROOT) + more)
    environ = {f"KEY_{name.upper()}": secret for name, secret in KEYS.items()}
    process = GatewayProcess(folder / "customhouse.toml", environ).start()
    house = Delegating(folder, process, key)
    try:
        yield house
        assert house.process.stop() == 0
        code, said, complaint = house.customhouse("audit", "verify")
        assert code == 0, said + complaint
    finally:
        house.client.close()
        if house.process.process.poll() is None:
            house.process.kill()
