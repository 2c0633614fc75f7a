"""Architecture parameters trained beside the weights, on images that the weights are not trained on.

Every few weight steps one step of Adam on the parameters: by gradient, through a relaxation, or by REINFORCE, from the
accuracy of sampled paths. The weight of the latency is itself adapted, so that the expected latency lands on the
target: it grows while the expectation is above the target and shrinks while it is below, and a quadratic term damps
that (augmented Lagrangian; Nocedal and Wright 2006, section 17.3). Fixed weights, as published, have to be found by
trial.
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
from hwnas.nn import Compute, Supernet
from hwnas.objective import LATENCY_LOSSES, LatencyLoss
from hwnas.ranks import average, rank, size
from hwnas.spaces.space import Arch
from hwnas.supernet.relaxations import RELAXATIONS, Gates
from hwnas.train import Diverged, eval_images, normalise

ExpectedMs = Callable[[Sequence[Tensor]], Tensor]  # probabilities of each decision's choices -> milliseconds
ADAPTIVE = "adaptive"
LOSSES = (ADAPTIVE, *LATENCY_LOSSES)
MOST_WEIGHT = 100.0  # of the relative excess, against a cross-entropy of about 1
LEAST_WEIGHT = -1.0  # below 0 the budget is filled up; not at any price, as a target may be out of reach


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
    damping: float = 1.0  # of the square of the relative excess
    samples: int = 2  # paths of a REINFORCE step
    baseline_decay: float = 0.95  # of the mean reward, TuNAS'

    def __post_init__(self) -> None:
        for value, allowed in ((self.relaxation, (*RELAXATIONS, "reinforce")), (self.loss, LOSSES)):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")


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
        self.counts = [len(d.choices) for d in self.net.space.decisions]
        absent = torch.arange(max(self.counts))[None, :] >= torch.tensor(self.counts)[:, None]
        self.alpha = nn.Parameter(torch.zeros(absent.shape).masked_fill(absent, -math.inf))  # (decisions, choices)
        self.optimizer = torch.optim.Adam([self.alpha], lr=self.config.lr, betas=(0.0, 0.999))
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
        return [p[:count] for p, count in zip(self.alpha.softmax(1).unbind(0), self.counts, strict=True)]

    def table(self) -> list[list[float]]:
        """The same as numbers."""
        return [p.detach().tolist() for p in self.probabilities()]

    def sample(self, generator: torch.Generator) -> Arch:
        """An architecture drawn by the probabilities."""
        drawn = torch.multinomial(self.alpha.detach().softmax(1), 1, generator=generator)
        return tuple(drawn[:, 0].tolist())

    def gates(self, step: int) -> Gates:
        """The relaxation's, for one step."""
        relax = RELAXATIONS[self.config.relaxation]
        return relax(self.alpha, self.temperature(step), self.generator(step, stream=1))

    def after_step(self, step: int) -> None:
        if self.is_due(step):
            if self.config.relaxation == "reinforce":
                self._reinforce(step)
            else:
                self._descend(step)

    def _descend(self, step: int) -> None:
        gates, before = self.gates(step), self.alpha.detach().clone()
        images, labels = self._batch(step)
        with frozen(self.net), self.compute.precision():
            logits = self.net.mixed(images, gates.of_decisions())
        expected_ms = self.expected_ms(self.probabilities())
        cross_entropy = nn.functional.cross_entropy(logits.float(), labels).cpu()
        loss = self._latency_loss()(cross_entropy, expected_ms)
        if all(gates.silent):
            pairs = [[*a, *s] for a, s in zip(gates.active, gates.silent, strict=True)]
            self._update(loss, torch.zeros_like(self.alpha).scatter(1, torch.tensor(pairs), 1.0))
            keep_share(self.alpha, before, pairs)
        else:
            self._update(loss)
        self._adapt(expected_ms)

    def _latency_loss(self) -> LatencyLoss:
        if self.config.loss == ADAPTIVE:
            return lambda cross_entropy, ms: cross_entropy + self._penalty(ms)
        return LATENCY_LOSSES[self.config.loss](self.target_ms)

    def _penalty(self, expected_ms: Tensor) -> Tensor:
        excess = expected_ms / self.target_ms - 1
        return self.latency_weight * excess + self.config.damping / 2 * excess**2

    def _adapt(self, expected_ms: Tensor) -> None:
        if self.config.loss != ADAPTIVE:
            return
        own = expected_ms.detach()
        average([own])  # processors may differ in the last digits, and all must draw the same paths
        moved = self.latency_weight + self.config.dual_rate * (float(own) / self.target_ms - 1)
        self.latency_weight = min(max(moved, LEAST_WEIGHT), MOST_WEIGHT)

    def _reinforce(self, step: int) -> None:
        """Williams 1992, of the accuracy alone: the expectation of the latency has a gradient, and no noise."""
        generator = self.generator(step, stream=1)
        archs = [self.sample(generator) for _ in range(self.config.samples)]
        images, labels = self._batch(step)
        correct = torch.tensor([self._accuracy(arch, images, labels) for arch in archs])
        average([correct])
        rewards: list[float] = correct.tolist()
        decay = min(self.config.baseline_decay, self.rewarded / (self.rewarded + 1))  # a plain mean at first
        self.baseline = decay * self.baseline + (1 - decay) * sum(rewards) / len(rewards)
        self.rewarded += 1
        logs = torch.stack([self._log_probability(arch) for arch in archs])
        advantage = torch.tensor(rewards) - self.baseline
        expected_ms = self.expected_ms(self.probabilities())
        self._update(self._latency_loss()(-(advantage * logs).mean(), expected_ms))
        self._adapt(expected_ms)

    def _accuracy(self, arch: Arch, images: Tensor, labels: Tensor) -> float:
        with torch.no_grad(), self.compute.precision():
            return float((self.net(images, arch).argmax(1) == labels).float().mean())

    def _log_probability(self, arch: Arch) -> Tensor:
        return self.alpha.log_softmax(1).gather(1, torch.tensor(arch)[:, None]).sum()

    def _update(self, loss: Tensor, only: Tensor | None = None) -> None:
        """One step of Adam; where `only` (decisions, choices) is 0 nothing moves."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        assert self.alpha.grad is not None
        found = loss.detach()
        average([found, self.alpha.grad])  # losses are linear in the cross-entropy, whose mean is over the whole batch
        if not torch.isfinite(found):
            raise Diverged(
                f"the search of the architecture diverged (its loss is {found.item()}); lower the learning rates, "
                "--supernet-lr"
            )
        if only is not None:
            self.alpha.grad *= only
        self.optimizer.step()

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This process' part of a batch of the search part, drawn anew each time."""
        rng = np.random.default_rng([self.seed, step])
        count = min(self.config.batch_size, len(self.images.labels)) // size() * size()
        drawn = np.sort(rng.choice(len(self.images.labels), count, replace=False))[rank() :: size()]
        chosen = ImageSet(self.images.images[drawn], self.images.labels[drawn])
        images = eval_images(chosen, self.net.space.input_shape[1], 0, len(drawn))
        labels = torch.from_numpy(np.array(chosen.labels))
        return normalise(self.compute.images(images)), labels.to(self.compute.device)

    def generator(self, step: int, stream: int) -> torch.Generator:
        """Random numbers that follow from the seed, the step and what they are for alone."""
        seed = int(np.random.SeedSequence([self.seed, step, stream]).generate_state(1)[0])
        return torch.Generator().manual_seed(seed)

    def record(self) -> dict[str, Any]:
        """Probabilities by decision, the milliseconds that they let expect, and the weight of the latency."""
        with torch.no_grad():
            expected_ms = float(self.expected_ms(self.probabilities()))
        table = [[round(p, 4) for p in choices] for choices in self.table()]
        return {"expected_ms": expected_ms, "latency_weight": self.latency_weight, "probabilities": table}

    def state_dict(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha.detach().clone(),
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in ("latency_weight", "baseline", "rewarded")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved = state.get("alpha", torch.empty(0, 0))
        if saved.shape != self.alpha.shape or not torch.equal(saved.isfinite(), self.alpha.isfinite()):
            raise UserError(
                f"the checkpoint has architecture parameters of {len(saved)} decisions, {self.net.space.name} has "
                f"{len(self.alpha)}, or of other sizes: it is of another space or method; choose another --out"
            )
        with torch.no_grad():
            self.alpha.copy_(saved)
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
def keep_share(alpha: Tensor, before: Tensor, updated: Sequence[Sequence[int]]) -> None:
    """Shifts what was updated so that together it is as likely as before: the other choices were not tried.

    alpha, before: (decisions, choices); updated: as many choices of each decision. ProxylessNAS, section 3.2.1: "we
    rescale the value of the two updated architecture parameters".
    """
    at = torch.tensor(updated)
    old, new = before.gather(1, at), alpha.gather(1, at)
    alpha.scatter_(1, at, new + old.logsumexp(1, keepdim=True) - new.logsumexp(1, keepdim=True))
