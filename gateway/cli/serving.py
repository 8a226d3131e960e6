"""customhouse serve: the gateway itself."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from gateway.cli.invocation import Invocation, common

if TYPE_CHECKING:
    from gateway.app.operations.reading import Reading


@click.command()
@click.option("--frozen", is_flag=True, help="Serve what stands in the lock file, nothing else.")
@common
def serve(on: Invocation, frozen: bool) -> None:
    """Run the gateway until SIGTERM or SIGINT; both drain it. SIGHUP applies the policy folder.

    Without a configuration it listens on loopback only and denies everything.
    """
    from gateway.app.artifact import lock_file, read_lock
    from gateway.app.serve import run

    config = on.config
    lock = read_lock(lock_file(config)) if frozen else None

    def ready(url: str) -> None:
        on.screen.note(f"customhouse serves {url}/mcp")
        waiting = "" if lock else _waiting(on.reading())  # nothing is approved for a frozen one
        on.screen.note(f"next: {waiting or _next(on)}")

    run(config, os.environ, ready, lock)


def _waiting(house: Reading) -> str:
    """How to approve what waits for it; "" when nothing does."""
    from gateway.app.operations.places import object_of
    from gateway.domain.model import Approval

    known = sorted(house.registry.pins.values(), key=lambda pin: pin.place)
    there = [pin for pin in known if pin.place[0] in house.servers and not pin.gone]
    places = {
        state: [pin.place for pin in there if pin.approval is state]
        for state in (Approval.PROPOSED, Approval.QUARANTINED)
    }
    if proposed := places[Approval.PROPOSED]:
        return f"customhouse server approve {proposed[0][0]}"
    if quarantined := places[Approval.QUARANTINED]:
        return f"customhouse tool diff {shlex.quote(object_of(quarantined[0]))}"
    return ""


def _next(on: Invocation) -> str:
    """The next command to type, for somebody who begins."""
    config = on.config
    if config.file is None:
        return "customhouse init    (a configuration and a policy to begin with)"
    house = on.reading()
    if not house.servers:
        return "customhouse server add time -- mcp-server-time"
    if not config.policies.is_dir():
        return "customhouse init    (a policy to begin with; without one everything is denied)"
    if not house.identity.agents:
        return "customhouse agent add NAME --role ROLE"
    if not house.identity.keys and not any(agent.key for agent in config.agents.values()):
        return f"customhouse key issue {min(house.identity.agents)}"
    return "customhouse audit tail --follow"
