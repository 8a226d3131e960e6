"""customhouse config: what the configuration says, and whether the house would open with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from gateway.cli.invocation import Invocation, common, end
from gateway.cli.screen import show_refused
from gateway.domain.operator import Exit, OperationRefused

if TYPE_CHECKING:
    from gateway.config import Config


@click.group()
def config() -> None:
    """The configuration: what holds, where it comes from, whether it is right."""


@config.command("show")
@common
def show(on: Invocation) -> None:
    """Every value that holds, and where it comes from. Secrets are shown as their references."""
    settings = on.config.show()
    on.screen.whole([setting._asdict() for setting in settings])
    on.screen.table(("KEY", "VALUE", "ORIGIN"), settings)


@config.command("check")
@common
def check(on: Invocation) -> None:
    """Whether the gateway would open with it, and find each secret. No server is asked anything.

    Exit 3: it would not open; or it would, and refuse the calls of a server, model or peer whose
    secret it cannot find: that is said of each.
    """
    read = on.config
    problems = list(_problems(on, read))
    warnings = [*read.warnings, *_warnings(on, read, sound=not problems)]
    problems += _lost(read)
    if on.screen.as_json:
        on.screen.value({"problems": [no.as_json() for no in problems], "warnings": warnings})
    else:
        for no in problems:
            show_refused(no, as_json=False)
        for warning in warnings:
            on.screen.note(f"warning: {warning}")
        if not problems:
            else_ = "else " if warnings or not read.policies.is_dir() else ""
            on.screen.line(f"{read.file or 'the defaults'}: nothing {else_}is wrong")
    end(Exit.INVALID if problems else Exit.YES)


@config.command("schema")
@common
def schema(on: Invocation) -> None:
    """The configuration file as JSON Schema (2020-12), for editors and checks."""
    from gateway.config.schema import schema as of_file

    on.screen.value(of_file())


def _warnings(on: Invocation, read: Config, *, sound: bool) -> Iterator[str]:
    """What is worth a person's look; unless it is *sound*, the registry may be what cannot be read."""
    from gateway.app.operations.affording import unaffordable
    from gateway.app.operations.presence import absent, strays
    from gateway.app.operations.slips import declared_roles, unknown_skills
    from gateway.policy import files
    from gateway.policy.load import compile as compile_policy

    yield from absent(read)
    if not sound:
        return
    house = on.reading()
    yield from strays(read, house.servers)
    yield from unaffordable(read, house.identity.agents.values(), house.servers)
    yield from unknown_skills(read, house)
    if read.policies.is_dir():
        source = files.read(read.policies)
        yield from declared_roles(read, compile_policy(source, house.identity.bindings()))


def _problems(on: Invocation, read: Config) -> Iterator[OperationRefused]:
    from gateway.app.operations.faults import told
    from gateway.config import agent_keys, check_exposure

    try:
        agent_keys(read, os.environ)
        house = on.reading()
        check_exposure(read, sum(not key.revoked_at_us for key in house.identity.keys.values()))
        _check_policy(on, read)
    except Exception as err:
        no = told(err)
        if no is None:
            raise
        yield no


def _lost(read: Config) -> Iterator[OperationRefused]:
    """Secrets without which the gateway opens, and refuses calls."""
    from gateway.app.operations.presence import unresolved

    for said in unresolved(read.upstreams, os.environ):
        yield OperationRefused(said["what"], said["why"], said["fix"], Exit.INVALID)


def _check_policy(on: Invocation, read: Config) -> None:
    """Raises: PolicyInvalid."""
    from gateway.policy.load import load

    if read.policies.is_dir():
        load(read.policies, on.reading().identity.bindings())
    else:
        on.screen.note(f"there is no folder {read.policies}: everything is denied")
