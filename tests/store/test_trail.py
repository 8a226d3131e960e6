"""Reading the log: what a search costs, and that it ends when it is told to."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import pytest

from gateway.app.operations import search
from gateway.app.operations.query import parse
from gateway.store import engine
from gateway.store.trail import Interrupted, Slice, Trail

CALLS = 300
FAR = 1 << 62
WORDS = tuple(f"status-{number}" for number in range(16))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Calls that all ended well: as rows, which nobody who looks for other ends has to decode."""
    path = tmp_path_factory.mktemp("log") / engine.DATABASE
    engine.prepare(path)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO entries VALUES (?,?,?,?,?)",
            (
                (leaf, leaf * 10, ("intent", "outcome")[leaf % 2], f"call-{leaf // 2}", b'"ok"')
                for leaf in range(2 * CALLS)
            ),
        )
    yield connection
    connection.close()


def steps(log: sqlite3.Connection, work: Callable[[], object]) -> int:
    """How many instructions of SQLite's machine *work* takes."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    log.set_progress_handler(step, 1)
    work()
    log.set_progress_handler(None, 0)
    return taken


@pytest.mark.parametrize(
    "about",
    [
        lambda words: Slice(kinds=("intent",), statuses=words),
        lambda words: Slice(kinds=("intent",), codes=words),
    ],
    ids=["statuses", "codes"],
)
def test_each_outcome_is_looked_up_once_however_many_words_are_sought(
    log: sqlite3.Connection, about: Callable[[tuple[str, ...]], Slice]
) -> None:
    trail = Trail(log)

    def work(words: tuple[str, ...]) -> int:
        return steps(log, lambda: list(trail.newest_first(about(words))))

    one, many = work(WORDS[:1]), work(WORDS)
    assert one > CALLS
    # What is left is one comparison a word.
    assert (many - one) / (len(WORDS) - 1) / CALLS < 8


def test_where_a_time_stands_in_the_log_is_found_without_reading_it(
    log: sqlite3.Connection,
) -> None:
    trail = Trail(log)
    assert trail.span(Slice()) == (0, 2 * CALLS)
    assert trail.span(Slice(since_us=95, until_us=1_000)) == (10, 100)
    assert trail.span(Slice(since_us=10**9)) == (2 * CALLS, 2 * CALLS)
    assert steps(log, lambda: trail.span(Slice(since_us=4_000))) < 100


def test_a_search_that_finds_nothing_ends_when_it_is_told_to(
    log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.trail.STEPS", 100)
    trail, asked = Trail(log), count(1)
    with pytest.raises(Interrupted), trail.while_true(lambda: next(asked) < 3):
        list(trail.newest_first(Slice(kinds=("intent",), statuses=WORDS)))
    assert next(asked) == 4
    # From here on nobody asks.
    assert list(trail.newest_first(Slice(kinds=("intent",), statuses=WORDS))) == []


def test_a_page_that_is_interrupted_goes_on_where_it_came_to(
    log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.trail.STEPS", 100)
    monkeypatch.setattr(search, "PAGE_PIECE", 50)
    trail, query = Trail(log), parse(["status:" + ",".join(WORDS)], 0)
    below, pages = FAR, 0
    while True:
        asked = iter(range(60))
        page = search.page(trail, query, below, 10, partial(_more, asked))
        assert page.rows == []
        pages += 1
        if not page.below:
            break
        assert page.below < below
        below = page.below
    assert pages > 2


def _more(asked: Iterator[int]) -> bool:
    return next(asked, None) is not None


def test_a_page_that_comes_nowhere_is_none(
    log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.trail.STEPS", 100)
    with pytest.raises(Interrupted):
        search.page(Trail(log), parse(["status:none"], 0), FAR, 10, lambda: False)
