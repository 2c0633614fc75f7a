"""The training loop, of networks and super-networks alike: epochs of steps, and checkpoints in between.

Everything random in a step follows from the seed and the step's number, so a training goes on from a checkpoint as if
it had never stopped: on a CPU to the bit.
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hwnas import ranks
from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.nn import Compute
from hwnas.nn.parts import forget_use, shared_modules, used_parts
from hwnas.nn.synchronised import synchronised
from hwnas.storage import Journal
from hwnas.train import partial
from hwnas.train.batches import StoredBatches, eval_batches, normalise, train_batches
from hwnas.train.checkpoint import State, check_fits, check_processes, is_finite, load_checkpoint, save
from hwnas.train.corruption import Change, unchanged
from hwnas.train.divergence import MOST_LOSS, Diverged, outputs_of
from hwnas.train.recipe import Ema, Recipe, optimizer, set_lr

Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, labels) -> a scalar
Losses = Callable[[Tensor, Tensor, Loss, int], Iterable[Tensor]]  # (images, labels, loss, number of the step)
OnEpoch = Callable[[int, dict[str, Any]], None]  # epochs done, what the journal got
EVAL_BATCH = 256
STEP_STREAM = 3  # of random numbers, beside those of `supernet.architecture`
MOST_STEPS_UNSEEN = 50  # between two looks at whether all is finite: each of them waits for the device
LOOKS = 4  # between two checkpoints, at least


class Companion(Protocol):
    """What is trained beside the weights, between their steps; its state is part of the checkpoint."""

    def after_step(self, step: int) -> None:
        """Called when a weight step is done; `step` counts from 0 over all epochs. Diverged where it cannot go on."""
        ...

    def record(self) -> dict[str, Any]:
        """What the journal notes of it after an epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; UserError where it is of something else."""
        ...


@dataclass
class Training:
    """One training: what is trained, on what, how, and the files in which it survives."""

    module: nn.Module
    images: ImageSet
    resolution: int
    recipe: Recipe
    compute: Compute
    seed: int
    checkpoint: Path
    journal: Path
    workers: int = 0
    losses: Losses | None = None  # each is propagated back, then one step is made; None: the one of module(images)
    companion: Companion | None = None
    checkpoint_every_s: float = 60.0  # within an epoch; after an epoch there is one anyway
    processes_may_change: bool = False  # between a checkpoint and what goes on from it
    lr_option: str = "the learning rate"  # how the user sets it

    def run(self, evaluate: Callable[[], float] | None = None, on_epoch: OnEpoch = lambda epoch, record: None) -> None:
        """Trains to the end, from the checkpoint where there is one, and leaves the (averaged) weights in `module`.

        `evaluate` gives the accuracy that the journal notes after each epoch. Diverged, a UserError, where a loss or a
        weight is not finite: the checkpoint then is of a step before that.
        """
        self._begin()
        with synchronised():
            try:
                self._epochs(evaluate, on_epoch)
            except Diverged:
                raise self._diagnosis() from None
        if self.ema is not None:
            self.module.load_state_dict(self.ema.shadow)
        self.module.eval()

    def history(self) -> list[dict[str, Any]]:
        """What the journal holds, an epoch a record."""
        return list(Journal(self.journal).records)

    @property
    def steps_per_epoch(self) -> int:
        return self.recipe.steps_per_epoch(len(self.images.labels))

    def _begin(self) -> None:
        if self.recipe.batch_size % ranks.size():
            raise UserError(
                f"a batch of {self.recipe.batch_size} images cannot be shared equally by {ranks.size()} processes; "
                "choose a --batch-size that can, or another --nproc-per-node"
            )
        self.compute.module(self.module)
        self.shared = shared_modules(self.module)
        self.optimizer = optimizer(self.recipe, self.module)
        self.ema = Ema(self.module, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self.epoch, self.step, self.seconds = 0, 0, 0.0  # epochs done; of the next one: steps done, what they took
        self.total_loss = torch.zeros((), device=self.compute.device)  # of these steps
        self.saved, self.saved_s = "", time.perf_counter()
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint)
            check_processes(self.checkpoint, state, ranks.size(), self.processes_may_change)
            check_fits(self.checkpoint, state, self.module, self._beside())
            self._load(state)
            self.saved = self._place()
        self._keep()

    def _epochs(self, evaluate: Callable[[], float] | None, on_epoch: OnEpoch) -> None:
        journal = Journal(self.journal, writes=ranks.is_first())
        for epoch in range(self.epoch, self.recipe.epochs):
            self._steps()
            record: dict[str, Any] = {"epoch": epoch + 1, **self._record()}
            if self.companion is not None:
                record |= self.companion.record()
            if evaluate is not None:
                record["search_accuracy"] = self._averaged(evaluate)
            if len(journal.records) <= epoch:  # else a crash came between the two files: the epoch is the same again
                journal.append(record)
            self.epoch, self.step, self.seconds, self.total_loss = epoch + 1, 0, 0.0, torch.zeros_like(self.total_loss)
            self._keep()
            self._save()
            on_epoch(epoch + 1, record)

    def _steps(self) -> None:
        """Those that the epoch lacks. Every process looks after the same ones: all take part in what may follow."""
        looked, looked_s, unseen = self.step, time.perf_counter(), 1
        for images, labels in self._batches():
            self.total_loss += self._step(images, labels)
            self.step += 1
            if self.step - looked < unseen and self.step < self.steps_per_epoch:
                continue
            self._check(self.step - looked)
            now_s = time.perf_counter()
            self.seconds += now_s - looked_s
            self._keep()
            if now_s - self.saved_s >= self.checkpoint_every_s:
                self._save()
            unseen = self._steps_unseen((now_s - looked_s) / (self.step - looked))
            looked, looked_s = self.step, now_s

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        recipe = self.recipe
        return train_batches(
            *(self.images, self.resolution, recipe.flip, recipe.batch_size, self.seed, self.epoch),
            *(self.workers, self.step),
        )

    def _steps_unseen(self, step_s: float) -> int:
        """Until the next look: so few that a checkpoint is written in time, by the first process' clock."""
        in_time = int(self.checkpoint_every_s / LOOKS / step_s)
        return int(ranks.from_first(max(1, min(MOST_STEPS_UNSEEN, in_time))))

    def _record(self) -> dict[str, float]:
        loss, lr = float(self.total_loss) / self.steps_per_epoch, self._lr(self.epoch * self.steps_per_epoch)
        return {"loss": loss, "lr": lr, "seconds": self.seconds}

    def _lr(self, step: int) -> float:
        return self.recipe.lr_at((step + 0.5) / (self.recipe.epochs * self.steps_per_epoch))

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of the whole batch, of which `images` are this process' part.

        Gradients are averaged by hand: DistributedDataParallel would have to find anew in each step which parameters
        its path has. All processes train the same path, so the same ones have a gradient in each of them.
        """
        step = self.epoch * self.steps_per_epoch + self.step
        self.module.train()
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step, STEP_STREAM]).generate_state(1)[0]))
        set_lr(self.optimizer.param_groups, self._lr(step))
        self.optimizer.zero_grad(set_to_none=True)  # None, not zero: idle operators must not move
        forget_use(self.shared)
        total = torch.zeros((), device=self.compute.device)
        for loss in self._losses(normalise(self.compute.images(images)), labels.to(self.compute.device), step):
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        ranks.average([total, *(p.grad for p in self.module.parameters() if p.grad is not None)])
        partial.step(self.optimizer, used_parts(self.shared))
        if self.ema is not None:
            self.ema.update(self.module)
        if self.companion is not None:
            self.companion.after_step(step)
        return total

    def _losses(self, images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        """One after the other, so that what each needed is free again before the next."""
        if self.losses is not None:
            yield from self.losses(images, labels, self._loss, step)
            return
        with self.compute.precision():
            logits = self.module(images)
        yield self._loss(logits, labels)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def _averaged(self, evaluate: Callable[[], float]) -> float:
        """What `evaluate` says of the averaged weights."""
        if self.ema is None:
            return evaluate()
        own = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.ema.shadow)
        result = evaluate()
        self.module.load_state_dict(own)
        return result

    def _check(self, steps: int) -> None:
        """Diverged where something is wrong since the last look, `steps` ago."""
        loss = float(self.total_loss - self.sound["total_loss"]) / steps
        if not (loss < MOST_LOSS and self._is_finite()):
            raise Diverged(f"training diverged; lower {self.lr_option}")

    def _is_finite(self) -> bool:
        state = self._state()
        trained = [state[name] for name in ("module", "optimizer", "ema")]
        return is_finite(trained) and is_finite(state["companion"], masked=True)

    def _diagnosis(self) -> Diverged:
        """Repeats the steps since the last sound state, with an eye on every layer."""
        self._load(self.sound)
        found = "it did not when its last steps were repeated"
        for images, labels in self._batches():
            with outputs_of(self.module) as outputs:
                is_sound = self._repeat(images, labels)
            if not is_sound:
                found = outputs.told(self.module)
                break
            self.step += 1
        lr = self._lr(self.epoch * self.steps_per_epoch + self.step)
        again = f"lower {self.lr_option}, now {self.recipe.lr:g}, and run again"
        return Diverged(
            f"training diverged in step {self.step + 1} of epoch {self.epoch + 1}, at a learning rate of {lr:.3g}: "
            f"{found}; {again}" + self._what_is_kept()
        )

    def _repeat(self, images: Tensor, labels: Tensor) -> bool:
        """One step; whether all is well after it."""
        try:
            return float(self._step(images, labels)) < MOST_LOSS and self._is_finite()
        except Diverged:
            return False

    def _what_is_kept(self) -> str:
        if not self.saved:
            return ""
        return (
            f": {self.checkpoint} is of {self.saved}, before that, and will be gone on from; delete it and "
            f"{self.journal.name} to begin anew"
        )

    def _place(self) -> str:
        if not self.step:
            return f"the end of epoch {self.epoch}"
        return f"step {self.step} of epoch {self.epoch + 1}"

    def _state(self) -> State:
        return {
            "epochs": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "total_loss": self.total_loss,
            "processes": ranks.size(),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.shadow if self.ema else {},
            "ema_steps": self.ema.steps if self.ema else 0,
            "companion": self._beside(),
        }

    def _beside(self) -> State:
        return self.companion.state_dict() if self.companion else {}

    def _load(self, state: State) -> None:
        self.epoch, self.step, self.seconds = int(state["epochs"]), int(state["step"]), float(state["seconds"])
        self.total_loss = state["total_loss"].to(self.compute.device)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.steps = int(state["ema_steps"])
            self.ema.shadow = {k: v.to(self.compute.device) for k, v in state["ema"].items()}
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])

    def _keep(self) -> None:
        """Remembers this state as sound: what a checkpoint gets, and where a diagnosis begins."""
        self.sound = copy.deepcopy(self._state())

    def _save(self) -> None:
        self.saved, self.saved_s = self._place(), time.perf_counter()
        if ranks.is_first():
            save(self.checkpoint, self.sound)


class Judged(NamedTuple):
    """What a network makes of labelled images."""

    accuracy: float  # share of the images whose largest logit is the label's
    likelihood: float  # geometric mean of the probabilities that the labels get: exp(-cross-entropy), 0..1


@torch.no_grad()
def _sums(
    forward: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], compute: Compute
) -> tuple[int, float, int]:
    """(how many images have their largest logit at their label, their cross-entropies added up, how many there are)."""
    right, count = torch.zeros((), dtype=torch.int64, device=compute.device), 0
    nats = torch.zeros((), dtype=torch.float64, device=compute.device)
    for batch, labels in batches:  # all on the device
        with compute.precision():
            logits = forward(batch)
        right += (logits.argmax(1) == labels).sum()
        nats += nn.functional.cross_entropy(logits.float(), labels, reduction="sum").double()
        count += len(labels)
    return int(right), float(nats), count


def judged_on(
    forward: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], compute: Compute
) -> Judged:
    """Of at least one image."""
    right, nats, count = _sums(forward, batches, compute)
    return Judged(right / count, math.exp(-nats / count))


def accuracy_on(
    forward: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], compute: Compute
) -> float:
    """Share of the images whose largest logit is the label's."""
    return judged_on(forward, batches, compute).accuracy


def accuracy(forward: Callable[[Tensor], Tensor], images: ImageSet, resolution: int, compute: Compute) -> float:
    """The same of stored images."""
    return accuracy_on(forward, eval_batches(images, resolution, EVAL_BATCH, compute), compute)


def shared_accuracy(
    forward: Callable[[Tensor], Tensor],
    images: ImageSet,
    resolution: int,
    compute: Compute,
    change: Change = unchanged,
) -> float:
    """The accuracy of `shared_judged`."""
    return shared_judged(forward, images, resolution, compute, change).accuracy


def shared_judged(
    forward: Callable[[Tensor], Tensor],
    images: ImageSet,
    resolution: int,
    compute: Compute,
    change: Change = unchanged,
) -> Judged:
    """The same, where each process looks at its part of the images; `change` is made of each by its number of all."""
    part = slice(ranks.rank(), None, ranks.size())
    own, of_all = ImageSet(images.images[part], images.labels[part]), range(len(images.labels))[part]
    batches = StoredBatches(
        *(own, resolution, EVAL_BATCH, compute),
        most_bytes=0,
        change=lambda some, numbers: change(some, [of_all[number] for number in numbers]),
    )
    right, nats, _ = _sums(forward, batches, compute)
    count = len(images.labels)
    return Judged(ranks.total(right) / count, math.exp(-ranks.total(nats) / count))
