import random

import pytest
import torch

from hwnas.nn import Supernet
from hwnas.nn.parts import forget_use, index, shared_modules, used_parts
from hwnas.spaces import SpaceConfig, build_space

SPACES = ("mobilenet_v3_large", "proxyless_small", "shufflenet_spos_channels", "fbnet", "mobilenet_v4")


def numbered(net):
    """Every weight gets a number of its own; {name: its numbers}."""
    first, found = 0, {}
    for name, parameter in net.named_parameters():
        numbers = torch.arange(first, first + parameter.numel(), dtype=torch.float32).view_as(parameter)
        parameter.data = numbers.clone()
        found[name], first = numbers, first + parameter.numel()
    assert first < 2**24  # as far as a float32 counts
    return found


@pytest.mark.parametrize("name", SPACES)
def test_a_path_uses_just_what_its_network_standing_alone_has(name):
    space = build_space(SpaceConfig(name, 32, 4, width_mult=0.25))
    net = Supernet(space)
    arch = space.sample(random.Random(3))
    net(torch.randn(2, 3, 32, 32), arch)
    used, numbers = used_parts(shared_modules(net)), numbered(net)
    is_alone = torch.zeros(sum(values.numel() for values in numbers.values()), dtype=torch.bool)
    for parameter in net.network(arch).parameters():
        is_alone[parameter.long()] = True
    shared = 0
    for parameter_name, parameter in net.named_parameters():
        own = is_alone[numbers[parameter_name].long()]
        if parameter in used:
            (region,) = used[parameter]
            expected = torch.zeros_like(own)
            expected[index(region)] = True
            assert torch.equal(own, expected), parameter_name
            shared += not own.all()
        else:
            assert own.all() or not own.any(), parameter_name
    assert shared


def test_what_runs_without_gradients_or_was_forgotten_is_not_used():
    space = build_space(SpaceConfig("proxyless_small", 32, 4))
    net, arch = Supernet(space), space.sample(random.Random(0))
    with torch.no_grad():
        net(torch.randn(2, 3, 32, 32), arch)
    assert not used_parts(shared_modules(net))
    net(torch.randn(2, 3, 32, 32), arch)
    assert used_parts(shared_modules(net))
    forget_use(shared_modules(net))
    assert not used_parts(shared_modules(net))


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_with_kernel_transforms_a_smaller_kernel_uses_all_that_they_read(kernel):
    space = build_space(SpaceConfig("proxyless_small", 32, 4))
    net = Supernet(space, kernel_transforms=True)
    option, spec = next(
        (option, spec) for option, spec in enumerate(space.slots[2].options) if dict(spec.args).get("k") == kernel
    )
    net.slots[2](torch.randn(2, *spec.in_shape), option).square().sum().backward()
    checked = 0
    for parameter, regions in used_parts(shared_modules(net)).items():
        (region,) = regions
        outside = parameter.grad.clone()
        outside[index(region)] = 0
        assert not outside.any()
        assert parameter.grad[index(region)].any()
        checked += parameter.grad.ndim == 4 and parameter.grad.shape[-1] > 1
    assert checked
