"""Alembic's entry: one SQLite file, one transaction per migration."""

from alembic import context
from sqlmodel import create_engine

engine = create_engine(f"sqlite:///{context.config.attributes['path']}")
with engine.connect() as connection:
    context.configure(connection=connection, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
