"""File size and peak memory follow from shapes."""

import random

import numpy as np
import pytest

from hwnas.devices import load_profile, open_device
from hwnas.footprint import METRICS, FootprintPredictor, fit_footprint
from hwnas.latency.profiler import build_model
from hwnas.spaces import SPACES, Slot, Space, SpaceConfig, build_space, op
from hwnas.spaces.macs import op_peak_activations, op_stored, peak_activations

PROFILES = ("host_cpu1_litert_fp32", "host_cpu1_ort_fp32")


@pytest.fixture(params=SPACES)
def space(request):
    return build_space(SpaceConfig(request.param, 64, 10))


@pytest.mark.parametrize(
    ("spec", "peak", "stored"),
    [
        (op("conv", (3, 8, 8), 16, 2, k=3), 3 * 64 + 16 * 16, 16 * 27 + 16),
        # expansion writes 96 channels beside 16, depthwise reads and writes 96 and writes 96; nothing waits
        (op("ir", (16, 8, 8), 24, 1, e=6, k=3), (96 + 96) * 64, 16 * 96 + 96 + 96 * 9 + 96 + 96 * 24 + 24),
        # with a residual the block's input waits too
        (op("ir", (16, 8, 8), 16, 1, e=6, k=3), (96 + 96 + 16) * 64, 16 * 96 + 96 + 96 * 9 + 96 + 96 * 16 + 16),
        (op("classifier", (64, 4, 4), 10), 64 * 16 + 64, 64 * 10 + 10),
        (op("skip", (16, 8, 8), 16), 0, 0),
    ],
    ids=str,
)
def test_elements_are_counted_as_by_hand(spec, peak, stored):
    assert (op_peak_activations(spec), op_stored(spec)) == (peak, stored)


def test_what_waits_at_other_nodes_is_held_too():
    shape, image = (2, 4, 4), (3, 4, 4)
    stem, halves = Slot((op("conv_bn", image, 2, k=3),)), op("relu_conv", shape, 2, k=1)
    slots = (stem, Slot((halves,)), Slot((halves,), reads=((1,),), writes=2), Slot((op("classifier", shape, 5),)))
    found = [int(table.at(())) for table in peak_activations(Space("s", image, 5, (), slots))]
    # reads 3 and writes 2 channels; reads and writes 2, then beside the 2 that the next one reads as well; the last two
    # channels of node 1 go, those of node 2 wait to be added to
    assert found == [5 * 16, 6 * 16, 6 * 16, 2 * 16 + 2]


@pytest.mark.parametrize("spec", [op("skip", (16, 8, 8), 16), op("conv", (3, 8, 8), 16, 2, k=3)], ids=str)
def test_in_a_chain_nothing_waits(spec):
    (table,) = peak_activations(Space("s", spec.in_shape, 2, (), (Slot((spec,)),)))
    assert table.at(()) == op_peak_activations(spec)


def test_what_follows_from_the_terms_is_found(space):
    rng = random.Random(0)
    archs = [space.sample(rng) for _ in range(40)]
    peaks = peak_activations(space)
    stored = np.array([sum(map(op_stored, space.ops(arch))) for arch in archs])
    peak = np.array([max(table.at(arch) for table in peaks) for arch in archs])
    true_mb = 1.5 + 4.2e-6 * stored + 6e-6 * peak
    fit = fit_footprint(space, archs[:12], true_mb[:12])
    assert fit.mape_pct == pytest.approx(0, abs=0.1)
    predictor = FootprintPredictor.from_record(space, fit.as_record())
    np.testing.assert_allclose(predictor.mb(archs), true_mb, rtol=1e-3)
    assert (predictor.upper_mb(archs, 0.9) >= predictor.mb(archs)).all()


@pytest.mark.parametrize(("archs", "sizes_mb"), [(1, [1.0]), (3, [1.0, 2.0])])
def test_too_little_to_fit_is_refused(archs, sizes_mb):
    space = build_space(SpaceConfig("proxyless_small", 64, 10))
    with pytest.raises(ValueError, match="are needed"):
        fit_footprint(space, [(0,) * len(space.decisions)] * archs, sizes_mb)


@pytest.mark.parametrize("name", PROFILES)
def test_real_files_and_real_memory_are_predicted(name, tmp_path):
    profile, rng = load_profile(name), random.Random(1)
    space = build_space(SpaceConfig("proxyless_small", 64, 10))
    archs = [space.sample(rng) for _ in range(10)]
    paths = [build_model(space.ops(arch), profile, tmp_path, f"model{i}") for i, arch in enumerate(archs)]
    memories = [open_device(profile).peak_memory(path, 60.0) for path in paths]
    assert [memory.error for memory in memories] == [""] * len(paths)
    measured = {
        "file_mb": [path.stat().st_size / 1e6 for path in paths],
        "peak_memory_mb": [memory.peak_mb for memory in memories],
    }
    errors_pct = {metric: fit_footprint(space, archs, measured[metric]).mape_pct for metric in METRICS}
    assert errors_pct["file_mb"] < 0.5
    assert errors_pct["peak_memory_mb"] < 15  # 4 % from 12 networks; these are two fewer, left out one by one
