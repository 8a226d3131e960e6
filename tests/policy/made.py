"""Policies, calls and definitions made of few words, for the tests of this package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.domain.model import Act, Approval, Call, CallClass, Definition, Kind, Principal
from gateway.policy.files import Binding, PolicySource
from gateway.policy.load import compile
from gateway.policy.snapshot import Snapshot

POLICIES = Path(__file__).resolve().parents[2] / "policies"
MODEL = (POLICIES / "model.conf").read_bytes()
NOON_US = 1_767_614_400_000_000  # 2026-01-05T12:00:00Z, a Monday
CASE = '[[case]]\nname = "a"\nrole = "r"\nobject = "tool/s/t"\nexpect = "deny"\n'


def source_of(rules: str, conditions: str = "", **others: str) -> PolicySource:
    """A policy folder in memory. Other files by name: `tenants__acme_csv` is tenants/acme.csv."""
    files = {"model.conf": MODEL, "policy.csv": rules.encode(), "cases/a.toml": CASE.encode()}
    if conditions:
        files["conditions.toml"] = conditions.encode()
    for name, text in others.items():
        folder, _, rest = name.partition("__")
        files[f"{folder}/{rest}".replace("_csv", ".csv").replace("_toml", ".toml")] = text.encode()
    return PolicySource(files)


def snapshot_of(
    rules: str, conditions: str = "", bindings: Sequence[Binding] = (), **others: str
) -> Snapshot:
    return compile(source_of(rules, conditions, **others), bindings)


def parted(name: str) -> tuple[str, str, str]:
    """Kind, server and own name of an object such as tool/git/git_log, model/gpt or admin/keys."""
    kind, _, rest = name.partition("/")
    if kind in ("admin", "model"):
        return kind, rest if kind == "model" else "", rest
    server, _, own = rest.partition("/")
    return kind, server, own


def defined(
    name: str, tags: Iterable[str] = (), approval: Approval = Approval.APPROVED
) -> Definition:
    """A definition by its object name, such as tool/git/git_log."""
    kind, server, own = parted(name)
    return Definition(server, Kind(kind), own, own, b"", "", approval, tags=frozenset(tags))


def call_of(
    who: str | Principal,
    name: str,
    act: str = "call",
    arguments: Mapping[str, Any] | None = None,
    *,
    tags: Iterable[str] = (),
    known: bool = True,
) -> Call:
    """A call of `agent` (in tenant default) or `agent@tenant` on an object."""
    if isinstance(who, str):
        subject, _, tenant = who.partition("@")
        who = Principal(tenant or "default", subject)
    kind, server, own = parted(name)
    has_definition = known and kind not in ("admin", "server")
    return Call(
        id="",
        principal=who,
        method="",
        kind=Kind(kind),
        server=server,
        name=own,
        act=Act(act),
        weight=CallClass.FULL,
        arguments=arguments or {},
        definition=defined(name, tags) if has_definition else None,
    )
