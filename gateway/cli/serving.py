"""customhouse serve: the gateway itself."""

from __future__ import annotations

import os

import click

from gateway.cli.invocation import Invocation, common


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
        on.screen.note(f"next: {_next(on)}")

    run(config, os.environ, ready, lock)


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
