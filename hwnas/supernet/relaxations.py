"""Architecture parameters -> gates with a gradient to them, all decisions at once.

Parameters are a matrix, a row a decision; -inf where a decision has fewer choices than the widest.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hwnas.nn import Gate


@dataclass(frozen=True)
class Gates:
    """(decisions, choices) weights, and of each decision which choices run, and which silently: as in `nn.Gate`."""

    weight: Tensor
    counts: list[int]  # choices of each decision: what is behind them is padding
    active: list[list[int]]
    silent: list[list[int]]

    def of_decisions(self) -> list[Gate]:
        """One for each decision."""
        rows = zip(self.weight.unbind(0), self.counts, self.active, self.silent, strict=True)
        return [Gate(weight[:count], tuple(active), tuple(silent)) for weight, count, active, silent in rows]


Relaxation = Callable[[Tensor, float, torch.Generator], Gates]  # (alpha, temperature, random numbers)


def softmax(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gates:
    """All choices, by their probabilities, at whatever temperature: DARTS, arXiv:1806.09055, equation 2."""
    return _all_run(alpha, alpha.softmax(1))


def gumbel(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gates:
    """All choices, by a relaxed sample: SNAS, https://arxiv.org/abs/1812.09926; FBNet, arXiv:1812.03443."""
    return _all_run(alpha, _relaxed_sample(alpha, temperature, generator))


def hard_gumbel(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gates:
    """The sampled choice alone, with the relaxed gradient: GDAS, https://arxiv.org/abs/1910.04465, equation 7."""
    relaxed = _relaxed_sample(alpha, temperature, generator)
    chosen = relaxed.argmax(1, keepdim=True)
    hard = torch.zeros_like(alpha).scatter(1, chosen, 1.0)
    return Gates(hard + relaxed - relaxed.detach(), _counts(alpha), chosen.tolist(), [[] for _ in alpha])


def two_paths(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gates:
    """Two sampled choices, one of which runs: ProxylessNAS, https://arxiv.org/abs/1812.00332, section 3.2.1.

    Drawn without replacement by their probabilities; rescaled to the two, one of them is drawn to run. The gradient is
    equation 4's over the two.
    """
    pair = torch.multinomial(alpha.detach().softmax(1), 2, replacement=False, generator=generator)
    p = alpha.gather(1, pair).softmax(1)
    first = torch.multinomial(p.detach(), 1, generator=generator)
    runs, silent = pair.gather(1, first), pair.gather(1, 1 - first)
    hard = torch.zeros_like(alpha).scatter(1, runs, 1.0)
    weight = hard + torch.zeros_like(alpha).scatter(1, pair, p - p.detach())
    return Gates(weight, _counts(alpha), runs.tolist(), silent.tolist())


def _all_run(alpha: Tensor, weight: Tensor) -> Gates:
    counts = _counts(alpha)
    return Gates(weight, counts, [list(range(count)) for count in counts], [[] for _ in counts])


def _counts(alpha: Tensor) -> list[int]:
    counts: list[int] = alpha.detach().isfinite().sum(1).tolist()
    return counts


def _relaxed_sample(alpha: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Gumbel-softmax (https://arxiv.org/abs/1611.01144), from a generator of one's own."""
    noise = -torch.empty_like(alpha).exponential_(generator=generator).log()
    return ((alpha.log_softmax(1) + noise) / temperature).softmax(1)


RELAXATIONS: dict[str, Relaxation] = {
    "softmax": softmax,
    "gumbel": gumbel,
    "hard_gumbel": hard_gumbel,
    "two_paths": two_paths,
}
