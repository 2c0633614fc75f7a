import copy
import random

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small, shufflenet_v2_x1_0

from hwnas.nn import Network
from hwnas.nn.folding import folded
from hwnas.spaces import SpaceConfig, build_space

SHAPE = (3, 32, 32)


def pair(out: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def settled(module: nn.Module) -> nn.Module:
    """With statistics and weights that are not those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for values, low in ((norm.running_mean, -1), (norm.running_var, 1), (norm.weight.data, 1), (norm.bias.data, 0)):
            values.copy_(torch.rand(values.shape, generator=generator) + low)
    return module.eval()


class Tapped(nn.Module):
    """The convolution's own output is needed, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Shared(nn.Module):
    """One convolution, two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.conv(self.first(self.conv(x))))


class Deciding(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = pair()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pair(x) if x.sum() > 0 else x


class Unlike(nn.Module):
    """Traced, it goes another way than with an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = pair(out=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) if isinstance(x, torch.Tensor) else self.norm(self.conv(x))


@pytest.mark.parametrize("build", [mobilenet_v3_small, shufflenet_v2_x1_0])
def test_every_norm_of_published_networks_is_folded_and_the_module_stays_as_it_is(build):
    module = settled(build())
    kept, x = copy.deepcopy(module.state_dict()), torch.rand(2, *SHAPE)
    found = folded(module, SHAPE)
    assert norms(module) > 30
    assert norms(found) == 0
    assert type(found) is type(module)
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())
    torch.testing.assert_close(found(x), module(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("space", ["proxyless_small", "mobilenet_v3", "shufflenet_spos", "darts"])
def test_networks_of_spaces_compute_the_same_with_fewer_norms(space):
    built = build_space(SpaceConfig(space, SHAPE[1], 10))
    network = settled(Network(built, built.sample(random.Random(0))))
    found, x = folded(network, SHAPE), torch.rand(2, *SHAPE)
    assert norms(found) < norms(network)
    torch.testing.assert_close(found(x), network(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("module", [Tapped(), Shared(), nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))])
def test_a_norm_that_is_not_one_convolutions_own_stays(module):
    settled(module)
    found, x = folded(module, SHAPE), torch.rand(2, *SHAPE)
    assert norms(found) == norms(module)
    assert torch.equal(found(x), module(x))


@pytest.mark.parametrize("module", [Deciding(), Unlike()])
def test_a_module_that_cannot_be_folded_is_returned_itself_in_eval_mode(module):
    settled(module).train()
    assert folded(module, SHAPE) is module
    assert not module.training
