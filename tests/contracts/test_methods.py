"""What every search method must do on every space: train, and give candidates that keep the budget."""

import random

import numpy as np
import pytest

from hwnas.datasets import ImageSet
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute
from hwnas.search import METHODS, Budget, FromProbabilities, Limit
from hwnas.spaces import SPACES, SpaceConfig, build_space, extremes
from hwnas.spaces.macs import op_macs
from hwnas.supernet import (
    PATH_SAMPLERS,
    RELAXATIONS,
    ArchitectureConfig,
    PathAccuracy,
    architecture_search,
    calibration_batches,
    supernet_training,
)
from hwnas.train import Recipe

CPU, SIDE = Compute("cpu"), 32
LIKE_ANOTHER = {"proxyless_24", "mobilenet_v2", "fbnet_1504"}  # the same function of another space's name
MANY_OPTIONS = 30  # of a slot: a method that runs them all takes half a minute


def images_of(count):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 255, (count, 3, SIDE, SIDE), dtype=np.uint8), np.arange(count) % 4)


def near(space):
    """How much of a budget the first candidate may leave: a space of few networks has none so near."""
    return 0.03 if space.size > 10_000 else 0.25


def test_every_part_of_a_method_is_there():
    for method in METHODS.values():
        assert (method.paths is None) != (method.relaxation is None)
        assert method.paths in {None, *PATH_SAMPLERS}
        assert method.relaxation in {None, "reinforce", *RELAXATIONS}
        assert (method.candidates == "sampled") == (method.relaxation is not None)


def cases():
    """Every method on every space; among the slow tests what takes long, or tells little that is new."""
    found = []
    for space_name in SPACES:
        options = max(len(slot.options) for slot in build_space(SpaceConfig(space_name, SIDE, 4)).slots)
        for name, method in METHODS.items():
            runs_all = method.relaxation in ("softmax", "gumbel") or method.paths == "fair"
            takes_long = options > MANY_OPTIONS and runs_all
            slow = [pytest.mark.slow] if takes_long or space_name in LIKE_ANOTHER else []
            found.append(pytest.param(name, space_name, marks=slow, id=f"{name}-{space_name}"))
    return found


@pytest.mark.parametrize(("name", "space_name"), cases())
def test_it_trains_and_its_candidates_keep_the_budget(name, space_name, tmp_path):
    method, space = METHODS[name], build_space(SpaceConfig(space_name, SIDE, 4, width_mult=0.25))
    predictor = TablePredictor(space, {k: 0.01 + op_macs(s) / 1e7 for k, s in rows_to_measure(space).items()})
    low_ms, high_ms = map(predictor.arch_ms, extremes(space))
    target_ms = low_ms + 0.4 * (high_ms - low_ms)
    recipe, images = Recipe(epochs=2, batch_size=8, flip=False), images_of(16)
    if method.relaxation is None:
        paths = PATH_SAMPLERS[method.paths]
        training = supernet_training(space, images, recipe, CPU, 0, tmp_path, paths, method.distil)
    else:
        config = ArchitectureConfig(relaxation=method.relaxation, every=1, batch_size=8)
        training, chosen = architecture_search(
            space, images, images, recipe, CPU, 0, tmp_path, config, predictor.expected_ms, target_ms
        )
    training.run()
    assert all(np.isfinite(record["loss"]) for record in training.history())
    accuracy = PathAccuracy(training.module, calibration_batches(images, SIDE, 1, 16, CPU), images, SIDE, CPU)
    budget = Budget(space, (Limit("latency_ms", predictor.arch_ms, target_ms),))
    if method.relaxation is None:
        candidates = [budget.sample(random.Random(0))]
    else:
        strategy = FromProbabilities(budget, 0, chosen.table())
        candidates = [strategy.ask() for _ in range(3)]
        assert budget.excess(candidates[0]) >= -near(space)
    assert all(budget.holds(arch) for arch in candidates)
    assert 0 <= accuracy(candidates[0]) <= 1
