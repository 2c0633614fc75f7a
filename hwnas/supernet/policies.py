"""What is trained to choose architectures: a row of parameters a decision, or an LSTM that decides in turn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.latency import Predictor
from hwnas.spaces.space import Arch

HIDDEN = 64  # units of the controller; the official trainer has 32 to 100
INITIAL = 0.1  # its parameters begin uniformly between minus and plus this, as the official trainer's
MOST_LOGIT = 2.5  # logits are this times a hyperbolic tangent (ENAS, section 3): no choice is lost for good
LATENCY_SAMPLES = 64  # networks whose mean latency stands for the expectation: predicting one costs next to nothing
TABLE_SAMPLES = 256  # networks over which a controller's probabilities are averaged


@dataclass(frozen=True)
class Drawn:
    """Some architectures, and what the policy thought of each decision. n: architectures, W: the widest decision."""

    choices: Tensor  # (n, decisions) integers
    log_probabilities: Tensor  # (n, decisions, W), with a gradient; -inf where a decision has fewer choices

    @property
    def archs(self) -> list[Arch]:
        return [tuple(row) for row in self.choices.tolist()]

    @property
    def log_probability(self) -> Tensor:
        """(n,) of each architecture as a whole, with a gradient."""
        return self.log_probabilities.gather(2, self.choices[:, :, None]).sum((1, 2))

    @property
    def entropy(self) -> Tensor:
        """The mean over the architectures, summed over decisions, in nats; with a gradient."""
        logs = self.log_probabilities
        finite = logs.masked_fill(logs.isinf(), 0.0)  # 0 * -inf has no value
        return -(logs.exp() * finite).sum((1, 2)).mean()


class Independent(nn.Module):
    """Every decision by itself, by the softmax of its own parameters."""

    def __init__(self, counts: Sequence[int]) -> None:
        super().__init__()
        self.counts = list(counts)
        self.alpha = nn.Parameter(torch.zeros(len(counts), max(counts)).masked_fill(absent(counts), -math.inf))

    def probabilities(self) -> list[Tensor]:
        """(choices,) of each decision, with a gradient."""
        return [p[:count] for p, count in zip(self.alpha.softmax(1).unbind(0), self.counts, strict=True)]

    def table(self, generator: torch.Generator) -> list[list[float]]:
        """The same as numbers; no random number is drawn."""
        return [p.detach().tolist() for p in self.probabilities()]

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        choices = torch.multinomial(self.alpha.detach().softmax(1), count, replacement=True, generator=generator).T
        return Drawn(choices, self.alpha.log_softmax(1).expand(count, -1, -1))

    def expected_ms(self, predictor: Predictor, generator: torch.Generator) -> Tensor:
        """Exact, a scalar with a gradient; no random number is drawn."""
        return predictor.expected_ms(self.probabilities())


class Controller(nn.Module):
    """One decision after the other, each knowing the choices before it: ENAS, https://arxiv.org/abs/1802.03268.

    A cell of an LSTM, of which each decision has its own output and its choices their own embeddings.
    """

    def __init__(self, counts: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.counts, self.absent = list(counts), absent(counts)
        self.start = nn.Parameter(torch.empty(1, HIDDEN))
        self.cell = nn.LSTMCell(HIDDEN, HIDDEN)
        self.embedding = nn.Parameter(torch.empty(*self.absent.shape, HIDDEN))
        self.output = nn.Parameter(torch.empty(*self.absent.shape, HIDDEN))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL, generator=generator)

    def draw(self, count: int, generator: torch.Generator) -> Drawn:
        x, state = self.start.expand(count, -1), None
        choices, logs = [], []
        for d in range(len(self.counts)):
            state = self.cell(x, state)
            logits = MOST_LOGIT * torch.tanh(state[0] @ self.output[d].T)
            logs.append(logits.masked_fill(self.absent[d], -math.inf).log_softmax(1))
            choices.append(torch.multinomial(logs[-1].detach().exp(), 1, generator=generator)[:, 0])
            x = self.embedding[d, choices[-1]]
        return Drawn(torch.stack(choices, 1), torch.stack(logs, 1))

    def table(self, generator: torch.Generator) -> list[list[float]]:
        """The probabilities of each decision's choices, the mean over drawn networks."""
        with torch.no_grad():
            means = self.draw(TABLE_SAMPLES, generator).log_probabilities.exp().mean(0)
        return [row[:count].tolist() for row, count in zip(means, self.counts, strict=True)]

    def expected_ms(self, predictor: Predictor, generator: torch.Generator) -> Tensor:
        """The mean over drawn networks, a scalar, with REINFORCE's estimate of the gradient of the expectation."""
        drawn = self.draw(LATENCY_SAMPLES, generator)
        ms = torch.from_numpy(predictor.latency_ms(drawn.archs)).to(drawn.log_probability.dtype)
        logs = drawn.log_probability
        return ms.mean() + ((ms - ms.mean()) * (logs - logs.detach())).mean()


Policy = Independent | Controller


def absent(counts: Sequence[int]) -> Tensor:
    """(decisions, W): True where a decision has fewer choices than the widest."""
    return torch.arange(max(counts))[None, :] >= torch.tensor(counts)[:, None]
