"""Whoever can write the database, and has no key, opens nothing: the log stands behind each row."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.audit.merkle import Frontier, leaf_hash
from tests.cli.fixtures import copied, silence
from tests.cli.household import Household, tool

KEY = hashlib.sha256(b"chk_smuggled").hexdigest()
EVIL = json.dumps({"command": ["true"], "approve": "first-seen"})
GUARDS = ("entries_never_change", "entries_stay", "entries_in_order")


@pytest.fixture(scope="module")
def lived_in_once(busy_once: Household, tmp_path_factory: pytest.TempPathFactory) -> Household:
    home = copied(busy_once, tmp_path_factory.mktemp("lived_in"))
    home.write(f'[servers.shelf]\ncommand = {json.dumps(home.shelf)}\napprove = "first-seen"\n')
    home.lists(tool("pay", "changed"), tool("fresh"), tool("red\u3164"))
    with silence():
        issued = home.ask("key", "issue", "bot")
        home.ask("key", "issue", "guest")
        home.do("key", "revoke", issued["id"])
        home.do("agent", "disable", "guest")
        home.do("server", "test", "shelf")
        home.do("server", "suspend", "shelf")
    return home


@pytest.fixture
def lived_in(lived_in_once: Household, tmp_path: Path) -> Household:
    """A house in which commands have done all that they do to rows."""
    return copied(lived_in_once, tmp_path)


def tamper(home: Household, *statements: str) -> None:
    with closing(sqlite3.connect(home.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def found(home: Household) -> dict[str, int]:
    report = json.loads(home.run("audit", "verify", "--json").stdout)
    counts: dict[str, int] = report["counts"]
    return counts


def test_what_commands_did_is_believed_at_the_next_start(lived_in: Household) -> None:
    lived_in.do("server", "resume", "shelf")
    assert found(lived_in) == {}


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        pytest.param(
            f"INSERT INTO keys VALUES ('kbad', 'bot', x'{KEY}', 'registry', 1, 0, 0)",  # noqa: S608 - ours
            "key/kbad",
            id="a key of one's own",
        ),
        pytest.param(
            "UPDATE keys SET revoked_at = 0 WHERE agent = 'bot'", "key/k", id="a key unrevoked"
        ),
        pytest.param(
            f"UPDATE keys SET digest = x'{KEY}' WHERE agent = 'guest'",  # noqa: S608 - ours
            "key/k",
            id="another key",
        ),
        pytest.param("DELETE FROM keys WHERE agent = 'bot'", "key/k", id="a revocation deleted"),
        pytest.param(
            f"INSERT INTO servers VALUES ('evil', 'registry', '{EVIL}', 0)",  # noqa: S608 - ours
            "server/evil",
            id="a server planted",
        ),
        pytest.param("UPDATE servers SET suspended = 0", "server/shelf", id="a server resumed"),
        pytest.param("DELETE FROM servers", "server/shelf", id="a suspension deleted"),
        pytest.param(
            "UPDATE servers SET suspended = ''", "server/shelf", id="a suspension of another type"
        ),
        pytest.param("UPDATE agents SET disabled = 0", "agent/guest", id="an agent enabled"),
        pytest.param(
            "UPDATE agents SET roles = '[\"clerk\"]' WHERE name = 'guest'",
            "agent/guest",
            id="a role granted",
        ),
        pytest.param("DELETE FROM agents WHERE name = 'bot'", "agent/bot", id="an agent deleted"),
        pytest.param(
            "UPDATE definitions SET approval = 'approved', approved_digest = digest,"
            " approved_body = body WHERE name = 'pay'",
            "tool/shelf/pay",
            id="a changed definition approved",
        ),
        pytest.param(
            "UPDATE definitions SET approval = 'approved', approved_digest = digest,"
            " approved_body = body WHERE name LIKE 'red%'",
            "tool/shelf/red",
            id="a new definition approved",
        ),
        pytest.param(
            "UPDATE definitions SET approval = 'approved', approved_digest = '',"
            " approved_body = x'' WHERE name LIKE 'red%'",
            "tool/shelf/red",
            id="approved without a digest",
        ),
        pytest.param(
            "UPDATE definitions SET body = replace(body, 'fresh', 'POISON') WHERE name = 'fresh'",
            "tool/shelf/fresh",
            id="a body poisoned",
        ),
        pytest.param(
            "UPDATE definitions SET approved_body = body WHERE name = 'pay'",
            "tool/shelf/pay",
            id="an approved body poisoned",
        ),
        pytest.param(
            "DELETE FROM definitions WHERE name = 'pay'", "tool/shelf/pay", id="a pin deleted"
        ),
        pytest.param(
            "UPDATE policy_versions SET bundle = x'7b7d'", "policy version", id="a bundle replaced"
        ),
        pytest.param(
            "DELETE FROM pseudonyms WHERE name = 'agent/guest'", "agent/guest", id="a name deleted"
        ),
        pytest.param("DROP TABLE keys", "key/k", id="a table dropped"),
    ],
)
def test_a_row_that_was_not_entered_keeps_the_house_closed(
    lived_in: Household, statement: str, said: str
) -> None:
    tamper(lived_in, statement)
    no = lived_in.refusal("server", "resume", "shelf")
    assert no["exit_code"] == 3
    assert said in no["what"]
    assert KEY not in json.dumps(no)
    assert "unbacked" in found(lived_in)


def test_a_name_given_to_another_row_lends_it_nothing(lived_in: Household) -> None:
    tamper(
        lived_in,
        "UPDATE pseudonyms SET name = 'agent/nobody' WHERE name = 'agent/guest'",
        "UPDATE agents SET name = 'nobody' WHERE name = 'guest'",
    )
    assert lived_in.refusal("server", "resume", "shelf")["exit_code"] == 3
    assert {"renamed", "unbacked"} <= set(found(lived_in))


# -- the log itself, without its key ----------------------------------------------------------------


def rewrite(home: Household, what: str, old: bytes, new: bytes) -> None:
    """Change the first entry of *what*, and make the unsigned part of the head fit."""
    with closing(sqlite3.connect(home.database)) as connection, connection:
        for guard in GUARDS:
            connection.execute(f"DROP TRIGGER {guard}")
        rows = connection.execute("SELECT idx, body FROM entries ORDER BY idx").fetchall()
        index, body = next((i, b) for i, b in rows if f'"what":"{what}"'.encode() in b)
        assert old in body
        changed = body.replace(old, new)
        connection.execute("UPDATE entries SET body = ? WHERE idx = ?", (changed, index))
        fold(connection)


def fold(connection: sqlite3.Connection) -> None:
    frontier = Frontier()
    for (body,) in connection.execute("SELECT body FROM entries ORDER BY idx"):
        frontier.append(leaf_hash(body))
    head = (frontier.size, frontier.root(), frontier.to_bytes())
    connection.execute("UPDATE head SET size = ?, root = ?, frontier = ?", head)


def forget(home: Household) -> None:
    for path in (home.folder / "keys").glob("checkpoint*"):
        path.unlink()


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "not remembered"])
def test_an_old_change_cannot_be_rewritten(lived_in: Household, remembered: bool) -> None:
    rewrite(lived_in, "agent.disable", b"agent.disable", b"agent.enabled")
    if not remembered:
        forget(lived_in)
    assert lived_in.refusal("server", "resume", "shelf")["exit_code"] == 3


def test_an_old_change_cannot_be_hidden_under_another_kind(lived_in: Household) -> None:
    tamper(
        lived_in,
        *(f"DROP TRIGGER {guard}" for guard in GUARDS),
        "UPDATE entries SET kind = 'single' WHERE instr(body, 'key.revoke') > 0",
    )
    assert "changes among" in lived_in.refusal("server", "resume", "shelf")["what"]


def test_a_change_appended_without_the_key_is_not_continued(lived_in: Household) -> None:
    with closing(sqlite3.connect(lived_in.database)) as connection, connection:
        at_us, body = connection.execute(
            "SELECT at, body FROM entries WHERE kind = 'change' ORDER BY idx DESC"
        ).fetchone()
        (size,) = connection.execute("SELECT size FROM head").fetchone()
        forged = json.dumps(json.loads(body) | {"i": size}, sort_keys=True, separators=(",", ":"))
        connection.execute(
            "INSERT INTO entries VALUES (?,?,'change','',?)", (size, at_us, forged.encode())
        )
        fold(connection)
    assert "not the one that was signed" in lived_in.refusal("server", "resume", "shelf")["what"]


def test_the_log_is_read_whole_where_nothing_is_remembered(lived_in: Household) -> None:
    forget(lived_in)
    lived_in.do("server", "resume", "shelf")
    kept = json.loads((lived_in.folder / "keys" / "checkpoint.changes").read_text())
    assert kept["size"] > 0
    lived_in.do("server", "suspend", "shelf")


def test_the_digest_of_a_row_tells_nothing_without_the_table_of_names(busy: Household) -> None:
    with closing(sqlite3.connect(busy.database)) as connection:
        bodies = connection.execute("SELECT body FROM entries WHERE kind = 'change'").fetchall()
        digests = [d for (body,) in bodies for d in json.loads(body).get("rows", {}).values()]
        row = connection.execute("SELECT * FROM agents WHERE name = 'guest'").fetchone()
    guessed = json.dumps(["agents", *row], separators=(",", ":")).encode()
    assert digests
    assert hashlib.sha256(guessed).hexdigest() not in digests
