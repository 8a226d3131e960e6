"""The course of the policy: what was in force when, what is proposed, and what decides at a start.

As a rule the policy folder decides at a start. It does not when two persons are needed for a policy,
nor when the policy was rolled back: then the log does, until somebody says `policy apply`. Files
that merely lie in a folder undo neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gateway.audit import entry as entries
from gateway.audit.pseudonym import pseudonym_of
from gateway.config import Config
from gateway.policy.files import Binding, PolicySource, unbundle
from gateway.policy.files import read as read_files
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import Loaded, load, tested
from gateway.policy.snapshot import builtin_deny_all
from gateway.store.pseudonyms import SUBJECT
from gateway.store.trail import PROPOSE, Slice, Trail, opened, puts_in_force

APPLY, ROLLBACK, APPROVE = "policy.apply", "policy.rollback", "policy.approve"
HOLD = "policy.hold"  # the files in force stay so, with what the configuration says of agents now
MODES = {True: "policy.two_person_on", False: "policy.two_person_off"}
BACK_TO = "policy/"  # the subject of an entry that goes back to a version
_ABOUT_POLICY = tuple(f'"what":"{begins}' for begins in ("policy.", "agent."))


class NotStored(Exception):
    """The files of that version are not to be had; the message says why."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry about policy."""

    at_us: int
    what: str
    author: str
    version: str
    prior: str
    subject: str
    in_force: bool  # its version is, from here on

    @property
    def back_to(self) -> str:
        """The version that it goes back to; "" when it goes back to none."""
        return self.subject.removeprefix(BACK_TO) if self.subject.startswith(BACK_TO) else ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the log says of the policy, at its end."""

    version: str = ""  # in force; "": none ever was
    decided: Step | None = None  # what a person last put in force
    files_of: str = ""  # the version whose files are meant to be in force
    two_person: bool = False
    proposals: tuple[Step, ...] = ()  # made since, newest first

    @property
    def rolled_back(self) -> bool:
        """It was gone back, by one person or two, and nothing was applied since."""
        if self.decided is None or self.decided.what == APPLY:
            return False
        return self.decided.what == ROLLBACK or bool(self.decided.back_to)


@dataclass(frozen=True, slots=True)
class Start:
    """What decides when a house opens."""

    standing: Standing
    loaded: Loaded | None  # None: nobody may do anything
    held: bool = False  # by the log, whatever lies in the folder
    problem: str = ""  # why what should be in force cannot be


def steps(read: Trail) -> Iterator[Step]:
    """Every entry about policy, from the newest to the oldest."""
    for entry in read.newest_first(Slice(kinds=("change",), containing=(_ABOUT_POLICY,))):
        if isinstance(entry, entries.Change) and (entry.digest or entry.what in MODES.values()):
            yield Step(
                entry.t,
                entry.what,
                _name(read, entry.author),
                entry.digest,
                entry.prior,
                read.name(entry.subject),
                puts_in_force(entry),
            )


def standing(read: Trail) -> Standing:
    """Raises: whatever reading the log raises."""
    course = list(steps(read))
    in_force = [step for step in course if step.in_force]
    since = course.index(in_force[0]) if in_force else len(course)
    modes = (step.what for step in course if step.what in MODES.values())
    meant = (step.version for step in in_force if step.what != HOLD)
    persons = (step for step in in_force if step.what in (APPLY, ROLLBACK, APPROVE))
    return Standing(
        version=in_force[0].version if in_force else "",
        decided=next(persons, None),
        files_of=next(meant, ""),
        two_person=next(modes, MODES[False]) == MODES[True],
        proposals=tuple(step for step in course[:since] if step.what == PROPOSE),
    )


def stored(read: Trail, version: str) -> tuple[PolicySource, tuple[Binding, ...]]:
    """The files and bindings of *version*, if they are those whose digest it is.

    Raises: NotStored.
    """
    raw = read.policy_bundle(version)
    if raw is None:
        raise NotStored(f"the files of policy {version[:12]} are not stored, or were erased")
    if sha256(raw).hexdigest() != version:
        raise NotStored(f"what is stored of policy {version[:12]} is not that version")
    try:
        return unbundle(raw)
    except ValueError as err:
        raise NotStored(f"policy {version[:12]} cannot be read by this program: {err}") from err


def at_start(config: Config, bindings: Sequence[Binding]) -> Start:
    """What is to decide from here on.

    Raises: PolicyInvalid: the policy folder is, and it would decide.
    """
    with opened(config.data_dir) as read:
        now = standing(read)
        if config.two_person_policy or now.rolled_back:
            return _held(read, now, bindings)
    there = config.policies.is_dir()
    return Start(now, load(config.policies, bindings) if there else None)


def lies_otherwise(config: Config, loaded: Loaded | None) -> bool:
    """Whether the policy folder holds other files than those of *loaded*."""
    try:
        there = read_files(config.policies).files if config.policies.is_dir() else {}
    except PolicyInvalid:
        return True
    return there != (loaded.source.files if loaded else {})


def _held(read: Trail, now: Standing, bindings: Sequence[Binding]) -> Start:
    """What the log has. Where that cannot be had any more, nobody may do anything: falling back on
    the folder would put in force what nobody approved, or what was rolled back."""
    if now.files_of in ("", builtin_deny_all().version):
        return Start(now, None, held=True)
    try:
        source, _ = stored(read, now.files_of)
        return Start(now, tested(source, bindings), held=True)
    except (NotStored, PolicyInvalid) as err:
        return Start(now, None, held=True, problem=str(err))


def _name(read: Trail, pseudonym: str) -> str:
    """The name behind *pseudonym*, if it commits to it: who wrote into the table of names must not
    become somebody else."""
    kept = read.opening(pseudonym)
    if kept is None:
        return pseudonym
    name, salt = kept
    return name if pseudonym_of(bytes.fromhex(salt), SUBJECT, name) == pseudonym else pseudonym
