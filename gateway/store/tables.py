"""The tables of administration, for reading; every write goes through the writer as an effect."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Field, SQLModel, create_engine


class AgentRow(SQLModel, table=True):
    """An agent of the registry; origin "config" only carries what was decided about a declared one."""

    __tablename__ = "agents"
    name: str = Field(primary_key=True)
    origin: str
    tenant: str
    team: str
    roles: str  # JSON array
    limits: str  # JSON, "" for none
    disabled: int = 0


class KeyRow(SQLModel, table=True):
    """An API key: its SHA-256 digest, never the key. Times in microseconds, 0 for never."""

    __tablename__ = "keys"
    id: str = Field(primary_key=True)
    agent: str
    digest: bytes
    origin: str
    issued_at: int
    expires_at: int
    revoked_at: int


class ServerRow(SQLModel, table=True):
    __tablename__ = "servers"
    name: str = Field(primary_key=True)
    origin: str
    spec: str  # the table of the configuration file, as JSON
    suspended: int = 0


class DefinitionRow(SQLModel, table=True):
    """The newest definition seen (body) beside the one a person or first sight approved."""

    __tablename__ = "definitions"
    server: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    digest: str
    body: bytes
    approval: str
    reason: str
    approved_digest: str
    approved_body: bytes
    gone: int = 0


def reader_engine(path: Path) -> Engine:
    """For sessions that only read; SQLite itself refuses anything else."""
    return create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
