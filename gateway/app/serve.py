"""Serving: the border on its port, the operator's socket, and the jobs, until told to drain."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
import uvicorn
import uvloop

from gateway.app.clock import wall_us
from gateway.app.house import House, open_house
from gateway.app.logs import configure_logs
from gateway.app.operations.administration import Administration
from gateway.config import Config
from gateway.domain import refusal as no
from gateway.edge import admin
from gateway.edge.house import LOOPBACK_HOSTS, LOOPBACK_ORIGINS, Settings
from gateway.edge.house import House as EdgeHouse
from gateway.edge.http import Border
from gateway.policy.finding import PolicyInvalid

DRAIN_S = 30
FIRST_LOOK_S = 10.0
FLUSH_S = 1.0
DRAIN = "drain"
log = structlog.get_logger("customhouse.serve")


def run(config: Config, environ: Mapping[str, str], ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; *ready* is told the address when the first call may come."""
    configure_logs(config.log_level)
    uvloop.run(_serve(config, environ, ready))


async def _serve(config: Config, environ: Mapping[str, str], ready: Callable[[str], None]) -> None:
    async with open_house(config, environ) as house, _working(house) as edge:
        listener = _listen(config)
        server = _Server(_uvicorn_config(edge), house)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(_reload(house)))
        host, port = listener.getsockname()[:2]
        ready(f"http://{host}:{port}")
        log.info("serving", listen=f"{host}:{port}", servers=len(house.servers))
        await server.serve(sockets=[listener])


@asynccontextmanager
async def _working(house: House) -> AsyncIterator[Border]:
    """Upstreams started and looked at once, jobs and the operator's socket running."""
    discovery = house.discovery
    house.upstreams.on_list_changed(discovery.notice)
    await house.upstreams.start()
    edge = _border(house)
    socket_path = house.config.data_dir / admin.SOCKET
    try:
        async with asyncio.TaskGroup() as jobs:
            looks = [discovery.try_refresh(name) for name in house.servers]
            await asyncio.wait_for(asyncio.gather(*looks), FIRST_LOOK_S)
            tasks = [
                jobs.create_task(discovery.run()),
                jobs.create_task(house.publisher.run()),
                jobs.create_task(_flush(house)),
                jobs.create_task(admin.serve(socket_path, Administration(house).operate)),
            ]
            yield edge
            for task in tasks:
                task.cancel()
    finally:
        await house.upstreams.stop()


def _border(house: House) -> Border:
    config = house.config
    settings = Settings(
        version=version("customhouse"),
        allowed_hosts=(*LOOPBACK_HOSTS, *config.allowed_hosts),
        allowed_origins=(*LOOPBACK_ORIGINS, *config.allowed_origins),
    )
    stands_on = EdgeHouse(
        pipeline=house.pipeline,
        policies=house.policies,
        catalogue=lambda: house.registry.catalogue,
        identity=house.identity,
        state_key=house.house_keys.state,
        clock=wall_us,
        is_ready=house.is_ready,
        render_metrics=lambda: house.metrics.render(house.gauges()),
    )
    return Border(stands_on, settings)


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((config.listen.host, config.listen.port))
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _uvicorn_config(app: Border) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=DRAIN_S,
    )


class _Server(uvicorn.Server):
    """Drains: at the signal nothing more is admitted, and readiness goes down first."""

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house

    def handle_exit(self, sig: int, frame: object) -> None:
        self._house.ledger.closed_by[DRAIN] = no.DRAINING
        super().handle_exit(sig, None)


async def _reload(house: House) -> None:
    try:
        version = await house.apply_policy("signal:hup")
    except PolicyInvalid as err:
        log.warning("policy_not_applied", why=str(err))
    else:
        log.info("policy_applied", version=version)


async def _flush(house: House) -> None:
    """Write folded refusals once a second."""
    while True:
        await asyncio.sleep(FLUSH_S)
        if not house.ledger.log.closed:
            house.ledger.refusals.flush(house.ledger.log.stamp())
