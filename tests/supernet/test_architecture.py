"""Probabilities are trained beside the weights: they find what is accurate, and land on the target."""

import math
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
from hwnas.search import METHODS, Budget, FromProbabilities, Limit
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.spaces.macs import op_macs
from hwnas.supernet import (
    RELAXATIONS,
    WAYS,
    ArchitectureConfig,
    ArchitectureTraining,
    architecture_search,
    supernet_training,
)
from hwnas.supernet.architecture import LOSSES, keep_share
from hwnas.train import Recipe, load_checkpoint

CPU = Compute("cpu")
SPACE = build_space(SpaceConfig("proxyless_small", 16, 4, width_mult=0.25))
PREDICTOR = TablePredictor(SPACE, {k: 0.01 + op_macs(s) / 1e7 for k, s in rows_to_measure(SPACE).items()})


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


TWICE = pytest.param(
    "softmax", True, marks=pytest.mark.slow
)  # second order: tests/supernet/test_unrolled.py has its parts


@pytest.mark.parametrize(("relaxation", "unrolled"), [*((way, False) for way in WAYS), TWICE])
def test_it_runs_and_resumes_to_the_same_bits(tmp_path, relaxation, unrolled):
    def run(folder, stop_after=99):
        training, chosen, _ = search_of(folder, relaxation, unrolled=unrolled, warmup_share=0.5)

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


@pytest.mark.parametrize(("relaxation", "unrolled"), [("two_paths", False), ("softmax", True), ("controller", False)])
def test_nothing_but_the_parameters_moves_in_their_step(tmp_path, relaxation, unrolled):
    _, chosen, _ = search_of(tmp_path, relaxation, unrolled=unrolled)
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


def toy_search(target_ms, steps, reward=None, predictor=PREDICTOR, **config):
    """Probabilities trained on the toy alone."""
    images = ImageSet(np.zeros((64, 3, 16, 16), np.uint8), np.zeros(64, np.int64))
    settings = ArchitectureConfig(warmup_share=0.0, every=1, **config)
    chosen = ArchitectureTraining(Toy(), predictor, target_ms, images, CPU, settings, 0, steps, reward)
    for step in range(steps):
        chosen.after_step(step)
    return chosen


def target_at(share, predictor=PREDICTOR):
    smallest, largest = (predictor.arch_ms(arch) for arch in extremes(SPACE))
    return smallest + share * (largest - smallest)


@pytest.mark.parametrize("share", [0.2, pytest.param(0.6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("relaxation", [*RELAXATIONS, "reinforce"])
def test_the_expectation_lands_on_the_target(relaxation, share):
    steps = 800 if relaxation in ("two_paths", "reinforce") else 400  # these move few options a step
    chosen = toy_search(target_at(share), steps, relaxation=relaxation)
    assert chosen.record()["expected_ms"] == pytest.approx(target_at(share), rel=0.1)


def test_the_expectation_of_a_controller_lands_on_the_target():
    chosen = toy_search(target_at(0.2), 350, relaxation="controller", lr=0.0035)
    assert chosen.record()["expected_ms"] == pytest.approx(target_at(0.2), rel=0.1)


@pytest.mark.parametrize(("relaxation", "lr"), [("reinforce", 0.05), ("controller", 0.0035)])
def test_a_two_sided_reward_lands_without_a_loss_of_latency(relaxation, lr):
    target_ms = target_at(0.2)

    def reward(accuracy, arch):
        return accuracy - 2 * abs(PREDICTOR.arch_ms(arch) / target_ms - 1)

    before = toy_search(target_ms, 1, relaxation=relaxation, lr=lr).record()["expected_ms"]
    chosen = toy_search(target_ms, 150, reward, relaxation=relaxation, lr=lr, samples=8)
    after = chosen.record()["expected_ms"]
    assert abs(after / target_ms - 1) < 0.3 * abs(before / target_ms - 1)
    assert chosen.latency_weight == 0.0


@pytest.mark.parametrize("slowness", [0.01, 100.0])  # budgets far below a millisecond, and above
@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_the_loss_the_first_candidate_is_on_the_budget(loss, slowness):
    op_ms = {k: slowness * (0.01 + op_macs(s) / 1e7) for k, s in rows_to_measure(SPACE).items()}
    predictor = TablePredictor(SPACE, op_ms)
    target_ms = target_at(0.4, predictor)
    chosen = toy_search(target_ms, 100, predictor=predictor, relaxation="softmax", loss=loss)
    budget = Budget(SPACE, (Limit("latency_ms", predictor.latency_ms, target_ms),))
    first = FromProbabilities(budget, 0, chosen.table(), chosen.draw).ask()
    assert 0.97 * target_ms <= predictor.arch_ms(first) <= target_ms


def test_the_temperature_is_fbnets_over_the_epochs_of_the_run(tmp_path):
    epochs = 30  # instead of 90
    _, chosen, _ = search_of(tmp_path, "gumbel", epochs=epochs, warmup_share=METHODS["fbnet"].trains.warmup_share)
    per_epoch = chosen.steps // epochs
    for epoch in (0, 10, 30):
        assert chosen.temperature(epoch * per_epoch) == pytest.approx(5.0 * math.exp(-0.045 * epoch * 90 / epochs))
    assert chosen.temperature(chosen.steps) == pytest.approx(0.09, abs=0.005)
    assert chosen.warmup_steps == pytest.approx(10 / 90 * chosen.steps, abs=1)


@pytest.mark.parametrize("name", LATENCY_LOSSES)
def test_published_losses_want_less_latency_above_the_target_also_below_a_millisecond(name):
    for target_ms in (0.05, 80.0):
        expected_ms = torch.tensor(1.5 * target_ms, requires_grad=True)
        loss_of(name, target_ms)(torch.tensor(1.2), expected_ms).backward()
        assert expected_ms.grad > 0


def loss_of(name, target_ms):
    return LATENCY_LOSSES[name].of(target_ms, LATENCY_LOSSES[name].default)


@pytest.mark.parametrize("name", LATENCY_LOSSES)
def test_published_losses_are_the_same_at_the_same_share_of_any_target(name):
    found = []
    for target_ms in (0.05, 3.0, 80.0):
        expected_ms = torch.tensor(0.7 * target_ms, requires_grad=True)
        loss = loss_of(name, target_ms)(torch.tensor(1.2), expected_ms)
        loss.backward()
        found.append((loss.item(), expected_ms.grad.item() * target_ms))
    for value, gradient in found:
        assert (value, gradient) == pytest.approx(found[-1], rel=1e-4)


def test_the_product_is_proxylessnas_own_in_milliseconds_at_its_own_target():
    loss = LATENCY_LOSSES["log-product"].of(80.0, 0.3)(torch.tensor(1.2), torch.tensor(95.0))
    assert loss.item() == pytest.approx(1.2 * (math.log(95.0) / math.log(80.0)) ** 0.3)


def test_the_product_stays_a_number_however_fast_the_network_is():
    expected_ms = torch.tensor(1e-9, requires_grad=True)
    loss = loss_of("log-product", 80.0)(torch.tensor(1.2), expected_ms)
    loss.backward()
    assert 0 < loss.item() < 1.2
    assert expected_ms.grad == 0


def test_a_product_with_a_cross_entropy_needs_one():
    with pytest.raises(ValueError, match="'log-product' is a product with the cross-entropy, and 'reinforce' has none"):
        ArchitectureConfig(relaxation="reinforce", loss="log-product")


def test_the_chosen_number_is_what_the_latency_weighs():
    slow, fast = (
        toy_search(target_at(0.2), 60, relaxation="softmax", loss="linear", loss_number=number).record()["expected_ms"]
        for number in (0.01, 3.0)
    )
    assert fast < 0.9 * slow


def test_parameters_of_another_space_are_refused(tmp_path):
    _, chosen, _ = search_of(tmp_path, "two_paths")
    state = chosen.state_dict()
    with pytest.raises(UserError, match="of another space or method"):
        chosen.load_state_dict({**state, "policy": {"alpha": state["policy"]["alpha"][1:]}})


def test_a_checkpoint_of_another_space_or_method_is_refused(tmp_path):
    training, _, _ = search_of(tmp_path, "two_paths", epochs=1)
    training.run()
    wider = build_space(SpaceConfig("proxyless_small", 16, 4, width_mult=0.5))
    others = [supernet_training(space, images_of(64), training.recipe, CPU, 3, tmp_path) for space in (wider, SPACE)]
    with pytest.raises(UserError, match=r"supernet.pt has \d+ weights that do not fit, first .*: choose another --out"):
        others[0].run()
    with pytest.raises(UserError, match=r"has baseline, .*policy.* beside the weights, and nothing is trained here"):
        others[1].run()
    assert len(load_checkpoint(training.checkpoint)["companion"]) > 1


def test_weights_and_probabilities_see_samples_of_their_own(tmp_path):
    _, chosen, _ = search_of(tmp_path, "gumbel")
    own, of_weights = chosen.gates(9), chosen.gates(9, stream=7)
    assert not torch.equal(own.weight, of_weights.weight)
    assert torch.equal(own.weight, chosen.gates(9).weight)


def test_a_loss_that_is_no_number_ends_with_advice(tmp_path):
    _, chosen, _ = search_of(tmp_path, "two_paths")
    chosen.expected_ms = lambda step: chosen.alpha[0, 0] * float("nan")
    with pytest.raises(UserError, match=r"diverged.*lower the learning rates"):
        chosen.after_step(chosen.warmup_steps)
