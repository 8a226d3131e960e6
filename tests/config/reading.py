"""The example file, and how the tests of the configuration read one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load

KEY = "k3y-0123456789-abcdefghijklmnopqrstuv"

EXAMPLE = """\
listen = "127.0.0.1:8080"
data_dir = "./data"
keys_dir = "./keys"
policies = "./policies"
[servers.time]
command = ["mcp-server-time"]
approve = "first-seen"
[servers.docs]
url = "http://127.0.0.1:9000/mcp"
auth = "env:DOCS_TOKEN"
tools = ["get_*", "search_*"]
tags = { "get_*" = ["file_read"] }
limits = { rate = "10/s", budget = { calls = "5k/day" } }
[agents.report-bot]
team = "reporting"
roles = ["analyst"]
key = "env:REPORT_BOT_KEY"          # or: customhouse key issue report-bot
rate = "60/min"
budget = { tokens = "200k/day", calls = ["60/min", "1000/day"] }
"""


def read(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    file = folder / "customhouse.toml"
    file.write_text(text)
    return load(file, environ or {})


def refused(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environ)
    return caught.value
