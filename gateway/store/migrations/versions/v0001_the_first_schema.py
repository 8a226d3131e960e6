"""The first schema: the log with its guards, its side tables, and administration."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = (
    """CREATE TABLE entries (
        idx INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL,
        call_id TEXT NOT NULL, body BLOB NOT NULL)""",
    "CREATE INDEX entries_by_call ON entries (call_id) WHERE call_id <> ''",
    "CREATE INDEX entries_by_time ON entries (at)",
    "CREATE INDEX entries_of_changes ON entries (idx) WHERE kind = 'change'",
    """CREATE TABLE payloads (
        leaf INTEGER PRIMARY KEY, nonce BLOB NOT NULL, sealed BLOB NOT NULL)""",
    "CREATE TABLE counter_states (leaf INTEGER PRIMARY KEY, state BLOB NOT NULL)",
    """CREATE TABLE head (
        id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL,
        frontier BLOB NOT NULL, note TEXT NOT NULL, at INTEGER NOT NULL)""",
    "CREATE TABLE checkpoints (at INTEGER PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL)",
    """CREATE TABLE pseudonyms (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, salt BLOB NOT NULL)""",
    # An address gets a new pseudonym with each fold, so that none need be kept in memory.
    "CREATE UNIQUE INDEX pseudonyms_by_name ON pseudonyms (kind, name) WHERE kind <> 'a'",
    """CREATE TABLE policy_versions (
        version TEXT PRIMARY KEY, bundle BLOB NOT NULL, at INTEGER NOT NULL)""",
    """CREATE TABLE servers (
        name TEXT PRIMARY KEY, origin TEXT NOT NULL, spec TEXT NOT NULL,
        suspended INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE definitions (
        server TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
        digest TEXT NOT NULL, body BLOB NOT NULL, approval TEXT NOT NULL, reason TEXT NOT NULL,
        approved_digest TEXT NOT NULL, approved_body BLOB NOT NULL, gone INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (server, kind, name))""",
    """CREATE TABLE agents (
        name TEXT PRIMARY KEY, origin TEXT NOT NULL, tenant TEXT NOT NULL, team TEXT NOT NULL,
        roles TEXT NOT NULL, limits TEXT NOT NULL, disabled INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE keys (
        id TEXT PRIMARY KEY, agent TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, origin TEXT NOT NULL,
        issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL)""",
)

# Entries are inserted, in order, and never touched again. The proof is the signed tree; these
# guards stop accidents and the careless. INSERT OR REPLACE deletes without firing the DELETE
# trigger unless recursive_triggers is on, so the INSERT guard refuses any index but the next.
GUARDS = (
    """CREATE TRIGGER entries_in_order BEFORE INSERT ON entries
       WHEN NEW.idx <> (SELECT COALESCE(MAX(idx) + 1, 0) FROM entries)
       BEGIN SELECT RAISE(ABORT, 'entries are appended in order'); END""",
    """CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries
       BEGIN SELECT RAISE(ABORT, 'entries never change'); END""",
    """CREATE TRIGGER entries_stay BEFORE DELETE ON entries
       BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END""",
    """CREATE TRIGGER checkpoints_never_change BEFORE UPDATE ON checkpoints
       BEGIN SELECT RAISE(ABORT, 'checkpoints never change'); END""",
    """CREATE TRIGGER checkpoints_stay BEFORE DELETE ON checkpoints
       BEGIN SELECT RAISE(ABORT, 'checkpoints are never deleted'); END""",
)


def upgrade() -> None:
    for statement in (*TABLES, *GUARDS):
        op.execute(statement)
