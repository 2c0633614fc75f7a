"""DARTS' cells have the published parameters, and are wired as published."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hwnas.nn import Network, Supernet
from hwnas.spaces import macs, params
from hwnas.spaces.darts import DARTS_V2, darts, genotype_arch

PUBLISHED = darts(32, 2.25, 10, layers=20)  # 36 channels
SMALL = darts(8, 0.25, 4, layers=3)


def test_the_published_network_has_its_parameters():
    ops = PUBLISHED.ops(genotype_arch(PUBLISHED, DARTS_V2))
    assert params(ops) == 3_349_342  # as the authors' code counts them, without the auxiliary head


def test_there_are_as_many_as_published():
    assert 1e18 < SMALL.size < 1.2e18  # "about 10^18"


def conv(c_in, c_out, kernel=1, stride=1, groups=1, dilation=1):
    return nn.Conv2d(c_in, c_out, kernel, stride, dilation * (kernel // 2), dilation, groups, bias=False)


class Factorized(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.first, self.second, self.bn = (
            conv(c_in, c_out // 2, 1, 2),
            conv(c_in, c_out // 2, 1, 2),
            nn.BatchNorm2d(c_out),
        )

    def forward(self, x):
        x = x.relu()
        return self.bn(torch.cat([self.first(x), self.second(x[..., 1:, 1:])], 1))


def operation(name, c, stride):
    """One of the operations that DARTS V2 has, from torch's own layers."""
    match name:
        case "sep_conv_3x3":
            once = [nn.ReLU(), conv(c, c, 3, stride, c), conv(c, c), nn.BatchNorm2d(c)]
            return nn.Sequential(*once, nn.ReLU(), conv(c, c, 3, 1, c), conv(c, c), nn.BatchNorm2d(c))
        case "dil_conv_3x3":
            return nn.Sequential(nn.ReLU(), conv(c, c, 3, stride, c, 2), conv(c, c), nn.BatchNorm2d(c))
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride, 1)
        case "skip_connect":
            return nn.Identity() if stride == 1 else Factorized(c, c)


class ByHand(nn.Module):
    """The whole network, cell by cell."""

    def __init__(self, genotype, c, layers, classes):
        super().__init__()
        self.genotype, self.reduces = genotype, [i in (layers // 3, 2 * layers // 3) for i in range(layers)]
        self.stem = nn.Sequential(conv(3, 3 * c, 3), nn.BatchNorm2d(3 * c))
        before, last, self.cells = 3 * c, 3 * c, nn.ModuleList()
        for i, reduces in enumerate(self.reduces):
            c *= 2 if reduces else 1
            plain = nn.Sequential(nn.ReLU(), conv(before, c), nn.BatchNorm2d(c))
            first = Factorized(before, c) if i and self.reduces[i - 1] else plain
            second = nn.Sequential(nn.ReLU(), conv(last, c), nn.BatchNorm2d(c))
            edges = [edge for node in genotype["reduce" if reduces else "normal"] for edge in node]
            operations = [operation(name, c, 2 if reduces and source < 2 else 1) for name, source in edges]
            self.cells.append(nn.ModuleList([first, second, *operations]))
            before, last = last, 4 * c
        self.classifier = nn.Linear(last, classes)

    def forward(self, x):
        s0 = s1 = self.stem(x)
        for cell, reduces in zip(self.cells, self.reduces, strict=True):
            states, operations = [cell[0](s0), cell[1](s1)], iter(cell[2:])
            for node in self.genotype["reduce" if reduces else "normal"]:
                states.append(sum(next(operations)(states[source]) for _, source in node))
            s0, s1 = s1, torch.cat(states[2:], 1)
        return self.classifier(s1.mean((2, 3)))


def test_a_formulation_of_its_own_counts_the_same():
    theirs, ops = ByHand(DARTS_V2, 36, 20, 10).eval(), PUBLISHED.ops(genotype_arch(PUBLISHED, DARTS_V2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        theirs(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * macs(ops) == 2 * 528_359_040
    assert sum(p.numel() for p in theirs.parameters()) == params(ops)


def test_a_formulation_of_its_own_computes_the_same():
    theirs = ByHand(DARTS_V2, 4, 3, 4).eval()
    ours = Network(SMALL, genotype_arch(SMALL, DARTS_V2)).eval()
    # equal but for the order: here a node's two operations are in the order of their sources
    mine, yours = (sorted(p.shape for p in net.parameters() if p.ndim == 4) for net in (ours, theirs))
    assert mine == yours
    for net in (ours, theirs):
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.5 / parameter[0].numel() if parameter.ndim > 1 else 0.9)
    x = torch.randn(2, 3, 8, 8)
    expected = theirs(x)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected[0], expected[1])


def test_an_operation_has_weights_for_each_node_that_it_may_read():
    supernet = Supernet(SMALL)
    inputs = [d.name for d in SMALL.decisions].index("normal.node1.inputs")
    slot = next(number for number, slot in enumerate(SMALL.slots) if slot.decisions[:1] == (inputs,))
    assert len(supernet.slots[slot].blocks) == 2 * 6  # it reads nodes 0 or 1: six operations with layers on each
    arch = [0] * len(SMALL.decisions)
    for choice, reads in ((0, 0), (2, 1)):  # "0,1" and "1,2"
        arch[inputs] = choice
        (step,) = (step for step in SMALL.steps(tuple(arch)) if step.slot == slot)
        assert step.wire.reads == SMALL.wire(slot, 7 * choice).reads
        assert step.wire.reads[0] - SMALL.wire(slot, 0).reads[0] == reads


def test_a_genotype_of_unknown_operations_is_refused():
    with pytest.raises(ValueError, match="not in"):
        genotype_arch(SMALL, DARTS_V2 | {"normal": ((("conv_9x9", 0), ("sep_conv_3x3", 1)),) * 4})
