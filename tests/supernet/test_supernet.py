"""Shared weights: recalibration is exact, every candidate starts from the same state."""

import random

import numpy as np
import pytest
import torch

from hwnas.datasets import ImageSet
from hwnas.nn import Compute, Supernet
from hwnas.spaces import SpaceConfig, build_space, extremes, macs
from hwnas.supernet import PATH_SAMPLERS, PathJudge, calibration_batches, recalibrate, supernet_training
from hwnas.train import Recipe, corrupted

CPU = Compute("cpu")
SPACE = build_space(SpaceConfig("proxyless_small", 32, 4, width_mult=0.25))


def images_of(count):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 255, (count, 3, 32, 32), dtype=np.uint8), np.arange(count) % 4)


def million_macs(arch):
    return macs(SPACE.ops(arch)) / 1e6


def test_paths_uniform_over_cost_are_as_often_cheap_as_dear():
    rng = random.Random(0)
    low, high = map(million_macs, extremes(SPACE))

    def in_quarters(sampler):
        costs = [million_macs(sampler(SPACE, rng, million_macs)[0]) for _ in range(400)]
        return np.histogram(costs, 4, (low, high))[0] / 400

    assert in_quarters(PATH_SAMPLERS["uniform_cost"]).min() > 0.18
    assert in_quarters(PATH_SAMPLERS["uniform"]).min() < 0.05


def test_a_cost_that_no_path_has_is_not_looked_for_without_end():
    first = {0: 0.0, 1: 0.0, 2: 1.0}  # nothing between: of a space of two decisions
    (arch,) = PATH_SAMPLERS["uniform_cost"](SPACE, random.Random(3), lambda arch: first[min(arch[0], 2)])
    assert SPACE.check(arch) is None


@pytest.mark.parametrize("name", PATH_SAMPLERS)
def test_paths_are_legal_and_cover_every_choice(name):
    rng = random.Random(0)
    paths = [path for _ in range(200) for path in PATH_SAMPLERS[name](SPACE, rng, million_macs)]
    for column, decision in zip(zip(*paths, strict=True), SPACE.decisions, strict=True):
        assert set(column) == set(range(len(decision.choices)))


def test_recalibration_sees_every_class_of_images_that_are_sorted_by_class():
    images = ImageSet(
        np.repeat(np.arange(4, dtype=np.uint8), 64)[:, None, None, None] * np.ones((1, 3, 32, 32), "u1"),
        np.repeat(np.arange(4), 64),
    )
    (batch,) = calibration_batches(images, 32, 1, 32, CPU)
    assert len(batch.unique()) == 4


def test_no_batch_of_recalibration_is_a_single_image():
    assert [len(b) for b in calibration_batches(images_of(17), 32, 4, 8, CPU)] == [8, 8]


def test_recalibrated_statistics_are_the_plain_mean_over_the_batches():
    net, arch = Supernet(SPACE), SPACE.sample(random.Random(0))
    batches = calibration_batches(images_of(24), 32, 3, 8, CPU)
    assert [len(b) for b in batches] == [8, 8, 8]
    recalibrate(net, arch, batches, CPU)
    stem = net.slots[0].blocks[0].layers[0]
    with torch.no_grad():
        means = torch.stack([stem.conv(b).mean((0, 2, 3)) for b in batches])
    torch.testing.assert_close(stem.bn.running_mean, means.mean(0))
    assert stem.bn.momentum == 0.1  # restored, so that training goes on as before


def test_a_batch_that_raises_leaves_the_momentum_as_it_was():
    net, arch = Supernet(SPACE), SPACE.sample(random.Random(0))
    with pytest.raises(RuntimeError):
        recalibrate(net, arch, [torch.zeros(8, 5, 32, 32)], CPU)
    assert {m.momentum for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {0.1}
    assert not net.training


def test_a_step_moves_nothing_of_an_operator_that_did_not_run(tmp_path):
    """No weight decay and no momentum of it either: a gradient of zeros would bring both."""
    space = build_space(SpaceConfig("mobilenet_v3_large", 32, 4, width_mult=0.25))
    archs = [tuple(0 for _ in space.decisions), tuple(len(d.choices) - 1 for d in space.decisions)]
    recipe = Recipe(epochs=1, batch_size=16, flip=False, weight_decay=0.1)
    training = supernet_training(space, images_of(16 * len(archs)), recipe, CPU, 5, tmp_path, lambda *_: [archs.pop(0)])
    seen = []

    def spied(*arguments):
        before = {name: value.clone() for name, value in training.module.named_parameters()}
        loss = step(*arguments)
        named = dict(training.module.named_parameters())
        idle = {name for name, value in named.items() if value.grad is None}
        seen.append((idle, {name for name, value in named.items() if not torch.equal(value, before[name])}))
        return loss

    step, training._step = training._step, spied
    training.run()
    (idle_first, moved_first), (idle, moved) = seen
    assert idle - idle_first  # these ran in the first step only, so they have momentum
    assert not idle & moved
    assert not idle_first & moved_first
    assert moved


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_moves_no_slice_that_only_other_operators_use(tmp_path, optimizer):
    """Options of a slot are slices of one weight, and what a path leaves out of it has a gradient of zeros."""
    space = build_space(SpaceConfig("proxyless_small", 32, 4))
    largest, smallest = (tuple(of(range(len(d.choices))) for d in space.decisions) for of in (max, min))
    archs = [largest, smallest]
    recipe = Recipe(epochs=1, batch_size=16, flip=False, weight_decay=0.1, optimizer=optimizer)
    training = supernet_training(space, images_of(16 * len(archs)), recipe, CPU, 5, tmp_path, lambda *_: [archs.pop(0)])
    moved = []

    def spied(*arguments):
        before = {name: value.detach().clone() for name, value in training.module.named_parameters()}
        loss = step(*arguments)
        named = dict(training.module.named_parameters())
        moved.append({name: value != before[name] for name, value in named.items()})
        return loss

    step, training._step = training._step, spied
    training.run()
    depthwise = "slots.2.blocks.0.layers.1.weight"
    assert moved[0][depthwise].all()  # so it has momentum everywhere
    own = sum(p.numel() for p in training.module.network(smallest).parameters())
    assert 0.99 * own < sum(int(value.sum()) for value in moved[1].values()) <= own  # some move less than they round
    assert not moved[1][depthwise].all()


def test_the_judgement_of_a_path_does_not_depend_on_what_was_evaluated_before():
    net, rng = Supernet(SPACE), random.Random(1)
    first, second = SPACE.sample(rng), SPACE.sample(rng)
    images = images_of(64)
    judge = PathJudge(net, calibration_batches(images, 32, 2, 16, CPU), images, 32, CPU)
    weights = [p.clone() for p in net.parameters()]
    alone = judge(first)
    judge(second)
    assert judge(first) == alone
    for old, new in zip(weights, net.parameters(), strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_a_robust_judgement_is_of_all_images_as_they_are_and_corrupted():
    net, images = Supernet(SPACE), images_of(64)
    arch, batches = SPACE.sample(random.Random(1)), calibration_batches(images, 32, 2, 16, CPU)
    plain, both = (PathJudge(net, batches, images, 32, CPU, robust)(arch) for robust in (False, True))
    changed = torch.from_numpy(np.array(images.images))
    only = PathJudge(net, batches, ImageSet(corrupted(changed, range(64)).numpy(), images.labels), 32, CPU)(arch)
    assert both.accuracy == pytest.approx((plain.accuracy + only.accuracy) / 2)
    assert both.likelihood == pytest.approx((plain.likelihood * only.likelihood) ** 0.5)
    assert only.likelihood != plain.likelihood


def test_training_samples_the_same_paths_after_a_resume(tmp_path):
    recipe = Recipe(epochs=2, batch_size=16, flip=False)

    def run(folder, stop_after=99):
        training = supernet_training(SPACE, images_of(48), recipe, CPU, 5, folder)

        def on_epoch(epoch, record):
            if epoch == stop_after:
                raise KeyboardInterrupt

        training.run(on_epoch=on_epoch)
        return training

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", stop_after=1)
    part = run(tmp_path / "part")
    assert [r["loss"] for r in part.history()] == [r["loss"] for r in whole.history()]
    for mine, theirs in zip(part.module.parameters(), whole.module.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
