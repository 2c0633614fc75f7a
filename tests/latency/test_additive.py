"""Sums of many architectures at once are sums."""

import random

import numpy as np
import pytest
import torch

from hwnas.latency.additive import CHUNK, AdditiveCost
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs, op_params
from hwnas.spaces.space import Decision, Slot, Space, op


@pytest.fixture(scope="module")
def shared_decisions():
    """A space whose slots share decisions: an expansion for two layers, a kernel for each."""
    decisions = (Decision("e", ("3", "6")), Decision("k0", ("3", "5", "7")), Decision("k1", ("3", "5")))
    first = tuple(op("ir", (8, 8, 8), 8, e=e, k=k) for e in (3, 6) for k in (3, 5, 7))
    second = tuple(op("ir", (8, 8, 8), 16, e=e, k=k) for k in (3, 5) for e in (3, 6))
    fixed = Slot((op("conv", (3, 8, 8), 8, k=3),))
    return Space("shared", (3, 8, 8), 2, decisions, (fixed, Slot(first, (0, 1)), Slot(second, (2, 0))))


def by_hand(space, cost_of, archs):
    return [sum(map(cost_of, space.ops(tuple(int(c) for c in arch)))) for arch in archs]


def test_slots_that_share_decisions(shared_decisions):
    archs = list(shared_decisions)
    found = AdditiveCost(shared_decisions, op_params).of(archs)
    np.testing.assert_allclose(found, by_hand(shared_decisions, op_params, archs))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_more_architectures_than_a_chunk(dtype):
    space, rng = build_space(SpaceConfig("proxyless", 224, 1000)), random.Random(0)
    few = np.array([space.sample(rng) for _ in range(30)], dtype=dtype)
    many = np.tile(few, (CHUNK // 30 + 2, 1))
    found = AdditiveCost(space, op_macs).of(many)
    np.testing.assert_allclose(found, np.tile(by_hand(space, op_macs, few), CHUNK // 30 + 2))


@pytest.mark.parametrize("wrong", [2, 255, -1])
def test_a_choice_outside_its_decision_is_refused(shared_decisions, wrong):
    with pytest.raises(ValueError, match="outside its decision"):
        AdditiveCost(shared_decisions, op_macs).of(np.array([[0, 0, 0], [wrong, 0, 0]]))


def test_too_few_decisions_are_refused(shared_decisions):
    with pytest.raises(ValueError, match="has 3 decisions, the architectures 2"):
        AdditiveCost(shared_decisions, op_macs).of([[0, 0]])


def test_no_architectures_cost_nothing(shared_decisions):
    assert AdditiveCost(shared_decisions, op_macs).of(np.empty((0, 3), dtype=np.uint8)).shape == (0,)


def test_the_expectation_is_the_mean_over_all_networks(shared_decisions):
    gates = [torch.rand(len(d.choices), dtype=torch.float64) for d in shared_decisions.decisions]
    gates = [(g / g.sum()).requires_grad_() for g in gates]
    cost = AdditiveCost(shared_decisions, op_params)
    archs = list(shared_decisions)
    probabilities = torch.stack([torch.stack([g[c] for g, c in zip(gates, a, strict=True)]).prod() for a in archs])
    wanted = (probabilities * torch.tensor(cost.of(archs))).sum()
    found = cost.expected(gates)
    torch.testing.assert_close(found, wanted)
    for mine, theirs in zip(torch.autograd.grad(found, gates), torch.autograd.grad(wanted, gates), strict=True):
        torch.testing.assert_close(mine - mine.mean(), theirs - theirs.mean())  # equal along the simplex
