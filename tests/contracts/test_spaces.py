"""What every space must do."""

import random

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hwnas.nn import Gate, Network, Supernet
from hwnas.spaces import DEFAULT_RESOLUTION, SPACES, SpaceConfig, build_space, extremes, macs, params
from hwnas.spaces.darts import darts
from hwnas.spaces.space import Space

pytestmark = pytest.mark.parametrize("name", SPACES)
NUM_CLASSES = 7


def space_of(name: str) -> Space:
    if name == "darts":
        return darts(16, 0.5, NUM_CLASSES, layers=3)  # each of the cells once, in a third of the time
    return build_space(SpaceConfig(name, min(DEFAULT_RESOLUTION.get(name, 64), 64), NUM_CLASSES))


def test_operator_keys_are_unique(name):
    keys = [str(spec) for spec in space_of(name).all_ops()]
    assert len(keys) == len(set(keys))


def test_every_operator_follows_from_the_shapes_before_it(name):
    space = space_of(name)
    shapes = {0: space.input_shape}
    for step in space.steps(space.sample(random.Random(3))):
        channels, sides = zip(*((shapes[node][0], shapes[node][1:]) for node in step.wire.reads), strict=True)
        assert step.spec.in_shape == (sum(channels), *sides[0])
        assert len(set(sides)) == 1
        assert shapes.setdefault(step.wire.writes, step.spec.out_shape) == step.spec.out_shape


def test_random_networks_have_the_declared_output_parameters_and_macs(name):
    space, rng = space_of(name), random.Random(0)
    for _ in range(2):
        arch = space.sample(rng)
        network = Network(space, arch).train()  # where a batch norm is no convolution yet
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(2, *space.input_shape))
        assert counter.get_total_flops() == 2 * 2 * macs(space.ops(arch))
        assert sum(p.numel() for p in network.parameters()) == params(space.ops(arch))
        assert network.eval()(torch.randn(2, *space.input_shape)).shape == (2, NUM_CLASSES)


def test_a_path_of_the_supernet_equals_the_network_with_its_weights(name):
    space = space_of(name)
    supernet, rng = Supernet(space), random.Random(1)
    for _ in range(3):  # statistics and scales that are not the initial ones
        supernet(torch.randn(4, *space.input_shape), space.sample(rng))
    for parameter in supernet.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.rand_like(parameter)
    supernet.eval()
    for arch in (space.sample(rng), *extremes(space)):
        network = supernet.network(arch)
        x = torch.randn(2, *space.input_shape)
        assert not network.training
        torch.testing.assert_close(network(x), supernet(x, arch), rtol=1e-4, atol=1e-5)


def test_a_mixture_of_certain_gates_is_the_path(name):
    space, rng = space_of(name), random.Random(5)
    supernet, x = Supernet(space).eval(), torch.randn(1, *space.input_shape)
    for _ in range(3):
        arch = space.sample(rng)
        choices = zip(space.decisions, arch, strict=True)
        gates = [Gate(torch.eye(len(d.choices))[c], (c,)) for d, c in choices]
        torch.testing.assert_close(supernet.mixed(x, gates), supernet(x, arch), rtol=1e-4, atol=1e-5)


def test_extremes_bound_random_networks(name):
    space, rng = space_of(name), random.Random(2)
    smallest, largest = (macs(space.ops(arch)) for arch in extremes(space))
    for _ in range(20):
        assert smallest <= macs(space.ops(space.sample(rng))) <= largest


def test_names_and_indices_are_inverse(name):
    space = space_of(name)
    arch = space.sample(random.Random(4))
    assert space.from_names(tuple(space.to_names(arch))) == arch
