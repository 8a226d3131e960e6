"""A gateway process that believes issuers, beside keys of its own, and a server behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.journey.issuing import Issuer, issuers, new_key
from tests.journey.process import ROOT, GatewayProcess, customhouse, headers, modern, write_policy

AGENT_KEY = "chk_agent_0123456789abcdefghijklmnopqrstuvwxy"
BORDER = "api://border"  # the audience of the issuer partner
CONFIG = """
listen = "127.0.0.1:0"
[servers.desk]
python = "python:tests.servers.functions"
cwd = "{root}"
approve = "first-seen"
[agents.clerk]
roles = ["reader"]
key = "env:CLERK_KEY"
[issuers.corp]
url = "{base}/corp"
team = "staff"
[issuers.corp.roles]
"scope:tools.read" = "reader"
"scope:tools.write" = "writer"
"groups:eng" = "engineer"
[issuers.partner]
url = "{base}/partner"
audience = "api://border"
jwks = "{base}/partner/jwks"
algorithms = ["RS256"]
tenant = "acme"
roles = {{ "realm_access.roles:guest" = "guest" }}
[issuers.turning]
url = "{base}/turning"
roles = {{ "iss:{base}/turning" = "reader" }}
[issuers.stormy]
url = "{base}/stormy"
roles = {{ "iss:{base}/stormy" = "reader" }}
"""
POLICY = """\
p, reader, default, tool/desk/*, list, -, allow
p, reader, default, tool/desk/add, call, -, allow
p, reader, default, tool/desk/block, call, -, allow
p, writer, default, tool/desk/shout, call, -, allow
p, engineer, default, tool/desk/where, call, -, allow
p, guest, acme, tool/desk/add, call, -, allow
p, corp/robot, default, tool/desk/fail, call, -, allow
"""


@dataclass
class Guarded:
    folder: Path
    process: GatewayProcess
    corp: Issuer
    partner: Issuer
    turning: Issuer
    stormy: Issuer
    client: httpx2.Client = field(init=False, default_factory=lambda: httpx2.Client(timeout=20))

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def resource(self) -> str:
        """What a token for the whole gateway is for."""
        return f"{self.url}/mcp"

    @property
    def config(self) -> str:
        return str(self.folder / "customhouse.toml")

    def call(
        self, token: str, tool: str = "desk_add", path: str = "/mcp", **arguments: Any
    ) -> httpx2.Response:
        body = modern("tools/call", {"name": tool, "arguments": arguments or {"a": 1}})
        said = headers("tools/call", tool, token)
        return self.client.post(self.url + path, content=body, headers=said)

    def tools(self, token: str) -> list[str]:
        said = headers("tools/list", key=token)
        answer = self.client.post(self.resource, content=modern("tools/list", {}), headers=said)
        return [tool["name"] for tool in answer.json()["result"]["tools"]]

    def customhouse(self, *arguments: str) -> tuple[int, str, str]:
        return customhouse(*arguments, "--config", self.config)


@contextmanager
def guarded(folder: Path, config: str = CONFIG, policy: str = POLICY) -> Iterator[Guarded]:
    write_policy(folder, policy)
    with issuers(folder / "issuers") as base:
        clients = {"robot": {"secret": "r0b0t", "scopes": ["tools.read", "tools.write"]}}
        made = {
            "corp": Issuer(folder / "issuers", "corp", base, new_key("c1"), clients=clients),
            "partner": Issuer(folder / "issuers", "partner", base, new_key("p1", "RSA")),
            "turning": Issuer(
                folder / "issuers", "turning", base, new_key("t1", "OKP"), discovery="openid"
            ),
            "stormy": Issuer(folder / "issuers", "stormy", base, new_key("s1")),
        }
        (folder / "customhouse.toml").write_text(config.format(root=ROOT, base=base))
        environ = {"CLERK_KEY": AGENT_KEY}
        process = GatewayProcess(folder / "customhouse.toml", environ).start()
        house = Guarded(folder, process, **made)
        try:
            yield house
            assert house.process.stop() == 0
            code, said, complaint = house.customhouse("audit", "verify")
            assert code == 0, said + complaint
        finally:
            house.client.close()
            if house.process.process.poll() is None:
                house.process.kill()
