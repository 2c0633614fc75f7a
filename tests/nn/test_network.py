"""Gates of which choices are silent: what runs, and that the gradient is that of all options together."""

import random
from dataclasses import replace

import pytest
import torch

from hwnas.nn import Gate, Supernet
from hwnas.spaces import SpaceConfig, build_space

SPACES = ("mobilenet_v4", "shufflenet_spos_channels", "proxyless_small_elastic", "darts")


def pairs_of(space):
    """Gates of two choices each, the first of which runs, and their weights."""
    rng, gates = random.Random(0), []
    for decision in space.decisions:
        runs, silent = rng.sample(range(len(decision.choices)), 2)
        weight = torch.zeros(len(decision.choices), dtype=torch.float64)
        weight[runs] = 1.0
        gates.append(Gate(weight.requires_grad_(), (runs,), (silent,)))
    return gates


@pytest.mark.parametrize("name", SPACES)
def test_silent_choices_have_the_gradient_that_they_have_when_all_run(name):
    torch.manual_seed(0)
    space = build_space(SpaceConfig(name, 32, 4))
    net, gates = Supernet(space).eval().double(), pairs_of(space)
    x, weights = torch.randn(2, 3, 32, 32, dtype=torch.float64), [gate.weight for gate in gates]
    all_run = [replace(gate, active=gate.active + gate.silent, silent=()) for gate in gates]

    def gradients(of):
        return torch.autograd.grad(net.mixed(x, of).log_softmax(1)[:, 0].sum(), weights, materialize_grads=True)

    found, expected = gradients(gates), gradients(all_run)
    assert any(gradient.any() for gradient in expected)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-12 * float(torch.cat(expected).abs().max()))


def test_options_of_two_silent_choices_do_not_run():
    space = build_space(SpaceConfig("mobilenet_v4", 32, 4, width_mult=0.25))
    net, ran = Supernet(space).eval(), []
    for slot in net.slots:
        slot.register_forward_pre_hook(lambda module, arguments: ran.append(module))
    net.mixed(torch.randn(2, 3, 32, 32), pairs_of(space))
    assert {len(slot.decisions) for slot in space.slots} == {0, 2}
    assert max(ran.count(slot) for slot in net.slots) == 3  # of four: the one that runs, and one silent choice of each
