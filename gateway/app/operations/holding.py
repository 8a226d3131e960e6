"""What a doctor says of a policy that the log holds in force, and not the folder."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.app.course import APPROVE, NotStored, Standing, standing, stored
from gateway.app.operations.diagnosis import Check, Patient, ok, problem, warning
from gateway.app.operations.proposing import can_wait
from gateway.app.operations.reading import read_house
from gateway.domain.window import when
from gateway.policy.finding import PolicyInvalid
from gateway.policy.load import tested
from gateway.policy.snapshot import builtin_deny_all
from gateway.store.trail import NoLog, Trail, opened

_APPLY = "look: customhouse policy diff; then: customhouse policy apply"


def held_policy(patient: Patient) -> Iterator[Check]:
    """Whether the log decides, and whether it was decided as it should."""
    two = patient.config.two_person_policy
    try:
        with opened(patient.config.data_dir) as read:
            now = standing(read)
            if two or now.rolled_back:
                yield from _can_be_had(patient, read, now)
    except NoLog:
        return
    if two:
        yield from _two_persons(patient, now)
    elif now.rolled_back and now.decided:
        yield warning(
            "policy.held",
            f"rolled back by {now.decided.author} at {when(now.decided.at_us)}",
            "the policy folder decides nothing since, not even at a restart",
            _APPLY,
        )


def _can_be_had(patient: Patient, read: Trail, now: Standing) -> Iterator[Check]:
    if now.files_of in ("", builtin_deny_all().version):
        return
    try:
        source, _ = stored(read, now.files_of)
        tested(source, read_house(patient.config).identity.bindings())
    except (NotStored, PolicyInvalid) as err:
        yield problem(
            "policy.held",
            f"policy {now.files_of[:12]} cannot be put in force again: {err}",
            "everything is denied from the next start on, if it is not now",
            "restore the database, or what the configuration said of roles; then start again",
        )


def _two_persons(patient: Patient, now: Standing) -> Iterator[Check]:
    if now.decided is None:
        yield warning(
            "policy.approved",
            "no policy was approved yet",
            "everything is denied",
            "customhouse policy apply, and another person: customhouse policy approve DIGEST",
        )
    elif now.decided.what != APPROVE:
        yield warning(
            "policy.approved",
            f"one person put it in force: {now.decided.author} at {when(now.decided.at_us)}",
            "two_person_policy was off then",
            "have another person look at it: customhouse policy history",
        )
    else:
        yield ok("policy.approved", f"by {now.decided.author} at {when(now.decided.at_us)}")
    waiting = [p for p in now.proposals if can_wait(p, now.version, patient.now_us)]
    if waiting:
        yield warning(
            "policy.pending",
            f"{len(waiting)} proposed and not approved",
            "after a day they have to be proposed anew",
            "customhouse policy pending",
        )
