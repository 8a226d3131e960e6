"""What keys may say, for whoever wrote something else. Key, or section.key, -> a value as TOML."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, str] = {
    "listen": '"127.0.0.1:8080"',
    "allowed_hosts": '["tools.example.com"]',
    "allowed_origins": '["https://app.example.com"]',
    "public_url": '"https://tools.example.com"',
    "runs": "{ depth = 4, wall_s = 3600, cost = 5_000_000 }  # cost in millionths",
    "rate": '"60/min"',
    "budget": '{ tokens = "200k/day", calls = ["60/min", "5k/day"], cost = "5M/month" }  # cost in millionths',
    "command": '["mcp-server-time", "--local-timezone", "UTC"]',
    "url": '"https://mcp.example.com/mcp"',
    "python": '"python:package.module"',
    "env": '{ LANG = "C", API_KEY = "env:API_KEY" }',
    "cwd": '"./work"',
    "auth": '"env:DOCS_TOKEN"',
    "tags": '{ "get_*" = ["file_read"] }',
    "prefix": '"docs"',
    "price": '{ "search_*" = 2_000 }  # millionths for each call: 0.002 is 2_000',
    "models.url": '"https://api.example.com/v1"',
    "model": (
        '{ id = "gpt-5-mini", class = "small", context = 128_000, prompt = 150_000, '
        "completion = 600_000 }  # millionths for a million tokens: 0.15 is 150_000"
    ),
    "peers.url": '"https://billing.example.com/.well-known/agent-card.json"',
    "peers.jwks": '"https://billing.example.com/keys"',
    "rules": '{ max_bytes = 65_536, depth = 4, data = ["public"], skills = ["quote"] }',
    "roles": '["analyst"]',
    "team": '"reporting"',
    "tenant": '"default"',
    "key": '"env:REPORT_BOT_KEY"',
    "agents.jwks": '"file:worker.jwks.json"',
    "issuers.url": '"https://login.example.com"',
    "issuers.jwks": '"https://login.example.com/keys"',
    "issuers.roles": '{ "scope:tools.read" = "reader", "groups:eng" = "analyst" }',
    "audience": '"https://tools.example.com/mcp"',
    "toolsets.tools": '["docs/search_*", "git/git_*"]',
}


def example_of(section: str, key: str) -> str:
    """A value that *key* may have in *section*, as TOML; "" where there is none to show."""
    return EXAMPLES.get(f"{section}.{key}") or EXAMPLES.get(key, "")
