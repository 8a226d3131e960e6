"""One process's whole house: opened in order, closed in reverse, nothing global."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app.approvers import Approvers
from gateway.app.artifact import frozen_to
from gateway.app.clock import wall_us
from gateway.app.course import APPLY, HOLD, MODES, Start, Step, at_start
from gateway.app.limits import LimitsBook
from gateway.app.stops import put_in_force, read_stops
from gateway.app.wiring import (
    all_servers,
    declared_agents,
    refuse_shared_names,
    server_specs,
    server_terms,
)
from gateway.audit import entry as entries
from gateway.audit.checkpoint import Signer
from gateway.audit.pairing import ORIGIN_PREFIX
from gateway.config import Config, Upstream
from gateway.domain.lock import Lock
from gateway.edge.ids import new_call_id
from gateway.jobs.checkpoint import Publisher
from gateway.jobs.discover import Discovery
from gateway.jobs.recover import Recovery, opened, settle_in_flight
from gateway.metrics import Gauges, Metrics
from gateway.pipeline import Pipeline
from gateway.policy.files import Binding, bundle
from gateway.policy.load import Loaded
from gateway.policy.snapshot import Policies, builtin_deny_all
from gateway.store import backing, engine, erasure, keyring, keys, recovery
from gateway.store.approvals import Approvals
from gateway.store.counters import Counters
from gateway.store.identity import Identity
from gateway.store.ledger import Ledger
from gateway.store.log import Log
from gateway.store.pseudonyms import TENANT, Pseudonyms, stored_pseudonyms
from gateway.store.refusals import Refusals
from gateway.store.registry import Registry, registered_servers
from gateway.store.replays import Replays
from gateway.store.tables import reader_engine
from gateway.store.trail import opened as opened_trail
from gateway.store.writer import Effect, WriteFailed, Writer
from gateway.upstream.breaker import BreakerState
from gateway.upstream.catalogue import Upstreams
from gateway.upstream.signature import CallSigner
from gateway.upstream.spec import ServerSpec

SYSTEM = "system:house"
log = structlog.get_logger("customhouse.house")


@dataclass(slots=True)
class House:
    """Everything that is open. Built by `open_house` only."""

    config: Config
    environ: Mapping[str, str]
    database: Path
    house_keys: keys.HouseKeys
    signer: Signer
    call_signer: CallSigner
    token_key: Ed25519PrivateKey
    identity: Identity
    registry: Registry
    policies: Policies
    loaded_policy: Loaded | None
    writer: Writer
    readers: engine.Readers
    ledger: Ledger
    recovery: Recovery
    approvals: Approvals
    approvers: Approvers
    publisher: Publisher
    upstreams: Upstreams
    metrics: Metrics
    pipeline: Pipeline
    servers: dict[str, Upstream]
    discovery: Discovery
    orphans: int = 0
    reseal: Callable[[bytes], None] = lambda _key: None  # what the edge does with another state key
    resign: Callable[[], None] = lambda: None  # and with another token key
    rolled_back: bool = False  # the policy was, so that its folder decides nothing for now
    proposals: list[Step] = field(default_factory=list)  # of policies, for another person

    @property
    def is_held(self) -> bool:
        """The policy in force is the log's, whatever lies in the folder."""
        return self.config.two_person_policy or self.rolled_back

    def gauges(self) -> Gauges:
        """What /metrics reads when somebody asks."""
        now_us = self.ledger.log.stamp()
        tenants = self.ledger.pseudonyms.all(TENANT)
        held, charged = self.ledger.counters.totals(tenants, now_us)
        servers = self.upstreams.health().items()
        return Gauges(
            held=held,
            charged=charged,
            log_entries=self.ledger.log.next_leaf,
            checkpoint_age_s=max(0.0, (now_us - self.publisher.published_us) / 1e6),
            upstreams={name: one.breaker is BreakerState.CLOSED for name, one in servers},
            writable=not self.ledger.log.closed,
            updates={name: (one.updates_heard, one.updates_passed) for name, one in servers},
        )

    def call_keys(self) -> bytes | None:
        """By which servers verify signed calls, and agents cards; None when neither is signed."""
        signs = bool(self.config.peers) or any(server.sign for server in self.servers.values())
        return self.call_signer.jwks() if signs else None

    def is_ready(self) -> bool:
        return not self.ledger.closed_by and not self.ledger.log.clock_is_behind()


@asynccontextmanager
async def open_house(
    config: Config, environ: Mapping[str, str], frozen: Lock | None = None
) -> AsyncIterator[House]:
    """Own the data folder, take up the log, and have everything in memory; serve nothing yet.

    *frozen* to a lock nothing is served that is not in it, and nothing new is approved.

    Raises: FolderInUse, KeysMissing, LogShortened, LogDamaged, NotBacked, CountersDamaged,
    SchemaUnknown, NameTaken, PolicyInvalid, ConfigError: nothing was changed, the house stays closed.
    """
    lock = engine.lock_folder(config.data_dir)
    try:
        house, tail, start = _build(config, environ, frozen)
        house.registry.changed = house.upstreams.kept.forget
        if not await asyncio.to_thread(erasure.finish, house.database):
            log.warning("erased_stays_readable", why="somebody reads an older state of the log")
        await _take_up(house, tail)
        with opened_trail(config.data_dir) as read:
            put_in_force(read_stops(read, wall_us()), house.ledger)
        await _enter_policy_in_force(house, start)
        try:
            yield house
        finally:
            await _close(house)
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True)
class Books:
    """The log as it lies on disk, with what is needed to read and sign it."""

    database: Path
    tail: recovery.Tail
    house_keys: keys.HouseKeys
    token_key: Ed25519PrivateKey
    signer: Signer
    pseudonyms: Pseudonyms
    changes: backing.Changes


def open_books(config: Config) -> Books:
    database = config.data_dir / engine.DATABASE
    engine.prepare(database)
    pseudonyms = Pseudonyms()
    with engine.reading(database) as connection:
        log_id = recovery.log_id(connection) or secrets.token_hex(16)
        tail = recovery.read_tail(connection)
        keyring.settle(config.keys_dir, connection, ORIGIN_PREFIX + log_id)
        house_keys = keys.load_or_create(config.keys_dir, tail.frontier.size == 0)
        is_gone = not (config.keys_dir / keys.TOKEN_KEY).exists()
        was_used = is_gone and keyring.tokens_were_signed(connection)  # looks far into the log
        token_key = keys.token_key(config.keys_dir, was_used=was_used)
        signer = Signer(house_keys.signing, ORIGIN_PREFIX + log_id)
        signed_by = recovery.keys_of(connection, signer.vkey)
        recovery.check_remembered(connection, house_keys.folder, signed_by, tail.frontier)
        changes = backing.check(connection, house_keys.folder, signed_by, tail.frontier)
        pseudonyms.resume(stored_pseudonyms(connection))
    keys.write_vkey(house_keys.folder, str(signer.vkey))
    return Books(database, tail, house_keys, token_key, signer, pseudonyms, changes)


def _build(
    config: Config, environ: Mapping[str, str], frozen: Lock | None
) -> tuple[House, recovery.Tail, Start]:
    books = open_books(config)
    database, house_keys, signer = books.database, books.house_keys, books.signer
    identity, servers, registry = _registers(config, environ, database, frozen)
    start = at_start(config, identity.bindings())
    loaded = start.loaded
    policies = Policies(loaded.snapshot if loaded else builtin_deny_all(), wall_us)
    writer = Writer(database, signer, house_keys.payload)
    readers = engine.Readers(database)
    journal = Log(writer, books.pseudonyms, wall_us)
    book = LimitsBook(config, servers, identity, books.pseudonyms)
    approvers = Approvers(policies, identity, wall_us)
    approvals = _approvals(journal, books, approvers)
    ledger = Ledger(
        log=journal,
        counters=Counters(),
        pseudonyms=books.pseudonyms,
        refusals=Refusals(journal, books.pseudonyms),
        limits_of=book.of,
        catalogue=lambda: registry.catalogue,
        policy_version=lambda: policies.current.version,
        runs=config.runs,
        consents=approvals,
        replays=Replays(readers, house_keys.folder),
    )
    metrics = Metrics()
    call_signer = CallSigner(house_keys.state, config.signs_as, wall_us)
    specs = server_specs(config, environ, servers, call_signer)
    upstreams = _upstreams(specs, policies)
    house = House(
        config=config,
        environ=environ,
        database=database,
        house_keys=house_keys,
        signer=signer,
        call_signer=call_signer,
        token_key=books.token_key,
        identity=identity,
        registry=registry,
        policies=policies,
        loaded_policy=loaded,
        writer=writer,
        readers=readers,
        ledger=ledger,
        recovery=Recovery(database, writer, ledger, book.of_accounts, approvals),
        approvals=approvals,
        approvers=approvers,
        publisher=Publisher(database, house_keys.folder, writer, journal, books.changes),
        upstreams=upstreams,
        metrics=metrics,
        pipeline=Pipeline(policies, ledger, upstreams, metrics, lambda: new_call_id(wall_us())),
        servers=servers,
        discovery=Discovery(upstreams, registry, ledger),
        rolled_back=start.standing.rolled_back,
        proposals=list(reversed(start.standing.proposals)),
    )
    return house, books.tail, start


def _registers(
    config: Config, environ: Mapping[str, str], database: Path, frozen: Lock | None
) -> tuple[Identity, dict[str, Upstream], Registry]:
    """Who may knock, what is behind the border, and what was approved of it."""
    tables = reader_engine(database)
    identity = Identity()
    identity.load(tables, declared_agents(config, environ))
    refuse_shared_names(config, identity)
    registry = Registry()
    servers = all_servers(config, registered_servers(tables))
    for name, server in servers.items():
        registry.terms[name] = server_terms(server)
    registry.only = None if frozen is None else frozen_to(frozen, servers, config)
    registry.load(tables)
    tables.dispose()
    return identity, servers, registry


def _upstreams(specs: Sequence[ServerSpec], policies: Policies) -> Upstreams:
    upstream_log = structlog.get_logger("customhouse.upstream")
    return Upstreams(specs, upstream_log, lambda who: policies.current.rights(who))


def _approvals(journal: Log, books: Books, approvers: Approvers) -> Approvals:
    folder = books.house_keys.folder

    def keys() -> tuple[bytes, ...]:
        return tuple(keyring.payload_keys(folder))

    return Approvals(journal, books.pseudonyms, wall_us, keys, approvers.has)


def policy_effect(loaded: Loaded, bindings: Sequence[Binding]) -> Effect:
    """Policy files are stored by digest, so that any past decision can be replayed."""
    stored = (loaded.snapshot.version, bundle(loaded.source, bindings), wall_us())
    return "INSERT OR IGNORE INTO policy_versions VALUES (?,?,?)", stored


async def _take_up(house: House, tail: recovery.Tail) -> None:
    """Start the writer, close orphans, and enter what is in force from here on."""
    loop = asyncio.get_running_loop()
    rescue = _Rescue(house.recovery)
    house.writer.on_broken = rescue.begin
    house.writer.start(loop, tail.frontier.copy())
    at_us = max(wall_us(), tail.last_us)
    vkey = house.signer.vkey
    entry = opened(
        house.signer.origin.removeprefix(ORIGIN_PREFIX), vkey.id, tail.frontier.size, at_us
    )
    house.orphans = await house.recovery.take_up(tail, entry)
    if house.orphans:
        log.warning("orphans_closed", count=house.orphans)


async def _enter_policy_in_force(house: House, start: Start) -> None:
    """What decides from here on is in the log, also when it is the built-in policy that denies all;
    and so is whether it takes two persons: who edits the configuration can have that otherwise."""
    two = house.config.two_person_policy
    if two is not start.standing.two_person:
        await house.ledger.change(MODES[two], SYSTEM)
        log.warning("two_person_policy", on=two)
    if start.problem:
        log.error("policy_in_force_lost", why=start.problem)
    version, prior = house.policies.current.version, start.standing.version
    if prior == version:
        return
    loaded, what = house.loaded_policy, HOLD if start.held else APPLY
    effects = (policy_effect(loaded, house.identity.bindings()),) if loaded else ()
    await house.ledger.change(what, SYSTEM, digest=version, prior=prior, effects=effects)


async def _close(house: House) -> None:
    """Settle what is left, write the counters, say that we leave, publish, and let go."""
    if not house.ledger.log.closed:
        await settle_in_flight(house.ledger)
        house.ledger.refusals.flush_all(house.ledger.log.stamp())
        house.ledger.state_entry()
        journal = house.ledger.log
        await journal.put(entries.Close(i=journal.next_leaf, t=journal.stamp()))
        await house.publisher.publish()
        house.ledger.log.closed = True
    house.readers.close()  # whoever closes last folds the WAL in, and readers cannot
    await asyncio.to_thread(house.writer.stop)


class _Rescue:
    """Starts recovery after a failed commit, once at a time."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self._task: asyncio.Task[None] | None = None

    def begin(self, failed: WriteFailed) -> None:
        if self._task is None or self._task.done():
            log.error("commit_failed", why=str(failed))
            self._recovery.close()
            self._task = asyncio.get_running_loop().create_task(
                self._recovery.after_failed_commit()
            )
