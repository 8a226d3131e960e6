"""customhouse doctor: one look at everything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.invocation import Invocation, common, end, now_us
from gateway.cli.screen import GREEN, RED, YELLOW
from gateway.domain.operator import Exit

if TYPE_CHECKING:
    from gateway.config import Config

_STYLES = {"ok": GREEN, "warning": YELLOW, "problem": RED}


@click.command()
@common
def doctor(on: Invocation) -> None:
    """Look at everything, and say what is wrong, why it matters, and how to mend it.

    Folders, keys, the end of the log, checkpoint, clock, policy, agents, budgets, address, servers,
    disk.
    Nothing is changed. Exit 1: there is a problem; warnings alone are exit 0.
    """
    from gateway.app.operations.diagnosis import Level, Patient
    from gateway.app.operations.doctor import examine
    from gateway.cli.faults import told

    patient = Patient(on.config, os.environ, now_us(), _health(on.config))
    checks = list(examine(patient, told))
    if on.screen.as_json:
        on.screen.value([check.as_json() for check in checks])
    else:
        for check in checks:
            on.screen.line(f"{check.level:<8} {check.id}: {check.what}", _STYLES[check.level])
            if check.why:
                on.screen.line(f"           why: {check.why}")
                on.screen.line(f"           fix: {check.fix}")
    sick = any(check.level is Level.PROBLEM for check in checks)
    end(Exit.NO if sick else Exit.YES)


def _health(config: Config) -> Mapping[str, Any] | None:
    """What the gateway that runs says of itself; None when none runs."""
    from gateway.cli.reach import health
    from gateway.domain.operator import OperationRefused

    try:
        return health(config)
    except OperationRefused as no:
        return {"failures": {"the gateway": no.what}}
