"""customhouse.toml: what it says, what the environment changes, and where each value is from."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import (
    Agent,
    Approve,
    ConfigError,
    Listen,
    Server,
    Sharing,
    load,
    of_tool,
    server_from,
)
from gateway.config import keys as every_key
from gateway.domain.budget import Limits
from gateway.domain.rate import Rate
from gateway.domain.toolset import Toolset
from tests.config.reading import EXAMPLE, KEY, read, refused

# -- what it says ---------------------------------------------------------------------------------


def test_with_no_file_the_house_listens_to_this_machine_only_and_knows_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(None, {"PATH": "/bin"})
    assert config.listen == Listen("127.0.0.1", 8080)
    assert config.listen.is_loopback
    assert (config.servers, config.agents, config.teams, config.tenants) == ({}, {}, {}, {})
    assert config.toolsets == {}
    assert config.data_dir == tmp_path / "data"
    assert {setting.origin for setting in config.show()} == {"default"}


def test_the_example_of_the_readme_says_what_it_seems_to_say(folder: Path) -> None:
    config = read(folder, EXAMPLE)
    time, docs = config.servers["time"], config.servers["docs"]
    assert (time.command, time.approve, time.prefix) == (
        ("mcp-server-time",), Approve.FIRST_SEEN, "time",
    )  # fmt: skip
    assert (docs.url, docs.auth, docs.approve) == (
        "http://127.0.0.1:9000/mcp", "env:DOCS_TOKEN", Approve.ASK,
    )  # fmt: skip
    assert docs.tools == ("get_*", "search_*")
    assert docs.tags == (("get_*", ("file_read",)),)
    assert docs.limits == Limits(Rate(10, 1_000_000), {("calls", "day"): 5_000})
    assert config.agents["report-bot"] == Agent(
        tenant="default",
        team="reporting",
        roles=("analyst",),
        key="env:REPORT_BOT_KEY",
        limits=Limits(
            Rate(60, 60_000_000),
            {("tokens", "day"): 200_000, ("calls", "minute"): 60, ("calls", "day"): 1_000},
        ),
    )


def test_there_are_at_most_forty_kinds_of_key() -> None:
    # `limits` of a server holds `rate` and `budget`, which are counted.
    kinds = every_key.TOP.keys() | every_key.LIMITS.keys()
    for keys in every_key.SECTIONS.values():
        kinds |= keys.keys()
    assert len(kinds) <= 40


def test_relative_paths_are_relative_to_the_file_and_not_to_who_reads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = read(
        folder,
        'data_dir = "d"\nkeys_dir = "/k"\n'
        '[servers.s]\ncommand = ["x"]\ncwd = "work"\nenv = { A = "file:a.txt", B = "plain" }\n'
        '[servers.u]\nurl = "https://h/mcp"\nauth = "file:./token"\n',
    )
    assert config.data_dir == folder / "d"
    assert config.keys_dir == Path("/k")
    assert config.servers["s"].cwd == folder / "work"
    assert config.servers["s"].env == {"A": f"file:{folder / 'a.txt'}", "B": "plain"}
    assert config.servers["u"].auth == f"file:{folder / 'token'}"


def test_numbers_per_tool_are_one_number_or_a_table_whose_first_fitting_glob_holds(
    folder: Path,
) -> None:
    server = read(
        folder,
        '[servers.s]\npython = "python:tools.maths"\nprice = { "add" = 5, "a*" = 7 }\n'
        "max_result_tokens = 100\n",
    ).servers["s"]
    assert server.python == "tools.maths"
    assert [of_tool(server.price, tool) for tool in ("add", "any", "sub")] == [5, 7, 0]
    assert of_tool(server.max_result_tokens, "add") == 100
    tokens = read(folder, '[servers.s]\ncommand = ["x"]\nmax_result_tokens = { "big_*" = 90000 }\n')
    per_tool = tokens.servers["s"].max_result_tokens
    assert [of_tool(per_tool, tool) for tool in ("big_one", "other")] == [90_000, 25_000]


def test_an_agent_lives_in_the_tenant_of_its_team(folder: Path) -> None:
    config = read(
        folder,
        '[teams.red]\ntenant = "acme"\n[agents.a]\nteam = "red"\n[agents.b]\n'
        '[agents.c]\nteam = "blue"\ntenant = "beta"\n[agents.d]\nteam = "blue"\n'
        '[teams.blue]\nbudget = { cost = "5M/month" }\n[tenants.acme]\nrate = "10/s"\n',
    )
    assert {name: agent.tenant for name, agent in config.agents.items()} == {
        "a": "acme", "b": "default", "c": "beta", "d": "beta",
    }  # fmt: skip
    assert config.teams["blue"].tenant == "beta"
    assert config.teams["blue"].limits == Limits(None, {("cost", "month"): 5_000_000})
    assert config.tenants["acme"].limits == Limits(Rate(10, 1_000_000))


def test_a_toolset_is_a_list_of_tools_and_of_roles(folder: Path) -> None:
    config = read(
        folder,
        '[toolsets.office]\ntools = ["docs/search", "git/git_*", "role:analyst"]\n',
        {"CUSTOMHOUSE__TOOLSETS__DESK__TOOLS": '["desk/*"]'},
    )
    assert config.toolsets == {
        "office": Toolset(frozenset({"docs/search"}), ("git/git_",), ("analyst",)),
        "desk": Toolset(prefixes=("desk/",)),
    }
    assert config.toolsets["desk"].servers == {"desk"}


def test_a_server_can_be_read_from_a_table_that_is_in_no_file(tmp_path: Path) -> None:
    server = server_from("docs", {"command": ["x"], "cwd": "w"}, tmp_path)
    assert isinstance(server, Server)
    assert server.cwd == tmp_path / "w"
    with pytest.raises(ConfigError, match="exactly one"):
        server_from("docs", {}, tmp_path)


# -- the environment over the file ----------------------------------------------------------------


def test_the_environment_overrides_the_file_mechanically(folder: Path) -> None:
    config = read(
        folder,
        EXAMPLE,
        {
            "CUSTOMHOUSE__LISTEN": "192.0.2.7:9090",
            "CUSTOMHOUSE__SERVERS__DOCS__URL": "https://docs.example.com/mcp",
            "CUSTOMHOUSE__SERVERS__DOCS__TIMEOUT_S": "2.5",
            "CUSTOMHOUSE__SERVERS__TIME__ENV__TZ": "Europe/Berlin",
            "CUSTOMHOUSE__SERVERS__TIME__ENV__MY__odd_NAME": "x",
            "CUSTOMHOUSE__SERVERS__NEW_ONE__COMMAND": '["a", "b"]',
            "CUSTOMHOUSE__AGENTS__REPORT_BOT__ROLES": '["auditor"]',
            "CUSTOMHOUSE__agents__Report_Bot__budget__tokens": "1M/month",
            "CUSTOMHOUSE_CONFIG": "not one of them",
        },
    )
    assert config.listen == Listen("192.0.2.7", 9090)
    assert config.servers["docs"].url == "https://docs.example.com/mcp"
    assert config.servers["docs"].timeout_s == 2.5
    assert config.servers["time"].env == {"TZ": "Europe/Berlin", "MY__odd_NAME": "x"}
    assert config.servers["new_one"].command == ("a", "b")
    assert config.agents["report-bot"].roles == ("auditor",)
    limits = config.agents["report-bot"].limits
    assert limits is not None
    assert limits.budgets == {
        ("tokens", "month"): 1_000_000, ("calls", "minute"): 60, ("calls", "day"): 1_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("CUSTOMHOUSE__LISTN", "x", "did you mean listen?"),
        ("CUSTOMHOUSE__SERVERS__DOCS__TOOL", "[]", "did you mean tools?"),
        ("CUSTOMHOUSE__LISTEN", "8080", "not a number"),
        ("CUSTOMHOUSE__LISTEN__HOST", "x", "below listen"),
        ("CUSTOMHOUSE__", "x", "does not name one setting"),
        ("CUSTOMHOUSE__SERVERS____URL", "x", "does not name one setting"),
        ("CUSTOMHOUSE__AGENTS__REPORT_BOT__KEY", KEY, "by reference only"),
        ("CUSTOMHOUSE__LISTEN", '"a:1"\ndata_dir = "/evil"', "unprintable"),
    ],
)
def test_a_variable_that_fits_nowhere_is_an_error_that_names_it(
    folder: Path, variable: str, value: str, said: str
) -> None:
    error = refused(folder, EXAMPLE, {variable: value})
    assert variable in error.where
    assert said in str(error)
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[servers.time]\ncommand = "mcp-server-time"',
            'not a string; write ["mcp-server-time"]',
        ),
        ('[agents.bot]\nroles = "reader"', 'not a string; write ["reader"]'),
        ('[agents.bot]\nroles = "Sk-4711"', "expected a list of strings, not a string"),
        ('[servers.t]\ncommand = ["x"]\ntimeout_s = "abc"', 'number of seconds, not "abc"'),
    ],
)
def test_a_value_of_another_kind_is_told_what_it_is(folder: Path, text: str, said: str) -> None:
    error = refused(folder, text)
    assert error.what.endswith(said)


def test_a_variable_that_is_no_number_is_told_so(folder: Path) -> None:
    error = refused(folder, EXAMPLE, {"CUSTOMHOUSE__SERVERS__DOCS__TIMEOUT_S": "abc"})
    assert error.what == 'expected a number of seconds, not "abc"'


def test_a_variable_that_could_mean_two_names_is_refused(folder: Path) -> None:
    error = refused(folder, "[agents.a-b]\n[agents.a_b]", {"CUSTOMHOUSE__AGENTS__A_B__TEAM": "t"})
    assert "two names" in str(error)


# -- what is in force, and where it is from -------------------------------------------------------


def test_every_effective_value_is_shown_with_its_origin(folder: Path) -> None:
    config = read(folder, EXAMPLE, {"CUSTOMHOUSE__SERVERS__DOCS__TIMEOUT_S": "5"})
    shown = {setting.key: (setting.value, setting.origin) for setting in config.show()}
    assert shown["listen"] == ('"127.0.0.1:8080"', "customhouse.toml:1")
    assert shown["log_level"] == ('"info"', "default")
    assert shown["servers.docs.auth"] == ('"env:DOCS_TOKEN"', "customhouse.toml:10")
    assert shown["servers.docs.timeout_s"] == ("5", "CUSTOMHOUSE__SERVERS__DOCS__TIMEOUT_S")
    assert shown["servers.docs.limits.rate"] == ('"10/s"', "customhouse.toml:13")
    assert shown["servers.time.prefix"] == ('"time"', "default")
    assert shown["agents.report-bot.key"] == ('"env:REPORT_BOT_KEY"', "customhouse.toml:17")


def test_what_is_shown_never_holds_a_secret(folder: Path) -> None:
    text = EXAMPLE.replace("/mcp", f"/mcp?api={KEY}")
    config = read(folder, text, {"REPORT_BOT_KEY": KEY, "DOCS_TOKEN": KEY})
    assert KEY not in "".join(setting.value for setting in config.show())
    assert KEY in config.servers["docs"].url


def test_a_value_that_the_environment_adds_to_names_both_origins(folder: Path) -> None:
    config = read(folder, EXAMPLE, {"CUSTOMHOUSE__SERVERS__DOCS__TAGS__x": '["egress"]'})
    origin = next(s.origin for s in config.show() if s.key == "servers.docs.tags")
    assert origin == "customhouse.toml:12 + CUSTOMHOUSE__SERVERS__DOCS__TAGS__x"


def test_a_server_asks_for_forms_in_a_session_that_callers_share_unless_it_is_told_otherwise(
    folder: Path,
) -> None:
    text = '[servers.s]\ncommand = ["x"]\n'
    plain = read(folder, text).servers["s"]
    assert (plain.session, plain.requests) == (Sharing.SHARED, frozenset({"elicitation"}))
    asked = read(folder, text + 'session = "per-caller"\nrequests = ["roots", "sampling"]').servers
    assert (asked["s"].session, asked["s"].requests) == (
        Sharing.PER_CALLER,
        frozenset({"roots", "sampling"}),
    )
    assert read(folder, text + "requests = []").servers["s"].requests == frozenset()


@pytest.mark.parametrize(
    ("top", "signs_as"),
    [
        ("", "http://127.0.0.1:8080"),
        ('listen = "[::1]:80"', "http://[::1]:80"),
        ('listen = "127.0.0.1:0"', ""),
        ('listen = "0.0.0.0:80"', ""),
        ('listen = "0.0.0.0:80"\npublic_url = "https://t.example"', "https://t.example"),
    ],
)
def test_calls_are_signed_as_the_place_where_their_keys_are(
    folder: Path, top: str, signs_as: str
) -> None:
    server = '[servers.s]\nurl = "https://h/mcp"\n'
    config = read(folder, f"{top}\n{server}" + ("sign = true" if signs_as else ""))
    assert config.signs_as == signs_as
    assert config.servers["s"].sign is bool(signs_as)
