"""Architecture parameters trained beside the weights, on images that the weights are not trained on.

Every few weight steps one step of Adam on the parameters: by gradient, through a relaxation, or by REINFORCE, from what
sampled paths are worth. The weight of the latency is itself adapted, so that the expected latency lands on the
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
from hwnas.latency import Predictor
from hwnas.nn import Compute, Supernet
from hwnas.objective import ADAPTIVE, LATENCY_LOSSES, LOSSES, LatencyLoss
from hwnas.ranks import average, rank, size
from hwnas.spaces.space import Arch
from hwnas.supernet.policies import Controller, Independent, Policy
from hwnas.supernet.relaxations import RELAXATIONS, Gates
from hwnas.supernet.unrolled import unrolled_gradient
from hwnas.train import Diverged, eval_images, normalise

Reward = Callable[[float, Arch], float]  # (accuracy, architecture) -> what it is worth
WAYS = (*RELAXATIONS, "reinforce", "controller")
MOST_WEIGHT = 100.0  # of the relative excess, against a cross-entropy of about 1
LEAST_WEIGHT = -1.0  # below 0 the budget is filled up; not at any price, as a target may be out of reach
COOLING = 0.045 * 90  # FBNet's temperature is exp(-0.045) of the last epoch's, over 90 epochs; here over all steps


@dataclass(frozen=True, slots=True)
class ArchitectureConfig:
    """ProxylessNAS' settings, where a line says nothing else."""

    relaxation: str = "two_paths"  # a key of RELAXATIONS; "reinforce" or "controller": by REINFORCE, or of an LSTM
    unrolled: bool = False  # the gradient goes through a step of the weights; needs "softmax"
    loss: str = ADAPTIVE  # one of LOSSES
    loss_number: float | None = None  # a published loss' weight or exponent; None: its own
    lr: float = 0.05  # of Adam; the paper's 0.001 is for its hundred thousand steps
    warmup_share: float = 0.25  # of the weight steps: weights only, as the paper's 40 of 160 epochs
    every: int = 2  # weight steps per step of the parameters; the paper's 5, with as many steps as it has
    batch_size: int = 64
    temperature: float = 5.0  # FBNet's, of the first step; it falls exponentially to 0.09
    dual_rate: float = 0.05  # of the weight of the latency, per step and per unit of relative excess
    damping: float = 1.0  # of the square of the relative excess
    samples: int = 2  # paths of a REINFORCE step
    baseline_decay: float = 0.95  # of the mean reward, TuNAS'
    entropy_weight: float = 0.0  # of the policy's entropy in nats, added to the reward

    def __post_init__(self) -> None:
        for value, allowed in ((self.relaxation, WAYS), (self.loss, LOSSES)):
            if value not in allowed:
                raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
        if self.unrolled and self.relaxation != "softmax":
            raise ValueError(f"an unrolled step needs the relaxation 'softmax', {self.relaxation!r} came")
        if self.relaxation not in RELAXATIONS and self.loss != ADAPTIVE and not LATENCY_LOSSES[self.loss].is_sum:
            raise ValueError(f"{self.loss!r} is a product with the cross-entropy, and {self.relaxation!r} has none")


@dataclass(frozen=True)
class WeightTraining:
    """What an unrolled step has to know of the weights' own training."""

    images: ImageSet
    lr_at: Callable[[int], float]  # of a step
    label_smoothing: float


@dataclass
class ArchitectureTraining:
    """A policy over architectures, and the steps that train it. A `Companion` of the weights' training."""

    net: Supernet
    predictor: Predictor
    target_ms: float
    images: ImageSet  # of the search part
    compute: Compute
    config: ArchitectureConfig
    seed: int
    steps: int  # of the weights, over the whole training
    reward: Reward | None = None  # of REINFORCE; without one the accuracy, and the latency is in the loss
    weight_training: WeightTraining | None = None  # where the config says unrolled

    def __post_init__(self) -> None:
        counts = [len(d.choices) for d in self.net.space.decisions]
        by_lstm = self.config.relaxation == "controller"
        self.policy: Policy = Controller(counts, self.generator(0, 4)) if by_lstm else Independent(counts)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.config.lr, betas=(0.0, 0.999))
        self.latency_weight, self.baseline, self.rewarded = 0.0, 0.0, 0

    @property
    def alpha(self) -> nn.Parameter:
        """(decisions, choices) parameters of independent decisions: what gradients are taken of."""
        assert isinstance(self.policy, Independent)
        return self.policy.alpha

    @property
    def warmup_steps(self) -> int:
        return math.ceil(self.config.warmup_share * self.steps)

    def is_due(self, step: int) -> bool:
        """Whether the parameters are trained after this weight step."""
        return step >= self.warmup_steps and (step - self.warmup_steps) % self.config.every == 0

    def temperature(self, step: int) -> float:
        """Falls over all steps: in the first of them, which train weights only, it does as well (FBNet)."""
        return self.config.temperature * math.exp(-COOLING * step / self.steps)

    def table(self) -> list[list[float]]:
        """The probability of every decision's choices."""
        return self.policy.table(self.generator(0, stream=3))

    def expected_ms(self, step: int) -> Tensor:
        """What the policy lets expect, a scalar with a gradient."""
        return self.policy.expected_ms(self.predictor, self.generator(step, stream=5))

    def draw(self, number: int) -> Arch:
        """An architecture drawn by the policy: the same for the same number."""
        return self.sample(self.generator(number, stream=6))

    def sample(self, generator: torch.Generator) -> Arch:
        with torch.no_grad():
            return self.policy.draw(1, generator).archs[0]

    def gates(self, step: int, stream: int = 1) -> Gates:
        """The relaxation's, for one step. stream: of the random numbers.

        The step of the weights has its own: probabilities must not be judged by the very sample that was just fitted.
        """
        relax = RELAXATIONS[self.config.relaxation]
        return relax(self.alpha, self.temperature(step), self.generator(step, stream))

    def after_step(self, step: int) -> None:
        if not self.is_due(step):
            return
        if self.config.relaxation not in RELAXATIONS:
            self._reinforce(step)
        elif self.config.unrolled:
            self._descend_unrolled(step)
        else:
            self._descend(step)

    def _descend(self, step: int) -> None:
        gates, before = self.gates(step), self.alpha.detach().clone()
        with frozen(self.net):
            cross_entropy = self._cross_entropy(gates, self._batch(self.images, step))
        expected_ms = self.expected_ms(step)
        gradient = self._gradient(self._latency_loss()(cross_entropy, expected_ms))
        if all(gates.silent):
            pairs = [[*a, *s] for a, s in zip(gates.active, gates.silent, strict=True)]
            self._move([gradient[0] * torch.zeros_like(self.alpha).scatter(1, torch.tensor(pairs), 1.0)])
            keep_share(self.alpha, before, pairs)
        else:
            self._move(gradient)
        self._adapt(expected_ms)

    def _descend_unrolled(self, step: int) -> None:
        weights = self.weight_training
        assert weights is not None
        training, validation = self._batch(weights.images, step, stream=1), self._batch(self.images, step)
        devices = [] if self.compute.device == "cpu" else [torch.cuda.current_device()]

        def cross_entropy(batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
            with torch.random.fork_rng(devices):  # the same dropout each time
                torch.manual_seed(step)
                return self._cross_entropy(self.gates(step), batch, label_smoothing)

        loss, gradient = unrolled_gradient(
            self.alpha,
            [p for p in self.net.parameters() if p.requires_grad],
            lambda: cross_entropy(training, weights.label_smoothing),
            lambda: self._latency_loss()(cross_entropy(validation), self.expected_ms(step)),
            weights.lr_at(step),
        )
        check_finite(loss)
        expected_ms = self.expected_ms(step).detach()
        self._move([gradient])
        self._adapt(expected_ms)

    def _cross_entropy(self, gates: Gates, batch: tuple[Tensor, Tensor], label_smoothing: float = 0.0) -> Tensor:
        images, labels = batch
        with self.compute.precision():
            logits = self.net.mixed(images, gates.of_decisions())
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing).cpu()

    def _latency_loss(self) -> LatencyLoss:
        if self.config.loss == ADAPTIVE:
            return lambda cross_entropy, ms: cross_entropy + self._penalty(ms)
        form, number = LATENCY_LOSSES[self.config.loss], self.config.loss_number
        return form.of(self.target_ms, form.default if number is None else number)

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
        """Williams 1992. Without a reward of the accuracy alone: the latency is in the loss, by its expectation."""
        drawn = self.policy.draw(self.config.samples, self.generator(step, stream=1))
        worth = self._worth(drawn.archs, *self._batch(self.images, step))
        decay = min(self.config.baseline_decay, self.rewarded / (self.rewarded + 1))  # a plain mean at first
        self.baseline = decay * self.baseline + (1 - decay) * sum(worth) / len(worth)
        self.rewarded += 1
        loss = -((torch.tensor(worth) - self.baseline) * drawn.log_probability).mean()
        loss = loss - self.config.entropy_weight * drawn.entropy
        if self.reward is not None:
            self._move(self._gradient(loss))
            return
        expected_ms = self.expected_ms(step)
        self._move(self._gradient(self._latency_loss()(loss, expected_ms)))
        self._adapt(expected_ms)

    def _worth(self, archs: Sequence[Arch], images: Tensor, labels: Tensor) -> list[float]:
        found = torch.tensor([self._accuracy(arch, images, labels) for arch in archs])
        average([found])
        accuracies: list[float] = found.tolist()
        if self.reward is None:
            return accuracies
        return [self.reward(accuracy, arch) for accuracy, arch in zip(accuracies, archs, strict=True)]

    def _accuracy(self, arch: Arch, images: Tensor, labels: Tensor) -> float:
        with torch.no_grad(), self.compute.precision():
            return float((self.net(images, arch).argmax(1) == labels).float().mean())

    def _gradient(self, loss: Tensor) -> list[Tensor]:
        gradient = list(torch.autograd.grad(loss, list(self.policy.parameters()), materialize_grads=True))
        found = loss.detach()
        average([found, *gradient])  # losses are linear in the cross-entropy, whose mean is over the whole batch
        check_finite(found)
        return gradient

    def _move(self, gradient: Sequence[Tensor]) -> None:
        """One step of Adam."""
        for parameter, its in zip(self.policy.parameters(), gradient, strict=True):
            parameter.grad = its
        self.optimizer.step()

    def _batch(self, of: ImageSet, step: int, stream: int = 0) -> tuple[Tensor, Tensor]:
        """This process' part of a batch of the images, drawn anew each time."""
        rng = np.random.default_rng([self.seed, step, stream])
        count = min(self.config.batch_size, len(of.labels)) // size() * size()
        drawn = np.sort(rng.choice(len(of.labels), count, replace=False))[rank() :: size()]
        chosen = ImageSet(of.images[drawn], of.labels[drawn])
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
            expected_ms = float(self.expected_ms(self.steps))
        table = [[round(p, 4) for p in choices] for choices in self.table()]
        return {"expected_ms": expected_ms, "latency_weight": self.latency_weight, "probabilities": table}

    def state_dict(self) -> dict[str, Any]:
        return {
            "policy": {name: value.detach().clone() for name, value in self.policy.state_dict().items()},
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in ("latency_weight", "baseline", "rewarded")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved, own = state.get("policy", {}), self.policy.state_dict()
        if saved.keys() != own.keys() or not all(_alike(saved[name], own[name]) for name in own):
            raise UserError(
                f"the checkpoint has architecture parameters that do not fit the {len(self.policy.counts)} decisions "
                f"of {self.net.space.name}: it is of another space or method; choose another --out"
            )
        self.policy.load_state_dict(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.latency_weight, self.baseline = float(state["latency_weight"]), float(state["baseline"])
        self.rewarded = int(state["rewarded"])


def _alike(saved: Tensor, own: Tensor) -> bool:
    return saved.shape == own.shape and torch.equal(saved.isfinite(), own.isfinite())


def check_finite(loss: Tensor) -> None:
    """Diverged where a loss is no number."""
    if not torch.isfinite(loss):
        raise Diverged(
            f"the search of the architecture diverged (its loss is {loss.item()}); lower the learning rates, "
            "--supernet-lr"
        )


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
