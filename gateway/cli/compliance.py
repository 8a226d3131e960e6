"""customhouse compliance: evidence for those who have to judge."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli.invocation import Invocation, common, end
from gateway.cli.screen import BOLD, GREEN, RED, YELLOW
from gateway.domain.operator import Exit

_STYLES = {"pass": GREEN, "fail": RED, "not_evaluable": YELLOW}


@click.group()
def compliance() -> None:
    """Evidence from log, policy and configuration; judging it is for people."""


@compliance.command("report")
@common
def report(on: Invocation) -> None:
    """Evaluate what can be evaluated now, at the newest checkpoint. Exit 1: a check fails.

    Each answer is evidence for the requirements beside it (EU AI Act, SOC 2, GDPR, OWASP and
    others), with proofs of the entries it shows (--json). It reads only; whoever runs it on the same
    copy of the data gets the same bytes.
    """
    from gateway.app.compliance.report import report as evaluate
    from gateway.cli.exporting import provable
    from gateway.cli.proofs import vkey_in

    vkey = vkey_in(on.config.keys_dir / "log.vkey")
    kept = on.config.keys_dir / "checkpoint"
    remembered = kept.read_bytes() if kept.exists() else None
    with provable():
        found = evaluate(on.config, vkey, remembered)
    if on.screen.as_json:
        on.screen.value(found)
    else:
        _say(on, found)
    end(Exit.NO if found["summary"].get("fail") else Exit.YES)


def _say(on: Invocation, found: dict[str, Any]) -> None:
    on.screen.line(f"log {found['log']}, {found['size']} entries: {found['says']}", BOLD)
    for check in found["checks"]:
        status = check["status"]
        on.screen.line(
            f"{check['number']:>2} {status.replace('_', ' '):<13} {check['asks']}", _STYLES[status]
        )
        for sentence in check["says"]:
            on.screen.line(f"   {sentence}")
        figures = ", ".join(f"{key} {value}" for key, value in check["figures"].items())
        on.screen.line(
            f"   evidence for {', '.join(check['evidence_for'])}; {figures or 'no figures'}"
        )
    on.screen.note(f"never automatic: {', '.join(found['never_automatic'])}")
    on.screen.note("with proofs: customhouse compliance report --json")
