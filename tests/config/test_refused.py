"""Whatever is wrong in customhouse.toml is refused, and said where, why and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.config.examples import EXAMPLES
from gateway.config.keys import SECTIONS, TOP, Key
from tests.config.reading import EXAMPLE, KEY, refused

SERVER = '[servers.docs]\nurl = "https://h/mcp"\n'
CHILD = '[servers.docs]\ncommand = ["x"]\n'

REFUSED = {
    "not TOML": ("listen = ", "customhouse.toml", "Invalid value"),
    "a misspelt key": ("lisen = 1", "customhouse.toml:1: lisen", "did you mean listen?"),
    "a misspelt section": ("[server.docs]", "customhouse.toml:1: server", "did you mean servers?"),
    "a misspelt key of a server": (SERVER + "tool = []", "customhouse.toml:3: servers.docs.tool", "tools?"),
    "a key that belongs elsewhere": (SERVER + "roles = []", "servers.docs.roles", "a key of [agents.NAME]"),
    "a misspelt limit": (SERVER + 'limits = { rates = "1/s" }', "customhouse.toml:3", "did you mean rate?"),
    "a key below a section": ('[agents.a]\ndata_dir = "x"', "agents.a.data_dir", "at the top of the file"),
    "a section that is a value": ("servers = 5", "customhouse.toml:1: servers", "expected a table"),
    "a server that is a value": ("[servers]\ndocs = 5", "customhouse.toml:2: servers.docs", "a table"),
    "no way to a server": ("[servers.docs]", "servers.docs", "exactly one of command, url and python"),
    "two ways to a server": (SERVER + 'command = ["x"]', "servers.docs", "not 2"),
    "a child's key for a url": (SERVER + 'cwd = "x"', "servers.docs.cwd", "no meaning"),
    "a url's key for a child": (CHILD + 'auth = "env:A"', "servers.docs.auth", "no meaning"),
    "an address without a port": ('listen = "127.0.0.1"', "listen", "address and a port"),
    "a port too high": ('listen = "127.0.0.1:65536"', "listen", "65535"),
    "a port alone": ('listen = ":8080"', "listen", "address and a port"),
    "an address that is a number": ("listen = 8080", "listen", "not a number"),
    "a switch that is a word": ('two_person_policy = "yes"', "two_person_policy", "true or false, not a string"),
    "a level nobody logs at": ('log_level = "loud"', "log_level", "debug, info"),
    "an origin with a path": ('allowed_origins = ["https://a/b"]', "allowed_origins", "without a path"),
    "a host with a scheme": ('allowed_hosts = ["https://a"]', "allowed_hosts", "Host header"),
    "a name in capitals": ('[agents.Bot]', "agents.Bot", "is not a name"),
    "a name in Cyrillic": ('[agents."b\u043et"]', "agents", r"'b\u043et' is not a name"),
    "an empty name": ('[teams.""]', "teams.", "is not a name"),
    "two names that look alike": ("[agents.a-b]\n[agents.a_b]", "agents.a_b", "differ only in - and _"),
    "a tenant that is no name": ('[agents.a]\ntenant = "*"', "agents.a.tenant", "expected a name"),
    "a role that is no name": ('[agents.a]\nroles = ["a b"]', "agents.a.roles", "expected a name"),
    "a role that is an agent": ('[agents.a]\nroles = ["b"]\n[agents.b]', "agents.a.roles", "an agent and a role"),
    "a team in two tenants": (
        '[teams.t]\ntenant = "x"\n[agents.a]\nteam = "t"\ntenant = "y"', "agents.a.tenant", "its team t in x"),
    "a rate of nothing": ('[agents.a]\nrate = "0/min"', "agents.a.rate", "count from 1"),
    "a rate that is none": ('[agents.a]\nrate = "often"', "agents.a.rate", "60/min"),
    "a budget that is none": ('[agents.a]\nbudget = { tokens = "lots" }', "agents.a.budget", "200k/day"),
    "a budget that is a string": ('[agents.a]\nbudget = "1/day"', "agents.a.budget", "expected a table"),
    "a meter nobody reads": ('[agents.a]\nbudget = { bytes = "1/day" }', "agents.a.budget", "tokens, calls, cost"),
    "one window twice": ('[agents.a]\nbudget = { calls = ["1/day", "2/day"] }', "agents.a.budget", "given twice"),
    "a url of another scheme": ('[servers.s]\nurl = "ftp://h/"', "servers.s.url", "expected a URL"),
    "a url without a host": ('[servers.s]\nurl = "http:///x"', "servers.s.url", "expected a URL"),
    "a url with a wrong port": ('[servers.s]\nurl = "http://h:99999/"', "servers.s.url", "expected a URL"),
    "a url with a password": ('[servers.s]\nurl = "http://u:pass@h/"', "servers.s.url", "no user or password"),
    "a url with a fragment": ('[servers.s]\nurl = "http://h/#x"', "servers.s.url", "fragment"),
    "a module that is a path": ('[servers.s]\npython = "a/b.py"', "servers.s.python", "expected a module"),
    "a command that is a line": ('[servers.s]\ncommand = "x y"', "servers.s.command", "list of strings"),
    "a command of nothing": ("[servers.s]\ncommand = []", "servers.s.command", "a program"),
    "a word that is a number": ('[servers.s]\ncommand = ["x", 5]', "servers.s.command", "not a number"),
    "a toolset of nothing": ("[toolsets.t]", "toolsets.t", "the tools that are in it"),
    "a toolset that is a word": ('[toolsets.t]\ntools = "docs/x"', "toolsets.t.tools", "list of strings"),
    "a toolset of a wire name": ('[toolsets.t]\ntools = ["docs_x"]', "toolsets.t.tools", '"server/tool"'),
    "a toolset of everything": ('[toolsets.t]\ntools = ["*"]', "toolsets.t.tools", '"server/tool"'),
    "a toolset with * in the middle": ('[toolsets.t]\ntools = ["d/a*b"]', "toolsets.t.tools", '"server/tool"'),
    "a toolset with another key": ('[toolsets.t]\ntool = ["d/a"]', "customhouse.toml:2", "did you mean tools?"),
    "a toolset that is no name": ("[toolsets.A]", "toolsets.A", "is not a name"),
    "a time of yes": (CHILD + "timeout_s = true", "servers.docs.timeout_s", "seconds"),
    "a time without end": (CHILD + "timeout_s = inf", "servers.docs.timeout_s", "3600"),
    "a size of nothing": (CHILD + "max_result_bytes = 0", "servers.docs.max_result_bytes", "1024"),
    "a price in parts": (CHILD + "price = 0.5", "servers.docs.price", "whole number"),
    "a negative price": (CHILD + 'price = { "*" = -1 }', "servers.docs.price", "whole number"),
    "an approval nobody gives": (CHILD + 'approve = "always"', "servers.docs.approve", "ask, first-seen"),
    "a session of nobody": (CHILD + 'session = "private"', "servers.docs.session", '"per-caller"'),
    "a session that answers others": (
        CHILD + 'session = "per-caller"\ncache = 60', "servers.docs.cache", "no meaning"),
    "a request that is none": (CHILD + 'requests = ["tools"]', "servers.docs.requests", "elicitation"),
    "a request that is a word": (CHILD + 'requests = "roots"', "servers.docs.requests", "list of strings"),
    "a signature for a child": (CHILD + "sign = true", "servers.docs.sign", "no meaning"),
    "a signature that is a word": (SERVER + 'sign = "yes"', "servers.docs.sign", "true or false"),
    "a signature that answers others": (SERVER + "sign = true\ncache = 60", "servers.docs.cache", "no meaning"),
    "a signature of nobody": (
        'listen = "0.0.0.0:8080"\n' + SERVER + "sign = true", "servers.docs.sign", "no public_url"),
    "a signature from any port": (
        'listen = "127.0.0.1:0"\n' + SERVER + "sign = true", "servers.docs.sign", "no public_url"),
    "a prefix that is no name": (CHILD + 'prefix = ""', "servers.docs.prefix", "expected a string"),
    "one prefix twice": (
        CHILD + '[servers.other]\ncommand = ["x"]\nprefix = "docs"', "servers.other.prefix", "same prefix"),
    "a tag with a blank": (CHILD + 'tags = { "*" = ["a b"] }', "servers.docs.tags", "expected tags"),
    "a variable that is none": (CHILD + 'env = { "A=B" = "x" }', "servers.docs.env", "names of environment"),
    "a variable that is a number": (CHILD + "env = { A = 5 }", "servers.docs.env", "a string for A"),
    "keys inside the data": ('keys_dir = "./data/keys"', "keys_dir", "lie in one another"),
    "data inside the keys": ('data_dir = "./keys/data"', "keys_dir", "lie in one another"),
    "policies that are not there": ('policies = "./polices"', "policies", "there is no folder"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_refused_with_its_place_its_reason_and_a_way_out(
    folder: Path, text: str, where: str, said: str
) -> None:
    error = refused(folder, text)
    assert where in error.where
    assert said in str(error)
    assert error.why
    assert error.fix


FIXES = {
    "a budget without a window": ("[agents.a]\nbudget = { cost = 10 }", '"5M/month"'),
    "a rate without a window": ("[agents.a]\nrate = 60", 'for example: rate = "60/min"'),
    "a url of a model": ('[models.m]\nurl = "x"', 'url = "https://api.example.com/v1"'),
    "a limit of a server": (CHILD + "limits = { rate = 5 }", 'rate = "60/min"'),
    "a price in parts": (CHILD + "price = 0.5", "0.002 is 2_000"),
    "what has a default": (CHILD + "timeout_s = 0", "for example: timeout_s = 60"),
    "a port alone": ("listen = 8080", 'for example: listen = "127.0.0.1:8080"'),
}


@pytest.mark.parametrize(("text", "fix"), FIXES.values(), ids=FIXES.keys())
def test_a_wrong_value_is_answered_with_one_that_is_right(
    folder: Path, text: str, fix: str
) -> None:
    assert fix in refused(folder, text).fix


def test_an_amount_without_a_window_is_told_how_amounts_are_written(folder: Path) -> None:
    error = refused(folder, "[agents.a]\nbudget = { cost = 10 }")
    assert error.what == 'expected of cost an amount such as "5k/day", not a number'


def _takers(name: str) -> list[Key]:
    """The keys that an example is shown for."""
    section, dot, key = name.rpartition(".")
    if dot:
        return [SECTIONS[section][key]]
    tables = {"": TOP, **SECTIONS}
    return [t[key] for s, t in tables.items() if key in t and f"{s}.{key}" not in EXAMPLES]


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items(), ids=EXAMPLES.keys())
def test_what_is_shown_for_a_key_is_taken_by_it(name: str, example: str) -> None:
    takers = _takers(name)
    assert takers
    for taker in takers:
        taker.parse(tomllib.loads(f"shown = {example}")["shown"])


def test_the_line_of_a_mistake_is_named(folder: Path) -> None:
    error = refused(folder, EXAMPLE.replace('"60/min"', '"60 per minute"', 1))
    assert error.where == "customhouse.toml:18: agents.report-bot.rate"


def test_a_file_that_is_not_there_or_not_text_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", {})
    (tmp_path / "customhouse.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "customhouse.toml", {})


SECRET_IN_PLACE = [
    f'[agents.a]\nkey = "{KEY}"',
    f'{SERVER}auth = "{KEY}"',
    f'{SERVER}auth = "Bearer {KEY}"',
    f'{CHILD}env = {{ DOCS_TOKEN = "{KEY}" }}',
    f'{CHILD}env = {{ aws_secret_access_key = "{KEY}" }}',
    f'[servers.s]\nurl = "https://{KEY}@h/"',
]


@pytest.mark.parametrize("text", SECRET_IN_PLACE)
def test_a_secret_in_the_file_is_refused_and_not_repeated(folder: Path, text: str) -> None:
    error = refused(folder, text)
    assert KEY not in str(error)
    assert "env:NAME" in str(error)
