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
    """Whether the gateway would open with it: secrets there, policy valid. Exit 3: it would not."""
    from gateway.app.operations.affording import unaffordable
    from gateway.app.operations.presence import absent, strays

    read = on.config
    problems = list(_problems(on, read))
    warnings = [*read.warnings, *absent(read)]
    if not problems:  # else the registry may be what cannot be read
        house = on.reading()
        warnings += strays(read, house.servers)
        warnings += unaffordable(read, house.identity.agents.values(), house.servers)
    if on.screen.as_json:
        on.screen.value({"problems": [no.as_json() for no in problems], "warnings": warnings})
    else:
        for no in problems:
            show_refused(no, as_json=False)
        for warning in warnings:
            on.screen.note(f"warning: {warning}")
        if not problems:
            on.screen.line(f"{read.file or 'the defaults'}: nothing is wrong")
    end(Exit.INVALID if problems else Exit.YES)


@config.command("schema")
@common
def schema(on: Invocation) -> None:
    """The configuration file as JSON Schema (2020-12), for editors and checks."""
    from gateway.config.schema import schema as of_file

    on.screen.value(of_file())


def _problems(on: Invocation, read: Config) -> Iterator[OperationRefused]:
    from gateway.app.operations.faults import told
    from gateway.app.operations.presence import unresolved
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
    for said in unresolved(read, os.environ):
        yield OperationRefused(said["what"], said["why"], said["fix"], Exit.INVALID)


def _check_policy(on: Invocation, read: Config) -> None:
    """Raises: PolicyInvalid."""
    from gateway.policy.load import load

    if read.policies.is_dir():
        load(read.policies, on.reading().identity.bindings())
    else:
        on.screen.note(f"there is no folder {read.policies}: everything is denied")
