"""What only somebody with the signing key can write: every entry is signed, and wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.findings import Code, Report
from gateway.audit.verify import verify_copy
from gateway.domain.model import Amounts, Status
from tests.audit.logbook import SIGNER, STRANGER, Logbook, ordinary_log, tampering
from tests.audit.samples import AGENT, GRANT, RUN, TEAM, TENANT, TOOL


def verified(book: Logbook, folder: Path, remembered: bytes | None = None) -> Report:
    return verify_copy(book.save(folder / "customhouse.db"), SIGNER.vkey, remembered)


def opened() -> Logbook:
    book = Logbook()
    book.open()
    return book


def told(report: Report) -> dict[Code, str]:
    return {one.code: one.sentence for one in report.findings}


# -- forks ------------------------------------------------------------------------------------------


def rewritten_from(book: Logbook, leaf: int) -> Logbook:
    """The same log up to *leaf*, then another history of the same length, signed again."""
    other = Logbook()
    for row in book.rows[:leaf]:
        other.now_us = row[1]
        other.put_body(row[4], row[2], row[3])
    while other.size < book.size:
        other.change(what="tool.quarantine")
    return other


def test_a_rewritten_history_contradicts_the_checkpoints_that_were_published(
    tmp_path: Path,
) -> None:
    book = ordinary_log()
    other = rewritten_from(book, 19)
    other.published = book.published
    report = verified(other, tmp_path)
    assert report.counts == {Code.FORKED: 2}
    assert report.findings[0].sentence == (
        "a published checkpoint states another root at size 20 than the entries have, though the "
        "signed root at size 40 is theirs: the log's key signed two histories"
    )


def test_a_history_rewritten_with_its_checkpoints_contradicts_only_what_was_kept_elsewhere(
    tmp_path: Path,
) -> None:
    book = ordinary_log()
    kept = book.published[1][2].encode()
    other = rewritten_from(book, 19)
    assert verify_copy(other.save(tmp_path / "alone.db"), SIGNER.vkey).clean
    report = verified(other, tmp_path, remembered=kept)
    assert told(report).keys() == {Code.FORKED}
    assert told(report)[Code.FORKED].startswith("the remembered checkpoint states another root")


def test_two_roots_signed_for_one_size_are_a_fork_whatever_the_entries_are(tmp_path: Path) -> None:
    book = ordinary_log()
    other = rewritten_from(book, 19)
    other.change()
    book.published += [(1, other.size, other.note().decode())]
    twice = rewritten_from(book, 5)
    twice.change()
    book.published += [(2, twice.size, twice.note().decode())]
    report = verified(book, tmp_path)
    assert report.counts == {Code.FORKED: 1, Code.TRUNCATED: 1}
    assert "are signed for size 41, with different roots" in told(report)[Code.FORKED]


def test_two_roots_signed_for_the_size_of_the_head_are_a_fork(tmp_path: Path) -> None:
    book = ordinary_log()
    other = rewritten_from(book, 19)
    report = verified(book, tmp_path, remembered=other.note())
    assert report.counts == {Code.FORKED: 1}


def test_a_remembered_checkpoint_by_another_key_is_not_believed(tmp_path: Path) -> None:
    book = ordinary_log()
    book.signer = STRANGER
    foreign = book.note()
    book.signer = SIGNER
    report = verified(book, tmp_path, remembered=foreign)
    assert told(report).keys() == {Code.BAD_SIGNATURE}
    assert told(report)[Code.BAD_SIGNATURE].startswith("the remembered checkpoint: ")


# -- pairs ------------------------------------------------------------------------------------------


def second_outcome(book: Logbook) -> None:
    intent = book.intent()
    book.outcome(intent)
    book.outcome(intent)


def outcome_of_nothing(book: Logbook) -> None:
    book.outcome(book.change(), call="CALL")


def outcome_before_its_intent(book: Logbook) -> None:
    book.outcome(book.size + 1)
    book.intent()


def outcome_of_a_later_leaf(book: Logbook) -> None:
    book.outcome(10**15)


def outcome_of_another_call(book: Logbook) -> None:
    book.outcome(book.intent(), call="CALL")
    book.counters()  # the hold is still there


def unpaired_at_open(book: Logbook) -> None:
    book.intent()
    book.open()


def unpaired_at_recovery(book: Logbook) -> None:
    book.intent()
    book.recovery("start")


def unpaired_at_close(book: Logbook) -> None:
    book.intent()
    book.close()


def after_close(book: Logbook) -> None:
    book.close()
    book.change()


def another_log(book: Logbook) -> None:
    book.open(log="ff" * 16)


def another_key(book: Logbook) -> None:
    book.open(key=STRANGER.vkey.id)


def unknown_kind(book: Logbook) -> None:
    body = b'{"i":%d,"k":"pardon","t":%d,"v":1}' % (book.size, book.now_us)
    book.put_body(body, "pardon")


def not_canonical(book: Logbook) -> None:
    body = b'{ "i":%d,"k":"close","t":%d,"v":1}' % (book.size, book.now_us)
    book.put_body(body, "close")


def time_goes_back(book: Logbook) -> None:
    book.now_us -= 10_000_000
    book.change()


# -- sums -------------------------------------------------------------------------------------------


def overcharged(book: Logbook) -> None:
    book.outcome(book.intent(), used=Amounts(1001, 1, 50))


def over_a_day(book: Logbook) -> None:
    for _ in range(3):
        book.intent(limits=((TENANT, "tokens", "day", 2999),))


def over_a_minute(book: Logbook) -> None:
    book.outcome(book.intent())
    book.intent(limits=((AGENT, "calls", "minute", 1),))


def limit_on_an_account_without_hold(book: Logbook) -> None:
    book.intent(limits=(("t9", "tokens", "day", 10**9),))


def limit_of_an_unknown_meter(book: Logbook) -> None:
    book.intent(limits=((TENANT, "hugs", "day", 10**9),))


IN_A_RUN = (TENANT, TEAM, AGENT, TOOL, RUN, GRANT)


def over_the_life_of_a_run(book: Logbook) -> None:
    book.outcome(book.intent(acc=IN_A_RUN))
    book.now_us += 20 * 3_600_000_000
    book.intent(acc=IN_A_RUN, limits=((RUN, "calls", "life", 1),))


def over_the_life_of_a_grant(book: Logbook) -> None:
    book.outcome(book.intent(acc=IN_A_RUN))
    book.intent(acc=IN_A_RUN, limits=((RUN, "calls", "life", 2), (GRANT, "calls", "life", 1)))


def life_of_a_tenant(book: Logbook) -> None:
    book.intent(acc=IN_A_RUN, limits=((TENANT, "calls", "life", 10**9),))


def day_of_a_run(book: Logbook) -> None:
    book.intent(acc=IN_A_RUN, limits=((RUN, "calls", "day", 10**9),))


def hold_on_too_few_accounts(book: Logbook) -> None:
    book.outcome(book.intent(acc=(TENANT, AGENT, TOOL)))


def wrong_counters(book: Logbook) -> None:
    book.outcome(book.intent())
    book.states.append((book.size, b"{}"))
    book.counters(digest="44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a")
    book.states.pop()


@pytest.mark.parametrize(
    ("misdeed", "found"),
    [
        (second_outcome, Code.SECOND_OUTCOME),
        (outcome_of_nothing, Code.OUTCOME_WITHOUT_INTENT),
        (outcome_before_its_intent, Code.OUTCOME_WITHOUT_INTENT),
        (outcome_of_a_later_leaf, Code.OUTCOME_WITHOUT_INTENT),
        (outcome_of_another_call, Code.OUTCOME_WITHOUT_INTENT),
        (unpaired_at_open, Code.UNPAIRED_INTENT),
        (unpaired_at_recovery, Code.UNPAIRED_INTENT),
        (unpaired_at_close, Code.UNPAIRED_INTENT),
        (after_close, Code.AFTER_CLOSE),
        (another_log, Code.ANOTHER_LOG),
        (another_key, Code.ANOTHER_LOG),
        (unknown_kind, Code.UNKNOWN_KIND),
        (not_canonical, Code.NOT_CANONICAL),
        (time_goes_back, Code.REORDERED),
        (overcharged, Code.OVERCHARGED),
        (over_a_day, Code.OVER_LIMIT),
        (over_a_minute, Code.OVER_LIMIT),
        (limit_on_an_account_without_hold, Code.OVER_LIMIT),
        (limit_of_an_unknown_meter, Code.OVER_LIMIT),
        (over_the_life_of_a_run, Code.OVER_LIMIT),
        (over_the_life_of_a_grant, Code.OVER_LIMIT),
        (life_of_a_tenant, Code.OVER_LIMIT),
        (day_of_a_run, Code.OVER_LIMIT),
        (hold_on_too_few_accounts, Code.OVER_LIMIT),
        (wrong_counters, Code.COUNTERS_DIFFER),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_a_signed_misdeed_is_found_once_and_by_its_name(
    misdeed: Callable[[Logbook], object], found: Code, tmp_path: Path
) -> None:
    book = opened()
    misdeed(book)
    assert verified(book, tmp_path).counts == {found: 1}


def test_a_log_that_begins_otherwise_than_with_open_is_found(tmp_path: Path) -> None:
    book = Logbook()
    book.change()
    assert verified(book, tmp_path).counts == {Code.NOT_OPENED: 1}


# -- what looks odd and is right --------------------------------------------------------------------


def closed_and_opened(book: Logbook) -> None:
    book.outcome(book.intent())
    book.close()
    book.open()


def orphans_closed_by_recovery(book: Logbook) -> None:
    orphan = book.intent()
    book.open()
    book.outcome(orphan, status=Status.UNKNOWN, used=Amounts(1000, 1, 50), by="recovery")
    book.recovery("start")


def calls_that_survived_a_failed_commit(book: Logbook) -> None:
    intent = book.intent()
    book.recovery("commit")
    book.counters()
    book.outcome(intent)


def two_entries_in_one_microsecond(book: Logbook) -> None:
    book.change()
    book.now_us = book.rows[-1][1]
    book.change()


def a_team_that_is_none(book: Logbook) -> None:
    book.outcome(book.intent(acc=(TENANT, "", AGENT, TOOL), team=""))


def a_limit_reached_exactly(book: Logbook) -> None:
    for _ in range(3):
        book.intent(limits=((TENANT, "tokens", "day", 3000), (TEAM, "cost", "month", 150)))


def a_limit_lowered_below_what_is_spent(book: Logbook) -> None:
    book.intent()
    book.intent(hold=Amounts(0, 1, 0), limits=((TENANT, "tokens", "day", 1),))


def a_charge_in_the_window_of_its_hold(book: Logbook) -> None:
    early = book.intent()
    book.now_us += 60_000_000
    book.intent(limits=((TENANT, "tokens", "minute", 1000),))
    book.outcome(early)
    book.counters()
    book.now_us += 40 * 86_400_000_000
    book.outcome(book.intent(limits=((TENANT, "tokens", "month", 1000),)))
    book.counters()


def a_run_that_goes_on_after_its_life(book: Logbook) -> None:
    book.outcome(book.intent(acc=IN_A_RUN))
    book.counters()
    book.now_us += 8 * 86_400_000_000
    book.outcome(book.intent(acc=IN_A_RUN, limits=((RUN, "calls", "life", 1),)))
    book.counters()


@pytest.mark.parametrize(
    ("story", "in_flight"),
    [
        (closed_and_opened, 0),
        (orphans_closed_by_recovery, 0),
        (calls_that_survived_a_failed_commit, 0),
        (two_entries_in_one_microsecond, 0),
        (a_team_that_is_none, 0),
        (a_limit_reached_exactly, 3),
        (a_limit_lowered_below_what_is_spent, 2),
        (a_charge_in_the_window_of_its_hold, 1),
        (a_run_that_goes_on_after_its_life, 0),
    ],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_what_the_gateway_does_in_odd_hours_is_no_finding(
    story: Callable[[Logbook], object], in_flight: int, tmp_path: Path
) -> None:
    book = opened()
    story(book)
    report = verified(book, tmp_path)
    assert report.clean, report.findings
    assert report.in_flight == in_flight


def test_a_call_in_flight_through_a_failed_commit_is_still_in_flight(tmp_path: Path) -> None:
    book = opened()
    book.intent()
    book.recovery("commit")
    report = verified(book, tmp_path)
    assert report.clean
    assert report.in_flight == 1


def test_an_entry_that_cannot_be_read_does_not_accuse_those_that_refer_to_it(
    tmp_path: Path,
) -> None:
    database = ordinary_log().save(tmp_path / "customhouse.db")
    with tampering(database) as db:
        db.execute("UPDATE entries SET body = 'x' || body WHERE idx = 1")
    report = verify_copy(database, SIGNER.vkey)
    assert report.counts == {Code.ALTERED: 1, Code.NOT_CANONICAL: 1}
