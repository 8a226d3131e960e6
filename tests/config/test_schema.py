"""The schema of the configuration: every key, made from the keys, and of one mind with the reader."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.cli.starter import files
from gateway.config import ConfigError, load
from gateway.config.keys import LIMITS, SECTIONS, TOP
from gateway.config.schema import of_key, schema

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema_rs.Draft202012Validator(schema())
KEYS = [("", key) for key in TOP] + [(name, key) for name in SECTIONS for key in SECTIONS[name]]


def examples() -> list[str]:
    blocks = re.findall(
        r"^```toml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return [block for block in blocks if "listen = " in block or "[servers." in block]


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_every_key_is_there_with_its_default(section: str, key: str) -> None:
    said = schema()["properties"]
    table = said[section]["additionalProperties"]["properties"] if section else said
    assert table[key] == of_key(SECTIONS[section][key] if section else TOP[key])
    default = table[key].get("default")
    if default is not None:
        assert jsonschema_rs.is_valid(table[key], default)


def test_there_are_no_others() -> None:
    said = schema()["properties"]
    assert set(said) == {*TOP, *SECTIONS}
    for name, keys in SECTIONS.items():
        more = {"limits"} if name == "servers" else set()
        assert set(said[name]["additionalProperties"]["properties"]) == {*keys, *more}
    limits = said["servers"]["additionalProperties"]["properties"]["limits"]
    assert set(limits["properties"]) == set(LIMITS)


def test_it_is_a_schema_itself() -> None:
    assert jsonschema_rs.meta.is_valid(schema())


@pytest.mark.parametrize("example", examples())
def test_the_examples_of_the_readme_are_valid(example: str) -> None:
    assert VALIDATOR.is_valid(tomllib.loads(example))


def test_what_init_writes_is_valid_also_what_is_commented_out() -> None:
    written = files()["customhouse.toml"]
    assert VALIDATOR.is_valid(tomllib.loads(written))
    uncommented = re.sub(r"^# (?=\[|[a-z_]+ = )", "", written, flags=re.MULTILINE)
    assert VALIDATOR.is_valid(tomllib.loads(uncommented))


WRONG = [
    'lisen = "127.0.0.1:8080"',
    'listen = "8080"',
    'log_level = "loud"',
    'two_person_policy = "yes"',
    'allowed_hosts = ["https://a.example"]',
    'allowed_origins = ["a.example"]',
    "[servers.a]\ncommand = []",
    '[servers.a]\ntools = ["x"]',
    '[servers.a]\ncommand = ["x"]\nurl = "https://a.example/mcp"',
    '[servers.a]\nurl = "ftp://a.example"',
    '[servers.a]\nurl = "https://a.example"\nauth = "secret"',
    '[servers.a]\ncommand = ["x"]\ntimeout_s = 0',
    '[servers.a]\ncommand = ["x"]\ntimeout_s = true',
    '[servers.a]\ncommand = ["x"]\nmax_result_bytes = 1',
    '[servers.a]\ncommand = ["x"]\nprice = { "*" = -1 }',
    '[servers.a]\ncommand = ["x"]\nenv = { "A B" = "c" }',
    '[servers.a]\ncommand = ["x"]\ntags = { "*" = ["No Tag"] }',
    '[servers.a]\ncommand = ["x"]\napprove = "always"',
    '[servers.a]\ncommand = ["x"]\nlimits = { speed = "1/min" }',
    '[servers.A]\ncommand = ["x"]',
    '[agents.a]\nkey = "chk_secret"',
    '[agents.a]\nroles = "reader"',
    '[agents.a]\nrate = "fast"',
    '[agents.a]\nbudget = { hugs = "1/day" }',
    '[agents.a]\nbudget = { calls = "many" }',
    "[teams.a]\nroles = []",
    '[models.a]\nurl = "https://a.example/v1"',
    '[models.a]\nmodel = { id = "x" }',
    '[models.a]\nurl = "https://a.example/v1"\nmodel = { class = "small" }',
    '[models.a]\nurl = "https://a.example/v1"\nmodel = { id = "x", class = "huge" }',
    "[peers.a]",
    '[peers.a]\nurl = "https://a.example/card"\nrules = { size = 1 }',
    '[peers.a]\nurl = "https://a.example/card"\njwks = "ftp://a"',
    '[agents.a]\njwks = "https://a.example/keys"',
    "[runs]\ndeep = 1",
    "runs = { wall_s = 999999999 }",
]


@pytest.mark.parametrize("text", WRONG)
def test_what_the_reader_refuses_the_schema_refuses(text: str, tmp_path: Path) -> None:
    file = tmp_path / "customhouse.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file, {})
    assert not VALIDATOR.is_valid(tomllib.loads(text))


def test_the_command_prints_it() -> None:
    printed: Any = json.loads(CliRunner().invoke(main, ["config", "schema"]).stdout)
    assert printed == schema()
