"""Tasks of other agents: whose they are, and which call made them."""

from alembic import op

revision = "0002"
down_revision = "0001"

# Names are pseudonyms, so that erasing one erases it here, too. What was not sealed by the gateway,
# or is not as it was sealed, is no row (gateway.store.peer_tasks).
TABLES = (
    """CREATE TABLE peer_tasks (
        id TEXT PRIMARY KEY, peer TEXT NOT NULL, upstream_id TEXT NOT NULL,
        context TEXT NOT NULL, upstream_context TEXT NOT NULL,
        tenant TEXT NOT NULL, owner TEXT NOT NULL, actors TEXT NOT NULL,
        skill TEXT NOT NULL, policy_version TEXT NOT NULL, call_id TEXT NOT NULL,
        state TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
        seal BLOB NOT NULL)""",
    # What a peer calls so is one owner's: whoever is told of it later has nothing.
    "CREATE UNIQUE INDEX peer_tasks_upstream ON peer_tasks (peer, upstream_id)",
    "CREATE INDEX peer_tasks_by_owner ON peer_tasks (owner, peer)",
    "CREATE INDEX peer_tasks_by_state ON peer_tasks (state)",
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
