"""The lock: written from what is approved, compared with it, and all that is served when frozen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.cli.household import Household, tool
from tests.journey.process import GatewayProcess, gateway, headers, modern

KEY = "chk_frozen_0123456789abcdefghijklmnopqrstuvwx"
ADD, SUB = tool("add", "adds"), tool("sub", "subtracts")


@pytest.fixture
def locked(home: Household) -> Household:
    """A house with one approved and locked tool, `add`; `sub` was approved after that."""
    home.lists(ADD)
    server = f"command = {json.dumps(home.shelf)}\n"
    home.write(f'[servers.shelf]\n{server}[agents.bot]\nroles = ["clerk"]\nkey = "env:BOT_KEY"\n')
    home.policy("p, clerk, default, tool/*, call, -, allow")
    home.environ["BOT_KEY"] = KEY
    home.do("server", "test", "shelf")
    home.do("server", "approve", "shelf", "--yes")
    home.do("tool", "lock")
    home.lists(ADD, SUB)
    home.do("server", "test", "shelf")
    home.do("server", "approve", "shelf", "--yes")
    return home


@contextmanager
def frozen(home: Household) -> Iterator[GatewayProcess]:
    with gateway(home.folder / "customhouse.toml", home.environ, ("--frozen",)) as running:
        yield running


def file(home: Household) -> Path:
    return home.folder / "customhouse.lock"


def listed(running: GatewayProcess) -> list[str]:
    body, said = modern("tools/list", {}), headers("tools/list", key=KEY)
    answer = httpx2.post(f"{running.url}/mcp", content=body, headers=said, timeout=20).json()
    return [found["name"] for found in answer["result"]["tools"]]


def code_of_call(running: GatewayProcess, name: str) -> int:
    """0: it was called."""
    body = modern("tools/call", {"name": name, "arguments": {}})
    said = headers("tools/call", name, KEY)
    answer = httpx2.post(f"{running.url}/mcp", content=body, headers=said, timeout=20).json()
    return int(answer.get("error", {}).get("code", 0))


def why_unlocked(running: GatewayProcess) -> dict[str, str]:
    lines = [line for line in running.lines if line.get("event") == "not_in_lock"]
    return {line["name"]: line["why"] for line in lines}


def test_the_lock_says_what_was_approved_by_whom_and_when(locked: Household) -> None:
    text = file(locked).read_text()
    digest = locked.ask("tool", "show", "shelf/add")["digest"]
    (entry,) = locked.ask("audit", "query", "what:tool.approve", "subject:tool/shelf/add")
    assert f'"tool/add" = {{ digest = "sha256:{digest}", approver = "{entry["author"]}"' in text
    assert f'date = "{entry["at"][:10]}"' in text
    assert "tool/sub" not in text
    locked.do("tool", "lock")
    again = file(locked).read_text()
    assert "tool/sub" in again
    locked.do("tool", "lock")
    assert file(locked).read_text() == again, "the same approvals are the same bytes"


def test_what_first_sight_approved_says_so(home: Household) -> None:
    home.lists(ADD, *(tool(f"t{n}") for n in range(250)))
    home.write(f'[servers.shelf]\ncommand = {json.dumps(home.shelf)}\napprove = "first-seen"\n')
    home.do("server", "test", "shelf")
    home.do("tool", "lock")
    approvers = [line for line in file(home).read_text().splitlines() if "approver" in line]
    assert len(approvers) == 251
    assert all('approver = "system:discover", date = "20' in line for line in approvers)


def test_a_check_tells_what_differs_and_writes_nothing(locked: Household) -> None:
    before = file(locked).read_bytes()
    result = locked.run("tool", "lock", "--check")
    assert (result.exit_code, result.stdout) == (
        1,
        "tool/shelf/sub is approved, and not in the lock\n",
    )
    assert file(locked).read_bytes() == before
    locked.do("tool", "lock")
    assert locked.ask("tool", "lock", "--check")["differences"] == []
    locked.lists(SUB)
    locked.do("server", "test", "shelf")
    said = json.loads(locked.run("tool", "lock", "--check", "--json").stdout)
    assert [one["object"] for one in said["differences"]] == ["tool/shelf/add"]


@pytest.mark.parametrize("text", ["", "version = 1\n", None], ids=["empty", "half", "missing"])
def test_a_lock_that_is_none_is_not_compared_and_not_served_from(
    locked: Household, text: str | None
) -> None:
    file(locked).unlink()
    if text is not None:
        file(locked).write_text(text)
    assert locked.refusal("tool", "lock", "--check")["exit_code"] == 3
    error = locked.refusal("serve", "--frozen")
    assert error["exit_code"] == 3
    assert "customhouse tool lock" in error["fix"]


@pytest.mark.slow
def test_a_digest_edited_by_hand_opens_nothing(locked: Household) -> None:
    """Whoever can edit the lock alone can take away, and never add: both have to agree."""
    locked.do("tool", "lock")
    text = file(locked).read_text()
    digest = locked.ask("tool", "show", "shelf/add")["digest"]
    file(locked).write_text(text.replace(digest, "0" * 64))
    with frozen(locked) as running:
        assert listed(running) == ["shelf_sub"]
        assert why_unlocked(running) == {"add": "it is not what the lock says"}


def test_a_lock_is_not_written_through_a_link_that_leads_away(
    locked: Household, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "precious"
    elsewhere.write_text("mine")
    file(locked).unlink()
    file(locked).symlink_to(elsewhere)
    assert locked.refusal("tool", "lock")["exit_code"] == 3
    assert elsewhere.read_text() == "mine"


@pytest.mark.slow
def test_frozen_only_what_is_locked_is_served_and_nothing_is_approved(locked: Household) -> None:
    with frozen(locked) as running:
        assert listed(running) == ["shelf_add"]
        assert code_of_call(running, "shelf_add") == 0
        assert code_of_call(running, "shelf_sub") == -32602
        assert why_unlocked(running) == {"sub": "it is not in the lock"}
        rows = {row["name"]: row for row in locked.ask("tool", "list")}
        assert [rows[name]["not_in_lock"] for name in ("add", "sub")] == [
            "",
            "it is not in the lock",
        ]
        assert "approved, not in the lock" in locked.do("tool", "list")
        assert locked.ask("server", "list")[0]["state"] == "serving"
        assert "frozen to: tool/shelf/sub" in locked.run("doctor").stdout
        locked.lists(ADD, SUB, tool("new"))
        locked.do("server", "test", "shelf")
        assert locked.refusal("tool", "approve", "shelf/new", "--yes")["exit_code"] == 6
        assert locked.refusal("server", "approve", "shelf", "--yes")["exit_code"] == 6
        added = locked.refusal("server", "add", "more", "--", *locked.shelf)
        assert (added["exit_code"], added["what"]) == (
            6,
            "no server is added while the gateway runs frozen",
        )
        # What changes is quarantined as ever, and comes back only as what was locked.
        locked.lists(tool("add", "adds, and mails"), SUB)
        locked.do("server", "test", "shelf")
        assert listed(running) == []
        assert locked.refusal("tool", "approve", "shelf/add", "--yes")["exit_code"] == 6
        locked.lists(ADD, SUB)
        locked.do("server", "test", "shelf")
        assert listed(running) == ["shelf_add"]
    codes = [row.get("code") for row in locked.ask("audit", "query", "object:tool/shelf/sub")]
    assert codes == ["quarantined"], "the log knows why, the caller does not"
    assert locked.ask("audit", "verify")["clean"]
    locked.do("tool", "approve", "shelf/sub", "--yes")  # without --frozen it is as it was


@pytest.mark.slow
def test_frozen_another_command_of_the_same_name_serves_nothing(locked: Household) -> None:
    settings = locked.folder / "customhouse.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"-S",', '"-S", "-B",'))
    with frozen(locked) as running:
        assert listed(running) == []
        assert locked.ask("server", "list")[0]["state"] == "not in the lock"
        events = [(line.get("event"), line.get("why")) for line in running.lines]
        assert ("server_not_locked", "it is not what the lock says") in events


@pytest.mark.slow
def test_frozen_first_sight_approves_what_is_locked_and_nothing_else(
    locked: Household, tmp_path: Path
) -> None:
    """The lock goes to another machine, whose gateway has seen nothing yet."""
    settings = (locked.folder / "customhouse.toml").read_text()
    fresh = Household(tmp_path / "fresh", locked.environ)
    fresh.folder.mkdir()
    fresh.write()
    fresh.policy("p, clerk, default, tool/*, call, -, allow")
    approving = settings.replace("[servers.shelf]\n", '[servers.shelf]\napprove = "first-seen"\n')
    (fresh.folder / "customhouse.toml").write_text(approving)
    file(fresh).write_bytes(file(locked).read_bytes())
    with frozen(fresh) as running:
        assert listed(running) == ["shelf_add"]
        states = {row["name"]: row["approval"] for row in fresh.ask("tool", "list")}
        assert states == {"add": "approved", "sub": "proposed"}


def test_secrets_among_the_words_of_a_command_are_not_written_into_the_lock(
    home: Household,
) -> None:
    home.lists(ADD)
    home.do("server", "add", "shelf", "--", *home.shelf, "--api-key", "k3y-that-is-secret")
    home.do("server", "approve", "shelf", "--yes")
    home.do("tool", "lock")
    text = file(home).read_text()
    assert "k3y-that-is-secret" not in text
    assert "--api-key ..." in text


MODULE = """\
def look() -> str:
    \"\"\"Look.\"\"\"
    return {said!r}
"""


@pytest.fixture
def modular(home: Household) -> Household:
    """A house whose one server is a module; which one, a folder on its path decides."""
    for name in ("good", "evil"):
        (home.folder / name).mkdir()
        (home.folder / name / "lookmod.py").write_text(MODULE.format(said=name))
    home.policy("p, clerk, default, tool/*, call, -, allow")
    home.environ["BOT_KEY"] = KEY
    return home


def declare(home: Household, settings: str) -> None:
    agent = '[agents.bot]\nroles = ["clerk"]\nkey = "env:BOT_KEY"\n'
    home.write(f'{agent}[servers.m]\npython = "python:lookmod"\napprove = "first-seen"\n{settings}')
    home.policy("p, clerk, default, tool/*, call, -, allow")


@pytest.mark.slow
def test_frozen_other_code_under_the_same_name_and_definition_is_not_run(
    modular: Household,
) -> None:
    declare(modular, f'env = {{PYTHONPATH = "{modular.folder}/good"}}')
    modular.do("server", "test", "m")
    modular.do("tool", "lock")
    declare(modular, f'env = {{PYTHONPATH = "{modular.folder}/evil"}}')
    with frozen(modular) as running:
        assert listed(running) == []
        assert code_of_call(running, "m_look") == -32602
    said = modular.run("tool", "lock", "--check")
    assert (said.exit_code, said.stdout) == (1, "server/m is not what the lock says\n")


@pytest.mark.slow
def test_a_lock_from_before_surroundings_were_locked_says_that_it_is_to_be_written_anew(
    modular: Household,
) -> None:
    declare(modular, 'cwd = "./good"')
    modular.do("server", "test", "m")
    modular.do("tool", "lock")
    target = '{"command":[],"python":"lookmod","url":""}'
    older = hashlib.sha256(target.encode()).hexdigest()
    lines = file(modular).read_text().splitlines()
    own = next(line for line in lines if line.startswith("digest"))
    file(modular).write_text(file(modular).read_text().replace(own, f'digest = "sha256:{older}"'))
    with frozen(modular) as running:
        assert listed(running) == []
        (why,) = [line["why"] for line in running.lines if line.get("event") == "server_not_locked"]
    assert "the lock is older" in why
    assert "write it anew: customhouse tool lock" in why
    modular.do("tool", "lock")
    with frozen(modular) as running:
        assert listed(running) == ["m_look"]


def test_where_nothing_is_approved_there_is_nothing_to_lock(home: Household) -> None:
    home.lists(ADD)
    home.write(f"[servers.shelf]\ncommand = {json.dumps(home.shelf)}\n")
    for seen in (False, True):
        if seen:
            home.do("server", "test", "shelf")
        error = home.refusal("tool", "lock")
        assert error["exit_code"] == 1
        assert error["what"] == "nothing is approved, so there is nothing to lock"
        assert "customhouse tool list" in error["fix"]
        assert not file(home).exists()
