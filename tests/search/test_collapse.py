"""What counts as a collapse."""

import pytest

from hwnas.search.collapse import alarms, concentration, frequencies
from hwnas.spaces import SpaceConfig, build_space

SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))


def table_of(skip):
    """Probabilities with this much of every skip, the rest evenly."""
    return [
        [skip if c == "skip" else (1 - skip * has_skip) / (len(d.choices) - has_skip) for c in d.choices]
        for d in SPACE.decisions
        for has_skip in ["skip" in d.choices]
    ]


def moment(table):
    return concentration(SPACE, table)


UNIFORM = moment([[1 / len(d.choices)] * len(d.choices) for d in SPACE.decisions])


def test_uniform_probabilities_are_not_narrow():
    assert UNIFORM.entropy == pytest.approx(1)
    assert UNIFORM.skip_share == pytest.approx(1 / 7)
    assert alarms([UNIFORM] * 4, UNIFORM, is_training=True) == []


def test_skips_that_take_over_raise_an_alarm_unless_the_limits_ask_for_them():
    many = moment(table_of(0.9))
    assert many.skip_share == pytest.approx(0.9)
    assert "collapsed" in alarms([UNIFORM, many], UNIFORM, is_training=True)[0]
    assert alarms([UNIFORM, many], moment(table_of(0.8)), is_training=True) == []


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_the_skips_of_cells_are_skips_too(name):
    """DARTS' typical end: skip connections nearly everywhere."""
    cells = build_space(SpaceConfig(name, 32, 10))
    table = [
        [0.9 if c == "skip_connect" else 0.1 / (len(d.choices) - 1) for c in d.choices]
        if "skip_connect" in d.choices
        else [1 / len(d.choices)] * len(d.choices)
        for d in cells.decisions
    ]
    uniform = concentration(cells, [[1 / len(d.choices)] * len(d.choices) for d in cells.decisions])
    many = concentration(cells, table)
    assert many.skip_share >= 0.9
    assert alarms([uniform, many], uniform, is_training=True) == ["Skips have taken over: the search has collapsed."]


def test_one_operator_everywhere_and_certainty_too_soon():
    same = [0 for _ in SPACE.decisions]
    one = moment(frequencies(SPACE, [tuple(same)]))
    assert (one.dominant, one.dominant_share, one.entropy) == (SPACE.decisions[0].choices[0], 1, 0)
    soon, late = [UNIFORM, one, one, one], [UNIFORM, UNIFORM, UNIFORM, one]
    assert len(alarms(soon, UNIFORM, is_training=True)) == 2
    assert len(alarms(late, UNIFORM, is_training=True)) == 1
    assert len(alarms(soon, UNIFORM, is_training=False)) == 1


def test_frequencies_are_shares():
    (first, *_), archs = SPACE.decisions, [tuple(0 for _ in SPACE.decisions), (1, *(0 for _ in SPACE.decisions[1:]))]
    assert frequencies(SPACE, archs)[0][:2] == [0.5, 0.5]
    assert sum(frequencies(SPACE, archs)[0]) == pytest.approx(1)
    assert len(frequencies(SPACE, archs)[0]) == len(first.choices)
