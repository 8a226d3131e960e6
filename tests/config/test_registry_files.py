"""The registry's server.json: packages in their exact version, remotes as they are published."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.sources import Candidate, Format, read_source
from tests.config.importing import HOME, imported


def published(**members: Any) -> list[Candidate]:
    text = json.dumps({"name": "io.github.someone/weather", "version": "1.2.0", **members})
    return list(read_source(text, Format.REGISTRY, Path("server.json"), HOME).candidates)


NPM = {"registryType": "npm", "identifier": "@someone/weather", "version": "1.2.0"}


def test_a_package_of_the_registry_is_started_in_its_exact_version() -> None:
    (found,) = published(
        packages=[
            {
                **NPM,
                "transport": {"type": "stdio"},
                "runtimeArguments": [{"type": "named", "name": "-y"}],
                "packageArguments": [
                    {"type": "named", "name": "--units", "value": "metric"},
                    {"type": "named", "name": "--quiet"},
                    {
                        "type": "positional",
                        "value": "{city}",
                        "variables": {"city": {"default": "Berlin"}},
                    },
                ],
                "environmentVariables": [
                    {"name": "API_KEY", "isRequired": True, "isSecret": True},
                    {"name": "LOG_LEVEL", "default": "info"},
                    {"name": "EXTRA"},
                ],
            }
        ]
    )
    assert found.name == "weather"
    assert found.table == {
        "command": [
            *("npx", "-y", "@someone/weather@1.2.0"),
            *("--units", "metric", "--quiet", "Berlin"),
        ],
        "env": {"API_KEY": "env:UPSTREAM_WEATHER_API_KEY", "LOG_LEVEL": "info"},
    }
    assert found.findings == (
        "set UPSTREAM_WEATHER_API_KEY for the gateway",
        "EXTRA was left away: it may be given with --env",
    )


def test_the_first_way_that_works_is_taken_and_the_others_can_be_named() -> None:
    found = published(
        packages=[
            {"registryType": "oci", "identifier": "ghcr.io/x/y:1", "transport": {"type": "stdio"}},
            NPM,
            {**NPM, "registryType": "pypi", "identifier": "weather-mcp"},
        ],
        remotes=[
            {
                "type": "streamable-http",
                "url": "https://{region}.example.com/mcp",
                "variables": {"region": {"default": "eu"}},
                "headers": [{"name": "Authorization", "value": "Bearer {t}", "isSecret": True}],
            }
        ],
    )
    taken = [one for one in found if one.table and not one.left_out]
    assert [one.name for one in taken] == ["weather"]
    assert taken[0].table["command"][0] == "npx"
    others = {one.name: one for one in found if one not in taken}
    assert list(others) == ["weather-oci", "weather-pypi", "weather-http"]
    assert "a container image" in others["weather-oci"].left_out
    assert others["weather-pypi"].table["command"] == ["uvx", "weather-mcp@1.2.0"]
    assert others["weather-http"].table == {
        "url": "https://eu.example.com/mcp",
        "auth": "env:UPSTREAM_WEATHER_TOKEN",
    }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "latest"}, "no exact version"),
        ({"version": "^1.2"}, "no exact version"),
        ({"version": "1.2 --unsafe"}, "no exact version"),
        ({"identifier": "--registry=https://evil.example"}, "no identifier"),
        ({"identifier": "../x"}, "no identifier"),
        ({"identifier": "git+https://evil.example/x"}, "no identifier"),
        ({"registryType": "mcpb"}, "'mcpb'"),
        ({"transport": {"type": "streamable-http", "url": "http://127.0.0.1:1"}}, "of its own"),
        ({"packageArguments": [{"name": "--key", "isSecret": True}]}, "is a secret"),
        ({"packageArguments": [{"name": "--city", "isRequired": True}]}, "has to be chosen"),
        ({"packageArguments": [{"type": "positional", "value": "{x}"}]}, "has to be chosen"),
    ],
)
def test_a_package_that_cannot_be_run_as_it_is_published_is_left_out(change: Any, why: str) -> None:
    (found,) = published(packages=[{**NPM, **change}])
    assert why in found.left_out
    assert found.table == {}


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        ({"type": "ws", "url": "wss://x.example"}, "'ws'"),
        ({"type": "sse", "url": "https://{tenant}.example.com"}, "has to be chosen"),
        ({"type": "sse", "url": "https://x.example/?api_key=1"}, "looks like a secret"),
        (
            {
                "type": "sse",
                "url": "https://x.example",
                "headers": [{"name": "X-Key", "isRequired": True}],
            },
            "'X-Key'",
        ),
    ],
)
def test_a_remote_that_cannot_be_reached_as_it_is_published_is_left_out(
    remote: Any, why: str
) -> None:
    (found,) = published(remotes=[remote])
    assert why in found.left_out


def test_the_first_release_of_the_format_and_the_registrys_own_answer_are_read() -> None:
    old = {
        "registry_name": "pypi",
        "name": "weather-mcp",
        "version": "1.0",
        "environment_variables": [{"name": "K", "is_required": True, "is_secret": True}],
    }
    inner = {"name": "io.x/weather", "packages": [old]}
    official = {"io.modelcontextprotocol.registry/official": {"status": "deprecated"}}
    text = json.dumps({"server": inner, "_meta": official})
    (found,) = imported(text, "server.json").values()
    assert found.table == {
        "command": ["uvx", "weather-mcp@1.0"],
        "env": {"K": "env:UPSTREAM_WEATHER_K"},
    }
    assert "the registry says that it is deprecated" in found.findings
    assert published(packages=[NPM], status="deleted")[0].table == {}
