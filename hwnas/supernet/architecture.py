"""Architecture parameters trained beside the weights, on images that the weights are not trained on.

Every few weight steps one step of Adam on the parameters: by gradient, through a relaxation, or by REINFORCE, from the
accuracy of sampled paths. The weight of the latency is itself adapted, so that the expected latency lands on the
target: it grows while the expectation is above the target, and shrinks while it is below (dual ascent; Boyd and
Vandenberghe 2004, section 5.5). Fixed weights, as published, have to be found by trial.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.nn import Compute, Gate, Supernet
from hwnas.objective import LATENCY_LOSSES, LatencyLoss
from hwnas.spaces.space import Arch
from hwnas.supernet.relaxations import RELAXATIONS
from hwnas.train import eval_images, normalise

ExpectedMs = Callable[[Sequence[Tensor]], Tensor]  # probabilities of each decision's choices -> milliseconds
ADAPTIVE = "adaptive"
LOSSES = (ADAPTIVE, *LATENCY_LOSSES)


@dataclass(frozen=True, slots=True)
class ArchitectureConfig:
    """ProxylessNAS' settings, where a line says nothing else."""

    relaxation: str = "two_paths"  # a key of RELAXATIONS, or "reinforce"
    loss: str = ADAPTIVE  # one of LOSSES
    lr: float = 0.05  # of Adam; the paper's 0.001 is for its hundred thousand steps
    warmup_share: float = 0.25  # of the weight steps: weights only, as the paper's 40 of 160 epochs
    every: int = 2  # weight steps per step of the parameters; the paper's 5, with as many steps as it has
    batch_size: int = 64
    temperature: float = 5.0  # FBNet's, of the first step; it falls exponentially
    last_temperature: float = 0.1
    dual_rate: float = 0.05  # of the weight of the latency, per step and per unit of relative excess
    samples: int = 2  # paths of a REINFORCE step
    reward_weight: float = 0.5  # of |latency / target - 1| in the reward, TuNAS' absolute
    baseline_decay: float = 0.95  # of the mean reward, TuNAS'


@dataclass
class ArchitectureTraining:
    """Parameters of every decision, and the steps that train them. A `Companion` of the weights' training."""

    net: Supernet
    expected_ms: ExpectedMs
    target_ms: float
    images: ImageSet  # of the search part
    compute: Compute
    config: ArchitectureConfig
    seed: int
    steps: int  # of the weights, over the whole training

    def __post_init__(self) -> None:
        self.alphas = [nn.Parameter(torch.zeros(len(d.choices))) for d in self.net.space.decisions]
        self.optimizer = torch.optim.Adam(self.alphas, lr=self.config.lr, betas=(0.0, 0.999))
        self.latency_weight, self.baseline, self.rewarded = 0.0, 0.0, 0

    @property
    def warmup_steps(self) -> int:
        return math.ceil(self.config.warmup_share * self.steps)

    def is_due(self, step: int) -> bool:
        """Whether the parameters are trained after this weight step."""
        return step >= self.warmup_steps and (step - self.warmup_steps) % self.config.every == 0

    def temperature(self, step: int) -> float:
        """Falls from the first to the last over the steps after the warm-up."""
        c, progress = self.config, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return float(c.temperature * (c.last_temperature / c.temperature) ** min(max(progress, 0.0), 1.0))

    def probabilities(self) -> list[Tensor]:
        """(choices,) of each decision, with a gradient."""
        return [alpha.softmax(0) for alpha in self.alphas]

    def table(self) -> list[list[float]]:
        """The same as numbers."""
        return [p.detach().tolist() for p in self.probabilities()]

    def sample(self, generator: torch.Generator) -> Arch:
        """An architecture drawn by the probabilities."""
        drawn = (torch.multinomial(p.detach(), 1, generator=generator) for p in self.probabilities())
        return tuple(int(choice) for choice in drawn)

    def gates(self, step: int) -> list[Gate]:
        """The relaxation's, for one step."""
        relax, generator = RELAXATIONS[self.config.relaxation], self._generator(step, stream=1)
        return [relax(alpha, self.temperature(step), generator) for alpha in self.alphas]

    def after_step(self, step: int) -> None:
        if self.is_due(step):
            if self.config.relaxation == "reinforce":
                self._reinforce(step)
            else:
                self._descend(step)

    def _descend(self, step: int) -> None:
        gates, before = self.gates(step), [alpha.detach().clone() for alpha in self.alphas]
        images, labels = self._batch(step)
        with frozen(self.net), self.compute.precision():
            logits = self.net.mixed(images, gates)
        expected_ms = self.expected_ms(self.probabilities())
        cross_entropy = nn.functional.cross_entropy(logits.float(), labels).cpu()
        loss = self._latency_loss()(cross_entropy, expected_ms)
        self._update(loss)
        for alpha, old, gate in zip(self.alphas, before, gates, strict=True):
            if gate.silent:
                keep_share(alpha, old, [*gate.active, *gate.silent])
        self._adapt(float(expected_ms.detach()))

    def _latency_loss(self) -> LatencyLoss:
        if self.config.loss == ADAPTIVE:
            return lambda cross_entropy, ms: cross_entropy + self.latency_weight * ms / self.target_ms
        return LATENCY_LOSSES[self.config.loss](self.target_ms)

    def _adapt(self, expected_ms: float) -> None:
        moved = self.latency_weight + self.config.dual_rate * (expected_ms / self.target_ms - 1)
        self.latency_weight = max(0.0, moved)

    def _reinforce(self, step: int) -> None:
        """Williams 1992; the reward is accuracy less the distance to the target, TuNAS (arXiv:2008.06120)."""
        generator = self._generator(step, stream=1)
        archs = [self.sample(generator) for _ in range(self.config.samples)]
        images, labels = self._batch(step)
        rewards = [self._reward(arch, images, labels) for arch in archs]
        decay = min(self.config.baseline_decay, self.rewarded / (self.rewarded + 1))  # a plain mean at first
        self.baseline = decay * self.baseline + (1 - decay) * sum(rewards) / len(rewards)
        self.rewarded += 1
        logs = torch.stack([self._log_probability(arch) for arch in archs])
        advantage = torch.tensor(rewards) - self.baseline
        self._update(-(advantage * logs).mean())

    def _reward(self, arch: Arch, images: Tensor, labels: Tensor) -> float:
        with torch.no_grad(), self.compute.precision():
            accuracy = float((self.net(images, arch).argmax(1) == labels).float().mean())
        certain = [torch.nn.functional.one_hot(torch.tensor(c), len(a)).float() for c, a in zip(arch, self.alphas, strict=True)]
        latency = float(self.expected_ms(certain)) / self.target_ms
        return accuracy - self.config.reward_weight * abs(latency - 1)

    def _log_probability(self, arch: Arch) -> Tensor:
        return torch.stack([alpha.log_softmax(0)[c] for alpha, c in zip(self.alphas, arch, strict=True)]).sum()

    def _update(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise UserError(
                f"the search of the architecture diverged (its loss is {float(loss)}); lower the learning rates: "
                "--supernet-lr, or the method's own"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images of the search part, drawn anew each time."""
        rng = np.random.default_rng([self.seed, step])
        count = min(self.config.batch_size, len(self.images.labels))
        drawn = np.sort(rng.choice(len(self.images.labels), count, replace=False))
        chosen = ImageSet(self.images.images[drawn], self.images.labels[drawn])
        images = eval_images(chosen, self.net.space.input_shape[1], 0, count)
        labels = torch.from_numpy(np.array(chosen.labels))
        return normalise(self.compute.images(images)), labels.to(self.compute.device)

    def _generator(self, step: int, stream: int) -> torch.Generator:
        seed = int(np.random.SeedSequence([self.seed, step, stream]).generate_state(1)[0])
        return torch.Generator().manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        return {
            "alphas": [alpha.detach().clone() for alpha in self.alphas],
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in ("latency_weight", "baseline", "rewarded")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        found = [tuple(alpha.shape) for alpha in state.get("alphas", [])]
        if found != [tuple(alpha.shape) for alpha in self.alphas]:
            raise UserError(
                f"the checkpoint has architecture parameters of {len(found)} decisions, {self.net.space.name} has "
                f"{len(self.alphas)} of other sizes: it is of another space or method; choose another --out"
            )
        with torch.no_grad():
            for alpha, saved in zip(self.alphas, state["alphas"], strict=True):
                alpha.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.latency_weight, self.baseline = float(state["latency_weight"]), float(state["baseline"])
        self.rewarded = int(state["rewarded"])


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No gradient of any parameter is computed meanwhile: of what passes through them it is."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@torch.no_grad()
def keep_share(alpha: Tensor, before: Tensor, updated: Sequence[int]) -> None:
    """Shifts what was updated so that together it is as likely as before: the other choices were not tried.

    ProxylessNAS, section 3.2.1: "we rescale the architecture parameters of the two sampled paths".
    """
    at = list(updated)
    alpha[at] += before[at].logsumexp(0) - alpha[at].logsumexp(0)
