"""Rows that a table lacks."""

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.latency.interpolation import MIN_ROWS, interpolate
from hwnas.latency.profiler import rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.resources import shipped
from hwnas.spaces import OpSpec, SpaceConfig, build_space
from hwnas.spaces.macs import op_macs

SPACE = build_space(SpaceConfig("proxyless", 224, 1000))
ROWS = rows_to_measure(SPACE)


def split(op_ms, seed, share=0.2):
    """(what is known, what is missing) of a table."""
    rng = np.random.default_rng(seed)
    searched = [key for key in op_ms if key.startswith("ir")]
    gone = set(rng.choice(searched, int(share * len(searched)), replace=False).tolist())
    return {k: ms for k, ms in op_ms.items() if k not in gone}, {k: op_ms[k] for k in gone}


def test_a_law_of_powers_is_found():
    op_ms = {key: 0.02 * (op_macs(spec) / 1e6) ** 0.8 for key, spec in ROWS.items()}
    known, gone = split(op_ms, seed=0)
    found = interpolate(known, [ROWS[key] for key in gone])
    assert found.keys() == gone.keys()
    for key, guess in found.items():
        assert guess.latency_ms == pytest.approx(gone[key], rel=0.02)
        assert guess.doubt < 0.05


@pytest.mark.parametrize("runtime", ["litert", "ort"])
def test_measured_rows_are_guessed_within_what_is_promised(runtime):
    table = LatencyTable.read(shipped("latency_tables") / f"proxyless-224-host_cpu1_{runtime}_fp32.jsonl")
    op_ms = {key: table[key].median_ms for key in ROWS}
    logs, sds = [], []
    for seed in range(5):
        known, gone = split(op_ms, seed)
        found = interpolate(known, [ROWS[key] for key in gone])
        logs += [np.log(gone[key] / guess.latency_ms) for key, guess in found.items()]
        sds += [guess.log_sd for guess in found.values()]
    assert np.abs(logs).mean() < 0.12
    assert (np.abs(logs) < 2 * np.array(sds)).mean() > 0.85


def test_too_few_rows_of_a_kind_are_an_error_with_the_command():
    few = dict.fromkeys(list(ROWS)[:MIN_ROWS], 1.0)
    wanted = [spec for spec in ROWS.values() if spec.kind == "classifier"]
    with pytest.raises(UserError, match=r"of kind classifier are missing.*at least 8.*run `hwnas profile`"):
        interpolate(few, wanted)


def test_farther_away_is_less_sure():
    op_ms = {
        key: 0.02 * (op_macs(spec) / 1e6) ** 0.8 * (1 + 0.1 * (i % 3)) for i, (key, spec) in enumerate(ROWS.items())
    }
    near, far = (OpSpec.parse(f"ir-{c}x28x28-{c}-s1-e3-k5") for c in (48, 4096))
    found = interpolate(op_ms, [near, far])
    assert found[str(far)].log_sd > 1.2 * found[str(near)].log_sd
