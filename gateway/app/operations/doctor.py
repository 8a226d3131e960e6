"""What an operator would look at one by one: is this house in order, and what is it that is not?"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from statistics import median

from gateway.app.ballast import FLOOR_BYTES
from gateway.app.operations import checkup
from gateway.app.operations.affording import unaffordable
from gateway.app.operations.diagnosis import Check, Patient, ok, problem, warning
from gateway.app.operations.holding import held_policy
from gateway.app.operations.presence import absent, unresolved
from gateway.app.operations.reading import policy_in_force, read_house
from gateway.app.stops import read_stops
from gateway.config import Model, agent_keys, check_exposure
from gateway.domain.operator import OperationRefused
from gateway.policy.load import load as load_policy
from gateway.store import trail
from gateway.store.engine import free_bytes
from gateway.store.pseudonyms import SUBJECT

LITTLE_FREE_BYTES = 4 * FLOOR_BYTES
SLOW_FSYNC_MS = 20.0
_FSYNCS = 5
_SAFE_SQLITE = (3, 51, 3)

Tell = Callable[[BaseException], OperationRefused | None]
Look = Callable[[Patient], Iterator[Check]]


def examine(patient: Patient, tell: Tell) -> Iterator[Check]:
    """Look at everything. A look that fails is a problem, and the others go on."""
    for check_id, look in _LOOKS.items():
        try:
            yield from look(patient)
        except Exception as err:
            no = tell(err)
            if no is None:
                raise
            yield problem(check_id, no.what, no.why, no.fix)


def secrets(patient: Patient) -> Iterator[Check]:
    """What the configuration refers to, and what it warns of."""
    config, found = patient.config, list[Check]()
    if patient.health is None:
        agent_keys(config, patient.environ)
        missing = list(unresolved(config.upstreams, patient.environ))
    else:  # it has found the keys of agents, or it would not run; a shell has another environment
        missing = patient.health.get("unresolved", [])
        if "unresolved" not in patient.health:
            what, why = "the gateway that runs did not say", "this shell has another environment"
            found.append(warning("secrets", what, why, "see what is said of servers, below"))
    found += [problem("secrets", no["what"], no["why"], no["fix"]) for no in missing]
    why, fix = "it is worth a person's look", "correct it in the configuration"
    found += [warning("configuration", said, why, fix) for said in config.warnings]
    yield from found or [ok("secrets", "every secret that is referred to is there")]


def policy(patient: Patient) -> Iterator[Check]:
    """Whether the policy folder could be put in force, and whether it is."""
    config = patient.config
    if not config.policies.is_dir():
        yield warning(
            "policy",
            f"there is no folder {config.policies}",
            "everything is denied",
            "begin one: customhouse init, or name it: policies = ...",
        )
        return
    house = read_house(config)
    loaded = load_policy(config.policies, house.identity.bindings())
    if house.database is not None:
        with trail.opened(config.data_dir) as read:
            in_force = policy_in_force(read).version
        if in_force != loaded.snapshot.version:
            yield warning(
                "policy",
                "the folder is not what is in force",
                "it was changed since, and decides nothing yet",
                "look: customhouse policy check; then: customhouse policy apply",
            )
            return
    yield ok("policy", f"{len(loaded.snapshot.rules)} rules, {len(loaded.cases)} cases hold")


def agents(patient: Patient) -> Iterator[Check]:
    """Who is registered and cannot knock, or never has."""
    house = read_house(patient.config)
    good = {k.agent for k in house.identity.keys.values() if k.is_good(patient.now_us)}
    good |= {name for name, agent in patient.config.agents.items() if agent.key}
    names = sorted(house.identity.agents)
    keyless = [name for name in names if name not in good]
    if keyless:
        yield warning(
            "agents",
            f"without a key that is good: {_some(keyless)}",
            "nobody can knock under these names",
            "customhouse key issue NAME, or customhouse agent remove NAME",
        )
    idle: list[str] = []
    if house.database is not None:
        with trail.opened(patient.config.data_dir) as read:
            idle = [name for name in names if name in good and not read.pseudonym(SUBJECT, name)]
    if idle:
        yield warning(
            "agents",
            f"never called: {_some(idle)}",
            "a right that nobody uses is a right for whoever finds the key",
            "customhouse agent remove NAME, when they are not needed",
        )
    if not keyless and not idle:
        yield ok("agents", f"{len(names)} agents, each with a key and calls")


def budgets(patient: Patient) -> Iterator[Check]:
    """Whether each covers a call at all."""
    house = read_house(patient.config)
    why, fix = "such calls are refused: over_budget", "change it, or what is held for a call"
    agents = house.identity.agents.values()
    found = [
        warning("budgets", said, why, fix)
        for said in unaffordable(patient.config, agents, house.servers)
    ]
    yield from found or [ok("budgets", "each covers a call, or there is none")]


def stops(patient: Patient) -> Iterator[Check]:
    """Whether anything was stopped that nobody let go on."""
    try:
        with trail.opened(patient.config.data_dir) as read:
            frozen = read_stops(read, patient.now_us).frozen
    except trail.NoLog:
        frozen = False
    if frozen:
        yield problem(
            "stops",
            "everything is stopped",
            "somebody said `freeze`: all calls are refused until somebody lets them through",
            "customhouse thaw",
        )
    else:
        yield ok("stops", "calls are let through")


def exposure(patient: Patient) -> Iterator[Check]:
    """From where it can be reached."""
    config = patient.config
    if config.listen.is_loopback:
        yield ok("exposure", f"{config.listen}: this machine only")
        return
    house = read_house(config)
    keys = house.identity.keys.values()
    check_exposure(config, sum(key.is_good(patient.now_us) for key in keys))
    yield warning(
        "exposure",
        f"{config.listen} can be reached from other machines",
        "keys cross the network, and the gateway itself speaks no TLS",
        "put a reverse proxy with TLS in front of it, and listen on 127.0.0.1",
    )
    if not config.allowed_hosts:
        yield problem(
            "exposure",
            "no Host but this machine's own names is answered",
            "callers from elsewhere are refused: bad_host",
            'say under which name it is called: allowed_hosts = ["tools.example.com"]',
        )


def servers(patient: Patient) -> Iterator[Check]:
    """Whether what is behind the border answered, as far as the gateway that runs has asked it."""
    found = [
        problem("servers", said, "its calls fail", "correct it, or install what is missing")
        for said in absent(patient.config)
    ]
    for name, why in sorted(patient.failures.items()):
        fix = f"customhouse server test {name}"
        found.append(problem("servers", f"{name} was not reached: {why}", "its calls fail", fix))
    unlocked = sorted((patient.health or {}).get("not_in_lock", {}))
    if unlocked:
        what = f"approved, and not in the lock that the gateway is frozen to: {_some(unlocked)}"
        fix = "customhouse tool lock, review what it wrote, and restart the gateway"
        found.append(warning("servers", what, "calls of it are refused: quarantined", fix))
    behind = read_house(patient.config).servers.values()
    count = sum(not isinstance(one, Model) for one in behind)
    asked = "none failed its last look" if patient.is_served else "not asked: no gateway runs"
    yield from found or [ok("servers", f"{count} servers, {asked}")]


def models(patient: Patient) -> Iterator[Check]:
    """Whether the providers of models answered. No look asks them: calls do, and `server test`."""
    behind = read_house(patient.config).servers
    known = {name for name, one in behind.items() if isinstance(one, Model)}
    answering = known.intersection((patient.health or {}).get("answering", ()))
    if unasked := sorted(known - answering - patient.failures.keys()):
        said = "not asked since the gateway runs" if patient.is_served else "not asked"
        yield ok("models", f"{said}: {_some(unasked)}; ask: customhouse server test NAME")
    if answering:
        yield ok("models", f"reached when they were asked last: {_some(sorted(answering))}")


def disk(patient: Patient) -> Iterator[Check]:
    """Room, and how long a commit waits for the disk."""
    folder = patient.config.data_dir
    if not folder.is_dir():
        yield ok("disk", f"{folder} is made at the first start")
        return
    free = free_bytes(folder)
    said = f"{free // 1_048_576} MiB free at {folder}"
    if free < FLOOR_BYTES:
        why, fix = "the gateway admits nothing: disk_low", "free some, or move data_dir"
        yield problem("disk", said, why, fix)
    elif free < LITTLE_FREE_BYTES:
        floor = FLOOR_BYTES // 1_048_576
        why, fix = f"below {floor} MiB nothing is admitted", "free some, or erase old payloads"
        yield warning("disk", said, why, fix)
    else:
        yield ok("disk", said)
    took_ms = _fsync_ms(patient)
    said = f"a write reaches the disk in {took_ms:.1f} ms"
    if took_ms > SLOW_FSYNC_MS:
        why = "every call waits for two of them, alone or together with others"
        yield warning("fsync", said, why, "put data_dir on a faster disk")
    else:
        yield ok("fsync", said)


def library(patient: Patient) -> Iterator[Check]:
    """The SQLite that this Python has."""
    del patient
    said = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _SAFE_SQLITE:
        said += "; before 3.51.3: let no other program write or checkpoint the database"
    yield ok("sqlite", said)


def _fsync_ms(patient: Patient) -> float:
    took: list[float] = []
    with tempfile.NamedTemporaryFile(dir=patient.config.data_dir, prefix=".doctor-") as file:
        for _ in range(_FSYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            began_s = time.perf_counter()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began_s) * 1000)
    return median(took)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


_LOOKS: dict[str, Look] = {
    "folders": checkup.folders,
    "secrets": secrets,
    "keys": checkup.own_keys,
    "log": checkup.log_tail,
    "checkpoint": checkup.remembered,
    "clock": checkup.clock,
    "policy": policy,
    "policy.held": held_policy,
    "agents": agents,
    "budgets": budgets,
    "stops": stops,
    "exposure": exposure,
    "servers": servers,
    "models": models,
    "disk": disk,
    "sqlite": library,
}
