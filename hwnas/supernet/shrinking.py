"""Progressive shrinking: the largest network first, then smaller ones too, which learn from it.

Once-for-All, https://arxiv.org/abs/1908.09791, section 3.2. Two differences to the official trainer: a run's one
schedule of the learning rate spans all phases, and several paths of a step count by their mean.
"""

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import UserError
from hwnas.nn import Compute, Network, Supernet
from hwnas.spaces import extremes
from hwnas.spaces.space import Arch
from hwnas.supernet.phases import Phase, phases

TEACHER_WEIGHT = 1.0  # of what the teacher says beside the labels, as published


@dataclass
class ProgressiveShrinking:
    """Which paths are trained at the moment, and the teacher of them. A `Companion` of the weights' training."""

    net: Supernet
    compute: Compute
    steps: int  # over the whole training
    forget: Callable[[], None]  # empties the optimizer, whose moments are of channels in another order

    def __post_init__(self) -> None:
        self.phases = phases(self.net.space)
        self.starts = _starts(self.phases, self.steps)
        self.phase = 0
        self.teacher: Network | None = None

    def archs(self, rng: random.Random) -> list[Arch]:
        """The paths of one weight step, of one resolution."""
        now, d = self.phases[self.phase], self.net.space.resolution
        archs = [tuple(rng.choice(choices) for choices in now.choices) for _ in range(now.paths)]
        return archs if d is None else [(*arch[:d], archs[0][d], *arch[d + 1 :]) for arch in archs]

    def soft_labels(self, images: Tensor, arch: Arch) -> Tensor | None:
        """What the largest network, as it was when its own training ended, says; None while it trains.

        At the resolution of the architecture, as published: all networks of a step see the same images.
        """
        if self.teacher is None:
            return None
        with torch.no_grad(), self.compute.precision():
            return self.teacher(self.net.resized(images, arch)).float().softmax(1)  # type: ignore[no-any-return]

    def after_step(self, step: int) -> None:
        while self.phase < bisect_right(self.starts, step + 1) - 1:
            self._enter(self.phase + 1)

    def _enter(self, phase: int) -> None:
        if self.teacher is None:
            self.teacher = self._largest()
        if self.phases[phase].sorts:
            self.net.sort_hidden(self.phases[phase - 1].choices)
        self.phase = phase
        self.forget()

    def _largest(self) -> Network:
        arch = extremes(self.net.space)[1]
        network = self.net.network(arch).eval().requires_grad_(False)
        self.compute.module(network)
        return network

    def record(self) -> dict[str, Any]:
        """The phase that the epoch ended in."""
        return {"phase": self.phases[self.phase].name}

    def state_dict(self) -> dict[str, Any]:
        return {"phase": self.phase, "teacher": self.teacher.state_dict() if self.teacher else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        phase = state.get("phase")
        if not isinstance(phase, int) or not 0 <= phase < len(self.phases):
            raise UserError(
                f"the checkpoint is in phase {phase!r} of a training of {self.net.space.name} that has "
                f"{len(self.phases)} phases: it is of another space or method; choose another --out"
            )
        self.phase = phase
        if state["teacher"]:
            self.teacher = self._largest()
            self.teacher.load_state_dict(state["teacher"])


def _starts(found: list[Phase], steps: int) -> list[int]:
    """The first step of each phase; at least one step is the largest network's, and a later phase may have none."""
    starts, share = [0], 0.0
    for phase in found[:-1]:
        share += phase.share
        starts.append(max(1, round(share * steps)))
    return starts


def taught(logits: Tensor, soft_labels: Tensor | None) -> Tensor | float:
    """What the loss gains by a teacher: the cross-entropy to its soft labels. logits: (N, classes)"""
    if soft_labels is None:
        return 0.0
    return TEACHER_WEIGHT * nn.functional.cross_entropy(logits.float(), soft_labels)
