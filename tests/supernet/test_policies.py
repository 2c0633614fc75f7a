"""Policies: what they draw is legal, and their expectations are those of all networks."""

import itertools
import math

import numpy as np
import pytest
import torch

from hwnas.supernet.policies import Controller, Independent

COUNTS = (2, 3, 2)
ALL = list(itertools.product(*map(range, COUNTS)))
COSTS_MS = dict(zip(ALL, np.random.default_rng(0).uniform(1, 5, len(ALL)), strict=True))


class Costs:
    """A predictor of networks whose latency is no sum over decisions."""

    def latency_ms(self, archs):
        return np.array([COSTS_MS[tuple(arch)] for arch in archs])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sharpened(policy):
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.copy_(
                torch.where(parameter.isfinite(), 3 * parameter + 0.05 * torch.randn_like(parameter), parameter)
            )
    return policy


def exact(policy):
    """Probability of every network, with a gradient, by the chain rule along each."""
    logs = []
    for arch in ALL:
        x, state, total = policy.start, None, 0.0
        for d, choice in enumerate(arch):
            state = policy.cell(x, state)
            logits = 2.5 * torch.tanh(state[0][0] @ policy.output[d].T)[: COUNTS[d]]
            total = total + logits.log_softmax(0)[choice]
            x = policy.embedding[d, [choice]]
        logs.append(total)
    return torch.stack(logs).exp()


@pytest.mark.parametrize("policy", [Independent(COUNTS), Controller(COUNTS, generator())], ids=["independent", "lstm"])
def test_what_is_drawn_is_legal_follows_the_seed_and_knows_its_probability(policy):
    drawn, again = policy.draw(50, generator(1)), policy.draw(50, generator(1))
    assert set(drawn.archs) <= set(ALL)
    assert len(set(drawn.archs)) > 5
    assert drawn.archs == again.archs
    assert drawn.log_probability.shape == (50,)
    torch.testing.assert_close(drawn.log_probabilities.exp().sum(2), torch.ones(50, 3))
    assert float(drawn.entropy.detach()) == pytest.approx(
        sum(map(math.log, COUNTS)), rel=0.01
    )  # it begins without a preference
    drawn.entropy.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())


def test_a_controllers_probabilities_are_of_whole_networks():
    torch.manual_seed(0)
    policy = sharpened(Controller(COUNTS, generator()))
    probabilities = exact(policy).detach()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-5)
    drawn = policy.draw(4000, generator(2))
    own = drawn.log_probability.detach().exp()
    expected = torch.stack([probabilities[ALL.index(arch)] for arch in drawn.archs])
    torch.testing.assert_close(own, expected)
    shares = np.array([drawn.archs.count(arch) / 4000 for arch in ALL])
    np.testing.assert_allclose(shares, probabilities, atol=0.03)
    first = [sum(float(p) for arch, p in zip(ALL, probabilities, strict=True) if arch[0] == c) for c in range(2)]
    np.testing.assert_allclose(policy.table(generator(3))[0], first, atol=0.01)


def test_a_controllers_latency_has_the_gradient_of_the_expectation():
    torch.manual_seed(0)
    policy = sharpened(Controller(COUNTS, generator()))
    expected_ms = (exact(policy) * torch.tensor([COSTS_MS[arch] for arch in ALL], dtype=torch.float32)).sum()
    truth = torch.autograd.grad(expected_ms, policy.output)[0].flatten()
    estimates = []
    for seed in range(150):
        ms = policy.expected_ms(Costs(), generator(seed))
        estimates.append((float(ms.detach()), torch.autograd.grad(ms, policy.output)[0].flatten()))
    assert np.mean([ms for ms, _ in estimates]) == pytest.approx(float(expected_ms.detach()), rel=0.02)
    mean = torch.stack([gradient for _, gradient in estimates]).mean(0)
    assert float(torch.cosine_similarity(mean, truth, 0)) > 0.95
    assert float(mean.norm() / truth.norm()) == pytest.approx(1, abs=0.2)
