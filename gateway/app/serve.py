"""Serving: the border on its port, the operator's socket, and the jobs, until told to drain."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from urllib.parse import urlsplit

import structlog
import uvicorn
import uvloop

from gateway.app.artifact import tell_unlocked
from gateway.app.ballast import Ballast
from gateway.app.bench import with_approvals
from gateway.app.clock import wall_us
from gateway.app.course import lies_otherwise
from gateway.app.house import House, open_house
from gateway.app.issuers import Issuing, at_work
from gateway.app.logs import configure_logs
from gateway.app.operations.administration import Administration
from gateway.app.operations.desk import ApiDesk
from gateway.app.operations.policy import SIGNAL
from gateway.app.operations.presence import unresolved
from gateway.app.peers import with_peers
from gateway.app.stops import FROZEN, Stopped
from gateway.app.threshold import bound, close_to_children, open_to_callers, refuse_second
from gateway.config import Config, Listen, check_exposure
from gateway.domain import refusal as no
from gateway.domain.lock import Lock
from gateway.domain.operator import OperationRefused
from gateway.edge import admin
from gateway.edge.house import LOOPBACK_HOSTS, LOOPBACK_ORIGINS, Settings
from gateway.edge.house import House as EdgeHouse
from gateway.edge.http import Border
from gateway.edge.outcomes import OutcomesOutlet
from gateway.edge.wire import OneWrite
from gateway.store.outcomes import Outcomes

DRAIN_S = 30
FIRST_LOOK_S = 10.0
TEND_S = 1.0
DRAIN, DISK = "drain", "disk"  # why the ledger is closed
log = structlog.get_logger("customhouse.serve")


def run(
    config: Config,
    environ: Mapping[str, str],
    ready: Callable[[str], None],
    frozen: Lock | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; *ready* is told the address when the first call may come.

    *frozen* to a lock nothing is served that is not in it.

    Raises: OperationRefused: another gateway serves here, or the address is not to be had; no
    server was started. Whatever opening the house raises.
    """
    close_to_children()
    refuse_second(config)
    with bound(config) as listener:
        configure_logs(config.log_level)
        uvloop.run(_serve(config, environ, listener, ready, frozen))


async def _serve(
    config: Config,
    environ: Mapping[str, str],
    listener: socket.socket,
    ready: Callable[[str], None],
    frozen: Lock | None,
) -> None:
    async with open_house(config, environ, frozen) as house, _working(house, listener) as edge:
        check_exposure(config, house.identity.issued_keys(wall_us()))
        tell_unlocked(house.registry)
        _tell_held(house)
        _tell_stopped(house)
        for warning in config.warnings:
            log.warning("configuration", why=warning)
        for lost in unresolved(house.servers, environ):
            log.warning("secret_missing", **lost)
        open_to_callers(listener, config)
        server = _Server(_uvicorn_config(edge), house)
        server.heed_signals()  # from the moment it is said that we serve, a signal means: drain
        # What start-up made stays: the collector need not walk it again, nor after every few calls.
        gc.collect()
        gc.freeze()
        gc.set_threshold(5_000, 20, 20)
        host, port = listener.getsockname()[:2]
        ready(f"http://{host}:{port}")
        log.info("serving", listen=f"{host}:{port}", servers=len(house.servers))
        await server.serve(sockets=[listener])


@asynccontextmanager
async def _working(house: House, listener: socket.socket) -> AsyncIterator[Border]:
    """Upstreams started and looked at once, jobs and the operator's socket running."""
    discovery, desk = house.discovery, Administration(house)
    house.upstreams.on_list_changed(discovery.notice)
    await house.upstreams.start()
    issuing = _issuing(house, listener)
    host, port = listener.getsockname()[:2]
    edge = border(house, issuing, desk, f"http://{Listen(host, port)}")
    house.reseal = edge.reseal
    ballast = Ballast(house.config.data_dir)
    await look_at_disk(house, ballast)
    socket_path = house.config.data_dir / admin.SOCKET
    try:
        async with asyncio.TaskGroup() as jobs:
            tasks = [
                jobs.create_task(admin.serve(socket_path, desk.operate)),
                jobs.create_task(house.publisher.run()),
                jobs.create_task(tend(house, ballast)),
            ]
            if issuing is not None:
                tasks.append(jobs.create_task(issuing.key_sets.run()))
            await _first_look(house, jobs)
            tasks.append(jobs.create_task(discovery.run()))
            _reload_at_hup(desk, jobs)
            yield edge
            for task in tasks:
                task.cancel()
    finally:
        await house.upstreams.stop()


async def _first_look(house: House, jobs: asyncio.TaskGroup) -> None:
    """See every server once before the first caller; a slow one is not waited for.

    One that fetches keys from here before it answers is seen when we serve: `discovery.run` does.
    """
    looks = [
        jobs.create_task(house.discovery.try_refresh(name))
        for name, server in house.servers.items()
        if not server.sign
    ]
    await asyncio.sleep(0)  # the operator's socket is bound when this comes back
    if looks:
        await asyncio.wait(looks, timeout=FIRST_LOOK_S)


def _tell_stopped(house: House) -> None:
    """Whoever starts it anew must not wonder why it lets nothing through."""
    if FROZEN in house.ledger.closed_by:
        why = "somebody said `freeze`, and nobody `thaw` since: everything is refused"
        log.warning("frozen", why=why, fix="customhouse thaw")


def _tell_held(house: House) -> None:
    """Whoever edited the policy folder and started anew must not believe that it counts now."""
    if house.is_held and lies_otherwise(house.config, house.loaded_policy):
        two = house.config.two_person_policy
        why = "two_person_policy is on" if two else "it was rolled back"
        fix = "customhouse policy diff; then: customhouse policy apply"
        log.warning("policy_folder_not_in_force", why=why, fix=fix)


def _issuing(house: House, listener: socket.socket) -> Issuing | None:
    """None: it listens beyond this machine, and was not told what it is called there."""
    config = house.config
    if not config.public_url and not config.listen.is_loopback:
        return None
    host, port = listener.getsockname()[:2]
    return at_work(house, f"http://{Listen(host, port)}")


def border(
    house: House, issuing: Issuing | None, desk: Administration, address: str = ""
) -> Border:
    """The edge of *house*, whose API has its operations done at *desk*.

    *address*: where it listens, for those who are not told another way.
    """
    config = house.config
    public_host = urlsplit(config.public_url).netloc
    settings = Settings(
        version=version("customhouse"),
        allowed_hosts=(*LOOPBACK_HOSTS, *config.allowed_hosts, *filter(None, [public_host])),
        allowed_origins=(*LOOPBACK_ORIGINS, *config.allowed_origins, *_own_origin(config)),
    )
    outcomes = Outcomes(house.readers, house.ledger.pseudonyms)
    stands_on = EdgeHouse(
        pipeline=house.pipeline,
        policies=house.policies,
        catalogue=lambda: house.registry.catalogue,
        identity=house.identity if issuing is None else issuing.oauth.identity(),
        state_key=house.house_keys.state,
        clock=wall_us,
        is_ready=house.is_ready,
        is_draining=lambda: DRAIN in house.ledger.closed_by,
        is_stopped=Stopped(house.ledger, house.registry),
        is_caused=house.ledger.runs.caused,
        is_well=house.upstreams.is_well,
        render_metrics=lambda: house.metrics.render(house.gauges()),
        toolsets=config.toolsets,
        call_keys=house.call_keys,
        oauth=issuing.oauth if issuing is not None else None,
        outlets=(OutcomesOutlet(outcomes.of, house.pipeline.rate, wall_us),),
        counters=(issuing.counter,) if issuing is not None else (),
        desk=ApiDesk(house, desk),
    )
    address = address or f"http://{config.listen}"
    stands_on = with_approvals(stands_on, house, address)
    return Border(with_peers(stands_on, house, settings, address), settings)


def _own_origin(config: Config) -> tuple[str, ...]:
    """Of the page where calls are approved: its form says where it comes from."""
    public = urlsplit(config.public_url)
    return (f"{public.scheme}://{public.netloc}",) if public.netloc else ()


def _uvicorn_config(app: Border) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=OneWrite,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=DRAIN_S,
    )


class _Server(uvicorn.Server):
    """Drains: at the signal nothing more is admitted, and readiness goes down first.

    uvicorn would raise the signal again when it is done, and the house would not be closed.
    """

    def __init__(self, config: uvicorn.Config, house: House) -> None:
        super().__init__(config)
        self._house = house

    def heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._drain)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # heeded already, and until the house is closed

    def _drain(self) -> None:
        self._house.ledger.closed_by[DRAIN] = no.DRAINING
        self.force_exit = self.should_exit  # a second signal does not wait
        self.should_exit = True
        log.info("draining", in_flight=len(self._house.ledger.in_flight), at_most_s=DRAIN_S)


def _reload_at_hup(desk: Administration, jobs: asyncio.TaskGroup) -> None:
    """SIGHUP is `policy apply`, one change at a time with what operators do."""

    async def reload() -> None:
        try:
            applied = await desk.operate(SIGNAL, "policy.apply", {})
        except OperationRefused as refused:
            log.warning("policy_not_applied", why=f"{refused.what}: {refused.why}")
        else:
            log.info("policy_applied", **applied)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, lambda: jobs.create_task(reload()))


async def tend(house: House, ballast: Ballast) -> None:
    """Once a second: write folded refusals, and look whether the disk has room for more calls."""
    while True:
        await look_at_disk(house, ballast)
        await asyncio.sleep(TEND_S)
        if not house.ledger.log.closed:
            house.ledger.refusals.flush(house.ledger.log.stamp())


async def look_at_disk(house: House, ballast: Ballast) -> None:
    """Admit calls, or none, as the disk has room."""
    if await asyncio.to_thread(ballast.tend, full=house.writer.full):
        house.ledger.closed_by.pop(DISK, None)
    else:
        house.ledger.closed_by[DISK] = no.DISK_LOW
