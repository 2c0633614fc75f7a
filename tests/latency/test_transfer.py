"""A table of a new device from another device's and a few rows."""

import math

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.latency.table import LatencyTable, write_new_table
from hwnas.latency.transfer import (
    FACTOR_ALONE,
    SMOOTH,
    choose_rows,
    left_out_pct,
    missed_by,
    scaled,
    transfer,
    transfer_table,
)
from hwnas.spaces import OpSpec, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.operators import is_free


@pytest.fixture(scope="module")
def devices():
    """One device, and another that is slower, more so at large kernels and many channels."""
    specs = [s for s in build_space(SpaceConfig("proxyless_small", 64, 10)).all_ops() if not is_free(s)]
    source = {str(s): 0.01 + op_macs(s) / 1e7 for s in specs}
    return source, {key: slower(OpSpec.parse(key)) * ms for key, ms in source.items()}


def slower(spec):
    return 2 * (1 + 0.04 * dict(spec.args).get("k", 1)) * spec.in_shape[0] ** 0.1


def mape_pct(predicted, true):
    return 100 * np.mean([abs(predicted[key] / ms - 1) for key, ms in true.items()])


def test_a_smooth_difference_is_found_and_scaling_alone_does_not(devices):
    source, target = devices
    measured = {key: target[key] for key in choose_rows(source, 10)}
    assert mape_pct(transfer(source, measured), target) < 0.6 * mape_pct(scaled(source, measured), target)


def test_more_rows_come_closer(devices):
    source, target = devices
    errors = [
        mape_pct(transfer(source, {key: target[key] for key in choose_rows(source, k)}), target) for k in (1, 5, 20)
    ]
    assert errors == sorted(errors, reverse=True)


def test_a_device_that_is_slower_by_one_factor_is_met_by_one_row(devices):
    source, _ = devices
    (key,) = choose_rows(source, 1)
    found = transfer(source, {key: 3 * source[key]})
    np.testing.assert_allclose([found[key] / ms for key, ms in source.items()], 3, rtol=0.02)


def test_what_is_left_out_tells_how_far_off_the_predictions_are(devices):
    source, target = devices
    keys, rng = choose_rows(source, 10), np.random.default_rng(0)
    smooth = {key: target[key] for key in keys}
    wild = {key: source[key] * float(rng.choice([0.3, 3.0])) for key in keys}
    assert left_out_pct(source, {key: 3 * source[key] for key in keys}) < 0.1
    assert left_out_pct(source, smooth) < 15
    assert left_out_pct(source, wild) > 50
    assert math.isnan(left_out_pct(source, {keys[0]: 1.0}))


def table_of(path, latency_ms):
    """A table of operators with one time each."""
    identity = {"row": "op", "device": path.stem}
    rows = [{"op": key, "round": 0, "times_ms": [ms]} for key, ms in latency_ms.items()]
    write_new_table(path, identity, rows)
    return LatencyTable.read(path)


@pytest.mark.parametrize(("differ", "taken"), [("smoothly", SMOOTH), ("by jumps", FACTOR_ALONE)])
def test_a_table_is_predicted_by_what_misses_measured_rows_by_less(devices, tmp_path, differ, taken):
    source, smooth = devices
    keys = choose_rows(source, 10)
    target = smooth if differ == "smoothly" else {k: 2 * source[k] * (3 if k == keys[4] else 1) for k in source}
    few = {key: target[key] for key in keys}
    out = tmp_path / "new.jsonl"
    done = transfer_table(table_of(tmp_path / "a.jsonl", source), table_of(tmp_path / "b.jsonl", few), out)
    assert done.missed.method == taken
    assert done.missed.pct == left_out_pct(source, few, taken) < done.missed.other_pct
    expected = (transfer if taken == SMOOTH else scaled)(source, few)
    assert {key: row.median_ms for key, row in LatencyTable.read(out).items()} == pytest.approx(expected)
    other = (scaled if taken == SMOOTH else transfer)(source, few)
    assert mape_pct(expected, target) < mape_pct(other, target)
    told = f"; left out, each is missed by {done.missed}"
    assert LatencyTable.read(out).identity["transferred"].endswith(told)


def test_few_rows_leave_the_smooth_correction(devices):
    source, _ = devices
    keys = choose_rows(source, 7)
    jumps = {key: source[key] * (3 if key == keys[2] else 1) for key in keys}
    assert missed_by(source, jumps).method == FACTOR_ALONE
    few = missed_by(source, {key: jumps[key] for key in keys[:6]})
    assert (few.method, few.known, few.other_pct < few.pct) == (SMOOTH, True, True)
    one = missed_by(source, {keys[0]: 1.0})
    assert (one.method, one.known) == (SMOOTH, False)


def test_measured_rows_keep_their_value_and_none_is_missing(devices):
    source, target = devices
    measured = {key: 1.01 * target[key] for key in choose_rows(source, 5)}
    found = transfer(source, measured)
    assert list(found) == list(source)
    assert {key: found[key] for key in measured} == measured


def test_the_choice_is_distinct_and_a_prefix_of_a_longer_one(devices):
    source, _ = devices
    chosen = choose_rows(source, len(source))
    assert sorted(chosen) == sorted(source)
    assert chosen[:7] == choose_rows(source, 7)


def test_networks_need_their_features():
    source = {f"{i}.0": 1.0 + i for i in range(3000)}
    with pytest.raises(UserError, match=r"no row key.*give the features"):
        choose_rows(source, 3)
    features = {key: [math.log(ms)] for key, ms in source.items()}
    measured = {key: source[key] ** 1.2 for key in choose_rows(source, 8, features)}
    true = {key: ms**1.2 for key, ms in source.items()}
    assert mape_pct(transfer(source, measured, features), true) < 0.2 * mape_pct(scaled(source, measured), true)


@pytest.mark.parametrize(
    ("source", "measured", "message"),
    [
        ({}, {}, "the source latencies are empty"),
        ({"ir-8x8x8-8-s1": 0.0}, {"ir-8x8x8-8-s1": 1.0}, "has 0.0 ms; allowed is above 0"),
        ({"ir-8x8x8-8-s1": 1.0}, {"ir-8x8x8-8-s1": math.nan}, "of the measured latencies has nan ms"),
        ({"ir-8x8x8-8-s1": 1.0}, {}, "at least one has to be measured, and none came"),
        ({"ir-8x8x8-8-s1": 1.0}, {"ir-9x8x8-8-s1": 1.0}, "measured rows that it lacks came, ir-9x8x8-8-s1 first"),
    ],
)
def test_mistakes_say_what_came(source, measured, message):
    with pytest.raises(UserError, match=message):
        transfer(source, measured)


def test_no_more_rows_than_there_are():
    with pytest.raises(UserError, match="allowed is 1 to 1"):
        choose_rows({"ir-8x8x8-8-s1": 1.0}, 2)
