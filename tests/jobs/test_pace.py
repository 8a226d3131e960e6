"""A server that always changes is looked at ever more rarely; one that seldom does, at once."""

from gateway.jobs.pace import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pace


def test_a_first_change_is_looked_at_at_once() -> None:
    assert Pace().due_s("desk") <= 0


def test_a_server_that_goes_on_changing_waits_twice_as_long_each_time() -> None:
    pace, now_s, pauses = Pace(), 1000.0, []
    for _ in range(10):
        pace.looked("desk", now_s)
        pauses.append(pace.due_s("desk") - now_s)
        now_s = pace.due_s("desk")
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_no_way_of_spreading_changes_has_it_looked_at_often() -> None:
    for rest_s in (0.0, 1.0, 30.0, 60.0, 61.0, 120.0):
        for burst in (1, 2, 4, 8, 16):
            pace, now_s, looks = Pace(), 0.0, 0
            while now_s < 3600.0:
                for _ in range(burst):
                    now_s = max(now_s, pace.due_s("desk"))
                    pace.looked("desk", now_s)
                    looks += 1
                now_s += rest_s
            assert looks / 60 < 5.0, (rest_s, burst)


def test_after_quiet_it_is_looked_at_at_once_and_begins_anew() -> None:
    pace = Pace()
    for now_s in (0.0, 5.0, 15.0):
        pace.looked("desk", now_s)
    assert pace.due_s("desk") == 16.0
    quiet_until_s = 15.0 + LONGEST_PAUSE_S
    assert pace.due_s("desk") < quiet_until_s
    pace.looked("desk", quiet_until_s)
    assert pace.due_s("desk") == quiet_until_s + FIRST_PAUSE_S


def test_one_server_does_not_slow_another() -> None:
    pace = Pace()
    pace.looked("evil", 7.0)
    assert pace.due_s("desk") == 0
