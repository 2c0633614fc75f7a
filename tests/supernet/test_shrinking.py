"""Progressive shrinking: phases follow from the operators, the largest network teaches, a kill changes nothing."""

import itertools
import random

import numpy as np
import pytest
import torch

from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.nn import Compute
from hwnas.spaces import SPACES, SpaceConfig, build_space, extremes
from hwnas.supernet import progressive_shrinking
from hwnas.supernet.phases import phases
from hwnas.train import Recipe

CPU = Compute("cpu")
SPACE = build_space(SpaceConfig("mobilenet_v3", 224, 1000))
SMALL = build_space(SpaceConfig("proxyless_small", 16, 4, width_mult=0.25))


def names_in(phase, space, d):
    return {space.decisions[d].choices[choice] for choice in phase.choices[d]}


def images_of(count):
    rng = np.random.default_rng(0)
    return ImageSet(rng.integers(0, 255, (count, 3, 16, 16), dtype=np.uint8), np.arange(count) % 4)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_phases_from_the_largest_network_to_all(name):
    space = build_space(SpaceConfig(name, 32, 4))
    found = phases(space)
    every = [tuple(range(len(d.choices))) for d in space.decisions]
    largest = [(choice,) for choice in extremes(space)[1]]
    assert list(found[0].choices) == [every[d] if d == space.resolution else of for d, of in enumerate(largest)]
    assert found[-1].choices == tuple(every)
    assert sum(phase.share for phase in found) == pytest.approx(1)
    for before, after in itertools.pairwise(found):
        assert before.choices != after.choices
        assert all(set(a) <= set(b) for a, b in zip(before.choices, after.choices, strict=True))


def test_the_phases_of_once_for_alls_own_space_are_the_published_ones():
    found = {phase.name: phase for phase in phases(SPACE)}
    assert list(found) == [
        "largest",
        "kernels",
        "last layers' depths",
        "depths",
        "wide expansions",
        "expansions",
    ]
    kernels = {"k3e6", "k5e6", "k7e6"}
    assert names_in(found["kernels"], SPACE, 0) == names_in(found["kernels"], SPACE, 3) == kernels
    assert names_in(found["last layers' depths"], SPACE, 3) == kernels | {"skip"}  # the last of the first stage
    assert names_in(found["last layers' depths"], SPACE, 2) == kernels
    assert names_in(found["depths"], SPACE, 2) == kernels | {"skip"}
    assert names_in(found["wide expansions"], SPACE, 0) == kernels | {"k3e4", "k5e4", "k7e4"}
    assert [phase.paths for phase in found.values()] == [1, 1, 2, 2, 4, 4]
    assert [phase.sorts for phase in found.values()] == [False] * 4 + [True] * 2
    assert found["largest"].share == pytest.approx(180 / 590)


def test_spaces_without_kernels_or_expansions_have_fewer_phases():
    macro = build_space(SpaceConfig("nas_bench_macro", 32, 10))  # kernel and expansion are one choice
    assert [phase.name for phase in phases(macro)] == ["largest", "last layers' depths", "depths", "expansions"]
    bottlenecks = build_space(SpaceConfig("mobilenet_v4", 32, 10))  # two kernels, each of which may be left out
    kernels = next(phase for phase in phases(bottlenecks) if phase.name == "kernels")
    assert names_in(kernels, bottlenecks, 0) == {"extra33", "extra35", "extra53", "extra55"}
    large = build_space(SpaceConfig("mobilenet_v3_large", 32, 10))
    assert "expansions" not in [phase.name for phase in phases(large)]


def run(folder, stop_after=99, epochs=6):
    training = progressive_shrinking(
        SMALL, images_of(32), Recipe(epochs=epochs, batch_size=8, flip=False), CPU, 0, folder
    )

    def on_epoch(epoch, record):
        if epoch == stop_after:
            raise KeyboardInterrupt

    training.run(on_epoch=on_epoch)
    return training


def test_it_resumes_to_the_same_bits_in_every_phase(tmp_path):
    whole = run(tmp_path / "whole")
    names = [record["phase"] for record in whole.history()]
    assert names[0] == "largest"
    assert names[-1] == "expansions"
    assert len(set(names)) >= 4
    for stop_after in (2, 5):  # the largest network's training just over; between sorted phases
        folder = tmp_path / str(stop_after)
        with pytest.raises(KeyboardInterrupt):
            run(folder, stop_after)
        part = run(folder)
        assert [r["loss"] for r in part.history()] == [r["loss"] for r in whole.history()]
        for mine, theirs in zip(part.module.parameters(), whole.module.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_the_teacher_is_the_largest_network_as_its_training_left_it(tmp_path):
    training = progressive_shrinking(SMALL, images_of(16), Recipe(epochs=1, batch_size=8), CPU, 0, tmp_path)
    training.optimizer = torch.optim.SGD(training.module.parameters(), lr=0.1, momentum=0.9)
    shrinking, largest = training.companion, extremes(SMALL)[1]
    shrinking.starts = [0, 1, 2, 3, 4][: len(shrinking.phases)]
    assert shrinking.archs(random.Random(0)) == [largest]
    x = torch.randn(4, *SMALL.input_shape)
    assert shrinking.soft_labels(x, largest) is None
    with torch.no_grad():
        said = training.module.eval()(x, largest).softmax(1)
    shrinking.after_step(0)
    with torch.no_grad():
        for parameter in training.module.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(shrinking.soft_labels(x, largest), said)
    assert len({arch for seed in range(20) for arch in shrinking.archs(random.Random(seed))}) > 10


def test_a_step_is_of_one_resolution_for_all_its_paths_and_the_teacher(tmp_path):
    space = build_space(SpaceConfig("proxyless_small_elastic", 32, 4, width_mult=0.25))
    training = progressive_shrinking(space, images_of(16), Recipe(epochs=1, batch_size=8), CPU, 0, tmp_path)
    training.optimizer = torch.optim.SGD(training.module.parameters(), lr=0.1)
    shrinking, largest = training.companion, extremes(space)[1]
    first = [shrinking.archs(random.Random(seed)) for seed in range(20)]
    assert {arch for (arch,) in first} == {(side, *largest[1:]) for side in range(4)}
    shrinking.starts = list(range(len(shrinking.phases)))
    shrinking.after_step(0)
    x, smallest = torch.randn(4, 3, 32, 32), (3, *largest[1:])
    with torch.no_grad():
        said = training.module.eval()(x, smallest).softmax(1)
    torch.testing.assert_close(shrinking.soft_labels(x, smallest), said)
    shrinking.after_step(99)
    steps = [shrinking.archs(random.Random(seed)) for seed in range(20)]
    assert {len(archs) for archs in steps} == {4}
    assert all(len({arch[0] for arch in archs}) == 1 for archs in steps)
    assert len({archs[0][0] for archs in steps}) == 4


def test_the_transforms_of_kernels_are_trained(tmp_path):
    training = run(tmp_path)
    matrices = [value for name, value in training.module.named_parameters() if "transforms" in name]
    assert matrices
    assert any(not torch.equal(matrix, torch.eye(len(matrix))) for matrix in matrices)


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    training = progressive_shrinking(SMALL, images_of(16), Recipe(epochs=1, batch_size=8), CPU, 0, tmp_path)
    with pytest.raises(UserError, match="of another space or method"):
        training.companion.load_state_dict({"policy": {}})
