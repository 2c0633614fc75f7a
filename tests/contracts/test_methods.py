"""What every search method must do on every space: train, and give candidates that keep the budget."""

import random
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from hwnas.datasets import ImageSet
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute
from hwnas.search import METHODS, Budget, FromProbabilities, Limit, Paths, Probabilities, Shrinking
from hwnas.search.methods import BY_REWARD
from hwnas.spaces import SPACES, SpaceConfig, build_space, extremes
from hwnas.spaces.darts import darts
from hwnas.spaces.macs import op_macs
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.supernet import (
    PATH_SAMPLERS,
    RELAXATIONS,
    WAYS,
    ArchitectureConfig,
    PathJudge,
    architecture_search,
    calibration_batches,
    progressive_shrinking,
    supernet_training,
)
from hwnas.train import Recipe

CPU, SIDE = Compute("cpu"), 32
TYPICAL = ("proxyless_small", "nas_bench_macro", "nas_bench_201")  # chains with skips and with shortcuts; a graph
ELASTIC, AT_RESOLUTIONS = "proxyless_small_elastic", ("spos", "ofa", "proxyless", "darts")  # a way each of training
OTHERS = [
    (name, space_name)
    for name in METHODS
    for space_name in sorted(set(SPACES) - set(TYPICAL))
    if space_name != ELASTIC or name not in AT_RESOLUTIONS
]


def images_of(count):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 255, (count, 3, SIDE, SIDE), dtype=np.uint8), np.arange(count) % 4)


def space_of(name):
    """The smallest of the name: of a network of cells one cell."""
    small = {"darts": partial(darts, layers=1), "nas_bench_201": partial(nas_bench_201, cells=1)}
    return small[name](SIDE, 0.25, 4) if name in small else build_space(SpaceConfig(name, SIDE, 4, width_mult=0.25))


def near(space):
    """How much of a budget the first candidate may leave: a space of few networks has none so near."""
    return 0.03 if space.size > 100_000 else 0.25


def test_every_part_of_a_method_is_there():
    for method in METHODS.values():
        match method.trains:
            case Paths(sampler=sampler):
                drawn = PATH_SAMPLERS[sampler](space_of("proxyless_small"), random.Random(0), lambda arch: 1.0)
                assert method.paths in (1, len(drawn))  # 1 also where the number is the space's
            case Probabilities(relaxation=relaxation):
                assert relaxation in WAYS
                assert (relaxation in BY_REWARD) == (relaxation not in RELAXATIONS)
                ArchitectureConfig(**asdict(method.trains))


def training_of(method, space, images, folder, predictor, target_ms):
    """The training of a method, and what chooses architectures where it trains that."""
    recipe = Recipe(epochs=2, batch_size=8, flip=False)
    match method.trains:
        case Paths(sampler=sampler, distil=distil):
            paths = PATH_SAMPLERS[sampler]
            return supernet_training(
                space, images, recipe, CPU, 0, folder, paths, distil, cost_of=predictor.arch_ms
            ), None
        case Shrinking():
            return progressive_shrinking(space, images, recipe, CPU, 0, folder), None
    config = ArchitectureConfig(**asdict(method.trains) | {"every": 1, "batch_size": 8})
    return architecture_search(space, images, images, recipe, CPU, 0, folder, config, predictor, target_ms)


def check(name, space_name, folder):
    method, space = METHODS[name], space_of(space_name)
    predictor = TablePredictor(space, {k: 0.01 + op_macs(s) / 1e7 for k, s in rows_to_measure(space).items()})
    low_ms, high_ms = map(predictor.arch_ms, extremes(space))
    target_ms, images = low_ms + 0.4 * (high_ms - low_ms), images_of(16)
    training, chosen = training_of(method, space, images, folder, predictor, target_ms)
    training.run()
    assert all(np.isfinite(record["loss"]) for record in training.history())
    judge = PathJudge(training.module, calibration_batches(images, SIDE, 1, 16, CPU), images, SIDE, CPU)
    budget = Budget(space, (Limit("latency_ms", predictor.latency_ms, target_ms),))
    if chosen is None:
        candidates = [budget.sample(random.Random(0))]
    else:
        strategy = FromProbabilities(budget, 0, chosen.table(), chosen.draw)
        candidates = [strategy.ask() for _ in range(3)]
        assert budget.excess(candidates)[0] >= -near(space)
    assert all(budget.holds(arch) for arch in candidates)
    judged = judge(candidates[0])
    assert 0 <= judged.accuracy <= 1
    assert 0 < judged.likelihood < 1


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("space_name", TYPICAL)
def test_it_trains_and_its_candidates_keep_the_budget(name, space_name, tmp_path):
    check(name, space_name, tmp_path)


@pytest.mark.parametrize("name", AT_RESOLUTIONS)
def test_so_it_does_where_the_resolution_is_a_choice(name, tmp_path):
    check(name, ELASTIC, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "space_name"), OTHERS)
def test_so_it_does_on_every_other_space(name, space_name, tmp_path):
    check(name, space_name, tmp_path)
