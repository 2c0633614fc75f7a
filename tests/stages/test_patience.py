"""What breaks the budget is measured again, and a slow device is told from a slow network."""

import pytest

from hwnas.devices import Measurement, load_profile
from hwnas.errors import UserError
from hwnas.stages.patience import JUDGED, PATIENCE, Seen, settled

BUDGET_MS = 1.0
FAKE = load_profile("fake")  # it waits for nothing, and drifts from 5 %
TIMES = 2


def sweep(ms, slowdown=1.0) -> Seen:
    return Seen({JUDGED: Measurement((ms,))}, slowdown)


def judged(first, *later) -> tuple[float, int]:
    """(milliseconds that count, sweeps that were made)."""
    left = list(later)
    found = settled(first, lambda: left.pop(0), BUDGET_MS, FAKE, TIMES, "a candidate")
    return found.ms, len(later) - len(left)


def test_what_keeps_the_budget_is_measured_once():
    assert judged(sweep(1.02)) == (1.02, 0)
    assert judged(sweep(1.02, slowdown=2.0)) == (1.02, 0)


def test_a_moment_of_other_work_passes():
    assert judged(sweep(1.5), sweep(0.9)) == (0.9, 1)
    assert judged(sweep(1.5), sweep(1.4), sweep(1.03)) == (1.03, 2)


def test_a_slow_network_is_measured_so_many_times_and_the_fastest_counts():
    assert judged(sweep(1.5), sweep(1.3), sweep(1.4)) == (1.3, 2)


@pytest.mark.parametrize("slowdown", [0.9, 1.0, 1.049, 1.4])
def test_a_network_that_the_device_does_not_explain_is_slow(slowdown):
    assert judged(sweep(1.5), sweep(1.5, slowdown), sweep(1.5, slowdown)) == (1.5, 2)


def test_a_slow_device_is_waited_for():
    slow = [sweep(1.5, slowdown=1.5)] * (PATIENCE - 1)
    assert judged(sweep(1.5), *slow, sweep(0.95)) == (0.95, PATIENCE)


def test_once_the_device_has_recovered_the_network_is_judged():
    slow = [sweep(1.5, slowdown=1.5)] * TIMES
    assert judged(sweep(1.5), *slow, sweep(1.2)) == (1.2, TIMES + 1)


def test_of_a_device_that_stays_slow_nothing_is_decided(capsys):
    slow = [sweep(1.5, slowdown=1.5)] * PATIENCE
    with pytest.raises(UserError, match=r"takes 1.5 ms, over the budget of 1 ms, but the device is 1.50 times as slow"):
        judged(sweep(1.5), *slow)
    assert capsys.readouterr().err.count("but the device is 1.50 times as slow") == PATIENCE - 1  # first: not known yet
