"""What a table says of how quiet the device was is no more than what was looked at."""

import math

import pytest

from hwnas.devices import Measurement
from hwnas.latency.table import LatencyTable, Span, Steadiness


@pytest.fixture
def table(tmp_path):
    """Two rows of four rounds each."""
    made = LatencyTable(tmp_path / "t.jsonl", {"device": "host"})
    for number in range(4):
        for key in ("a", "b"):
            made.add(key, number, Measurement((1.0,)))
    return made


def watched(table, *attempts):
    """Three spans at 1 ms, then a further one whose attempts took these milliseconds."""
    for number in range(3):
        table.add_sentinel("a", Span("s", number, 0, 0), Measurement((1.0,)))
    for number, ms in enumerate(attempts):
        table.add_sentinel("a", Span("s", 3, 0, number), Measurement((ms,)))
    return table.steadiness(table, 5.0)


def test_without_a_sentinel_nobody_says_that_no_drift_was_seen(table):
    told = str(table.steadiness(table, 5.0))
    assert told.endswith("; no sentinel watched")
    assert "drift" not in told


def test_a_quiet_sentinel_saw_no_drift(table):
    assert str(watched(table, 1.01)).endswith("; no drift was seen")


def test_a_span_is_counted_once_however_often_it_was_tried(table):
    found = watched(table, 1.3, 1.2, 1.0)
    assert (found.drifting_spans, found.spans, found.still_off) == (1, 4, 0)
    assert str(found).endswith("noisy: the sentinel was off by up to 30 % in 1 of 4 spans, which were measured again")


def test_a_span_that_stayed_off_is_told(table):
    found = watched(table, 1.3, 1.3)
    assert (found.drifting_spans, found.spans, found.still_off) == (1, 4, 1)
    assert str(found).endswith("in 1 of 4 spans; 1 of them still off in the last attempt")


@pytest.mark.parametrize(("level_pct", "noisy"), [(4.9, False), (5.1, True)])
@pytest.mark.parametrize("spans", [0, 9])
def test_large_changes_of_speed_are_noise_whatever_the_sentinel_saw(level_pct, noisy, spans):
    assert ("the device was noisy" in str(Steadiness(1.0, 2.0, 0, spans, 0.0, level_pct))) == noisy


def test_rows_measured_once_have_no_interval():
    assert str(Steadiness(math.inf, math.inf, 0, 0, 0.0, 0.0)) == (
        "95 % intervals of the rows: unknown, as they were not measured twice; no sentinel watched"
    )
    assert "+-1.0 % in the median, unknown where a row was" in str(Steadiness(1.0, math.inf, 0, 0, 0.0, 0.0))
