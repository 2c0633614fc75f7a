"""Probabilities are trained beside the weights: they find what is accurate, and land on the target."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute, Supernet
from hwnas.objective import LATENCY_LOSSES
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.spaces.macs import op_macs
from hwnas.supernet import RELAXATIONS, WAYS, ArchitectureConfig, ArchitectureTraining, architecture_search
from hwnas.supernet.architecture import keep_share
from hwnas.train import Recipe

CPU = Compute("cpu")
SPACE = build_space(SpaceConfig("proxyless_small", 16, 4, width_mult=0.25))
PREDICTOR = TablePredictor(SPACE, {k: 0.01 + op_macs(s) / 1e7 for k, s in rows_to_measure(SPACE).items()})
LR = {"controller": 0.0035}  # as `enas` has it


def images_of(count, seed=0):
    """Four classes by which quarter of the image is bright."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 120, (count, 3, 16, 16), dtype=np.uint8), np.arange(count) % 4
    for quarter in range(4):
        rows, columns = (
            slice(8 * (quarter // 2), 8 * (quarter // 2) + 8),
            slice(8 * (quarter % 2), 8 * (quarter % 2) + 8),
        )
        images[labels == quarter, :, rows, columns] += 100
    return ImageSet(images, labels.astype(np.int64))


def search_of(folder, relaxation, epochs=3, share=0.5, loss="adaptive", **config):
    smallest, largest = (PREDICTOR.arch_ms(arch) for arch in extremes(SPACE))
    target_ms = smallest + share * (largest - smallest)
    recipe = Recipe(epochs=epochs, batch_size=16, flip=False)
    settings = ArchitectureConfig(relaxation=relaxation, loss=loss, every=1, batch_size=16, **config)
    images = images_of(64), images_of(64, seed=1)
    training, chosen = architecture_search(SPACE, *images, recipe, CPU, 3, folder, settings, PREDICTOR, target_ms)
    return training, chosen, target_ms


def certain_of(arch):
    """Parameters that leave no doubt."""
    counts = [len(d.choices) for d in SPACE.decisions]
    alpha = torch.full((len(counts), max(counts)), -torch.inf)
    for d, (count, choice) in enumerate(zip(counts, arch, strict=True)):
        alpha[d, :count] = 0.0
        alpha[d, choice] = 200.0
    return alpha


@pytest.mark.parametrize("name", RELAXATIONS)
def test_gates_sum_to_one_and_certain_ones_are_the_path(name):
    torch.manual_seed(0)
    net, arch = Supernet(SPACE).eval(), SPACE.sample(random.Random(0))
    gates = RELAXATIONS[name](certain_of(arch), 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(gates.weight.sum(1), torch.ones(len(arch)))
    assert all(choice in active for active, choice in zip(gates.active, arch, strict=True))
    x = torch.randn(2, *SPACE.input_shape)
    torch.testing.assert_close(net.mixed(x, gates.of_decisions()), net(x, arch), rtol=1e-4, atol=1e-4)


def test_two_paths_have_the_gradient_of_the_paper():
    """dL/d alpha_i = sum over the two j of dL/dg_j p_j (delta_ij - p_i), p over the two."""
    alpha = nn.Parameter(torch.tensor([[0.3, -0.2, 0.5, 0.0], [0.1, 0.2, -torch.inf, -torch.inf]]))
    gates = RELAXATIONS["two_paths"](alpha, 1.0, torch.Generator().manual_seed(1))
    d_gates = torch.tensor([[0.7, -1.3, 0.4, 2.0], [1.0, -0.5, 0.0, 0.0]])
    (gates.weight * d_gates).sum().backward()
    expected = torch.zeros(2, 4)
    for d in range(2):
        pair = [*gates.active[d], *gates.silent[d]]
        p = alpha.detach()[d, pair].softmax(0)
        for i, place in enumerate(pair):
            expected[d, place] = sum(d_gates[d, q] * p[j] * (float(i == j) - p[i]) for j, q in enumerate(pair))
    torch.testing.assert_close(alpha.grad, expected)
    assert gates.weight.detach().tolist() == [[float([i] == active) for i in range(4)] for active in gates.active]


def test_rescaling_leaves_the_others_as_likely_as_they_were():
    before = torch.tensor([[0.3, -0.2, 0.5, 0.0]])
    alpha = before + torch.tensor([[0.4, 0.0, -0.1, 0.0]])
    keep_share(alpha, before, [[0, 2]])
    torch.testing.assert_close(alpha.softmax(1)[:, [1, 3]], before.softmax(1)[:, [1, 3]])


@pytest.mark.parametrize("relaxation", WAYS)
def test_it_runs_and_resumes_to_the_same_bits(tmp_path, relaxation):
    def run(folder, stop_after=99):
        training, chosen, _ = search_of(folder, relaxation)

        def on_epoch(epoch, record):
            if epoch == stop_after:
                raise KeyboardInterrupt

        training.run(on_epoch=on_epoch)
        return training, chosen

    whole, theirs = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", stop_after=2)
    part, mine = run(tmp_path / "part")
    assert mine.table() == theirs.table()
    assert mine.table() != [[1 / len(d.choices)] * len(d.choices) for d in SPACE.decisions]
    assert (mine.latency_weight, mine.baseline) == (theirs.latency_weight, theirs.baseline)
    for a, b in zip(part.module.parameters(), whole.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    histories = ([{**r, "seconds": 0} for r in training.history()] for training in (part, whole))
    assert next(histories) == next(histories)


def test_nothing_but_the_parameters_moves_in_their_step(tmp_path):
    _, chosen, _ = search_of(tmp_path, "two_paths")
    chosen.net.eval()
    before = {name: value.clone() for name, value in chosen.net.state_dict().items()}
    chosen.after_step(chosen.warmup_steps)
    for name, value in chosen.net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(p.requires_grad and p.grad is None for p in chosen.net.parameters())


class Toy(nn.Module):
    """A super-network whose loss is known: an image's class is told with a confidence that grows with latency."""

    def __init__(self):
        super().__init__()
        self.space = SPACE

    def confidence(self, expected_ms):
        return 3 * torch.log1p(expected_ms / PREDICTOR.arch_ms(extremes(SPACE)[0]))

    def mixed(self, x, gates):
        logits = torch.zeros(len(x), 4)
        logits[:, 0] = self.confidence(PREDICTOR.expected_ms([gate.weight for gate in gates]))
        return logits

    def __call__(self, x, arch):
        right = torch.rand(len(x), generator=torch.Generator().manual_seed(sum(arch))) < 0.25 * self.confidence(
            torch.tensor(PREDICTOR.arch_ms(arch))
        )
        return torch.nn.functional.one_hot((~right).long(), 4).float()


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("relaxation", WAYS)
def test_the_expectation_lands_on_the_target(relaxation, share):
    smallest, largest = (PREDICTOR.arch_ms(arch) for arch in extremes(SPACE))
    target_ms = smallest + share * (largest - smallest)
    images = ImageSet(np.zeros((64, 3, 16, 16), np.uint8), np.zeros(64, np.int64))
    config = ArchitectureConfig(relaxation=relaxation, warmup_share=0.0, every=1, lr=LR.get(relaxation, 0.05))
    chosen = ArchitectureTraining(Toy(), PREDICTOR, target_ms, images, CPU, config, 0, 1500)
    for step in range(1500):
        chosen.after_step(step)
    assert chosen.record()["expected_ms"] == pytest.approx(target_ms, rel=0.1)


@pytest.mark.parametrize("name", LATENCY_LOSSES)
def test_published_losses_want_less_latency_above_the_target_also_below_a_millisecond(name):
    for target_ms in (0.05, 80.0):
        expected_ms = torch.tensor(1.5 * target_ms, requires_grad=True)
        LATENCY_LOSSES[name](target_ms)(torch.tensor(1.2), expected_ms).backward()
        assert expected_ms.grad > 0


def test_parameters_of_another_space_are_refused(tmp_path):
    _, chosen, _ = search_of(tmp_path, "two_paths")
    state = chosen.state_dict()
    with pytest.raises(UserError, match="of another space or method"):
        chosen.load_state_dict({**state, "policy": {"alpha": state["policy"]["alpha"][1:]}})


def test_a_loss_that_is_no_number_ends_with_advice(tmp_path):
    _, chosen, _ = search_of(tmp_path, "two_paths")
    chosen.expected_ms = lambda step: chosen.alpha[0, 0] * float("nan")
    with pytest.raises(UserError, match=r"diverged.*lower the learning rates"):
        chosen.after_step(chosen.warmup_steps)
