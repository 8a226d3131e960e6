"""Schema changes, run by Alembic when a database is new or older than the program."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(path: Path) -> None:
    """Bring the database at *path* to the newest schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["path"] = path
    command.upgrade(config, "head")
