"""The breaker as a table of times: no clock, no upstream."""

from gateway.upstream.breaker import Breaker, BreakerState


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(max_failures=3, open_s=10.0)
    for now_s in (1.0, 2.0):
        assert breaker.admit(now_s)
        breaker.failed(now_s)
    breaker.succeeded()
    for now_s in (3.0, 4.0, 5.0):
        assert breaker.admit(now_s)
        breaker.failed(now_s)
    assert not breaker.admit(14.9)
    assert breaker.state(14.9) is BreakerState.OPEN


def test_half_open_admits_exactly_one_probe() -> None:
    breaker = Breaker(max_failures=1, open_s=10.0)
    breaker.failed(0.0)
    assert breaker.state(10.0) is BreakerState.HALF_OPEN
    assert breaker.admit(10.0)
    assert not breaker.admit(10.0)
    breaker.succeeded()
    assert breaker.admit(10.0)
    assert breaker.state(10.0) is BreakerState.CLOSED


def test_a_failed_probe_opens_it_again_for_the_whole_time() -> None:
    breaker = Breaker(max_failures=1, open_s=10.0)
    breaker.failed(0.0)
    assert breaker.admit(12.0)
    breaker.failed(12.5)
    assert not breaker.admit(22.4)
    assert breaker.admit(22.5)


def test_an_abandoned_probe_makes_room_for_the_next() -> None:
    breaker = Breaker(max_failures=1, open_s=10.0)
    breaker.failed(0.0)
    assert breaker.admit(10.0)
    breaker.abandoned()
    assert breaker.admit(10.0)
