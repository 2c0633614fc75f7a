"""Architecture parameters of one decision -> a gate with a gradient to them."""

from collections.abc import Callable

import torch
from torch import Tensor

from hwnas.nn import Gate

Relaxation = Callable[[Tensor, float, torch.Generator], Gate]  # (alpha (choices,), temperature, random numbers)


def softmax(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gate:
    """All choices, by their probabilities: DARTS, https://arxiv.org/abs/1806.09055, equation 2."""
    return Gate((alpha / temperature).softmax(0), tuple(range(len(alpha))))


def gumbel(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gate:
    """All choices, by a relaxed sample: SNAS, https://arxiv.org/abs/1812.09926; FBNet, https://arxiv.org/abs/1812.03443."""
    return Gate(_relaxed_sample(alpha, temperature, generator), tuple(range(len(alpha))))


def hard_gumbel(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gate:
    """The sampled choice alone, the gradient of the relaxed sample: GDAS, https://arxiv.org/abs/1910.04465, equation 7."""
    relaxed = _relaxed_sample(alpha, temperature, generator)
    chosen = int(relaxed.argmax())
    return Gate(_one_hot(chosen, len(alpha)) + relaxed - relaxed.detach(), (chosen,))


def two_paths(alpha: Tensor, temperature: float, generator: torch.Generator) -> Gate:
    """Two sampled choices, one of which runs: ProxylessNAS, https://arxiv.org/abs/1812.00332, section 3.2.1.

    Drawn without replacement by their probabilities; rescaled to the two, one of them is drawn to run. The gradient is
    equation 4's over the two.
    """
    pair = torch.multinomial(alpha.detach().softmax(0), 2, replacement=False, generator=generator)
    p = alpha[pair].softmax(0)
    first = int(torch.multinomial(p.detach(), 1, generator=generator))
    runs, silent = int(pair[first]), int(pair[1 - first])
    weight = _one_hot(runs, len(alpha)) + torch.zeros_like(alpha).scatter(0, pair, p - p.detach())
    return Gate(weight, (runs,), (silent,))


def _relaxed_sample(alpha: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Gumbel-softmax (https://arxiv.org/abs/1611.01144), from a generator of one's own."""
    noise = -torch.empty_like(alpha).exponential_(generator=generator).log()
    return ((alpha.log_softmax(0) + noise) / temperature).softmax(0)


def _one_hot(index: int, count: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(index), count).float()


RELAXATIONS: dict[str, Relaxation] = {
    "softmax": softmax,
    "gumbel": gumbel,
    "hard_gumbel": hard_gumbel,
    "two_paths": two_paths,
}
