"""A server that always changes is looked at ever more rarely; one that seldom does, at once."""

from gateway.jobs.pace import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pace


def test_a_first_change_is_looked_at_at_once() -> None:
    assert Pace().due_s("desk") <= 0


def test_a_server_that_goes_on_changing_waits_twice_as_long_each_time() -> None:
    pace, now_s, pauses = Pace(), 1000.0, []
    for _ in range(6):
        pace.looked("desk", now_s)
        pauses.append(pace.due_s("desk") - now_s)
        now_s = pace.due_s("desk")
    assert pauses == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_after_quiet_it_is_looked_at_at_once_and_begins_anew() -> None:
    pace = Pace()
    for now_s in (0.0, 5.0, 15.0):
        pace.looked("desk", now_s)
    assert pace.due_s("desk") == 35.0
    quiet_until_s = 15.0 + 2 * LONGEST_PAUSE_S
    assert pace.due_s("desk") < quiet_until_s
    pace.looked("desk", quiet_until_s)
    assert pace.due_s("desk") == quiet_until_s + FIRST_PAUSE_S


def test_one_server_does_not_slow_another() -> None:
    pace = Pace()
    pace.looked("evil", 7.0)
    assert pace.due_s("desk") == 0
