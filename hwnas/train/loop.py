"""The training loop, of networks and super-networks alike: epochs of steps, a checkpoint after each."""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hwnas.datasets import ImageSet
from hwnas.errors import UserError
from hwnas.nn import Compute
from hwnas.storage import Journal, write_bytes
from hwnas.train.batches import eval_batches, normalise, train_batches
from hwnas.train.recipe import Ema, Recipe, optimizer, set_lr

Forward = Callable[[Tensor, int], Tensor]  # (images, number of the step) -> logits
Loss = Callable[[Tensor, Tensor], Tensor]  # (logits, labels) -> a scalar
Losses = Callable[[Tensor, Tensor, Loss, int], Iterable[Tensor]]  # (images, labels, loss, number of the step)
OnEpoch = Callable[[int, dict[str, Any]], None]  # epochs done, what the journal got
EVAL_BATCH = 256


class Companion(Protocol):
    """What is trained beside the weights, between their steps; its state is part of the checkpoint."""

    def after_step(self, step: int) -> None:
        """Called when a weight step is done; `step` counts from 0 over all epochs."""
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
    forward: Forward
    images: ImageSet
    resolution: int
    recipe: Recipe
    compute: Compute
    seed: int
    checkpoint: Path
    journal: Path
    workers: int = 0
    losses: Losses | None = None  # instead of the one loss of `forward`: each is propagated back, then one step is made
    companion: Companion | None = None

    def run(self, evaluate: Callable[[], float] | None = None, on_epoch: OnEpoch = lambda epoch, record: None) -> None:
        """Trains to the end, from the checkpoint where there is one, and leaves the (averaged) weights in `module`.

        `evaluate` gives the accuracy that the journal notes after the last epoch.
        """
        self.compute.module(self.module)
        self.optimizer = optimizer(self.recipe, self.module)
        self.ema = Ema(self.module, self.recipe.ema_decay) if self.recipe.ema_decay else None
        journal, start = Journal(self.journal), self._restore()
        for epoch in range(start, self.recipe.epochs):
            record: dict[str, Any] = {"epoch": epoch + 1, **self._epoch(epoch)}
            if self.companion is not None:
                record |= self.companion.record()
            if evaluate is not None:
                record["search_accuracy"] = self._averaged(evaluate)
            if len(journal.records) <= epoch:  # else a crash came between the two files: the epoch is the same again
                journal.append(record)
            self._save(epoch + 1)
            on_epoch(epoch + 1, record)
        if self.ema is not None:
            self.module.load_state_dict(self.ema.shadow)
        self.module.eval()

    def history(self) -> list[dict[str, Any]]:
        """What the journal holds, an epoch a record."""
        return list(Journal(self.journal).records)

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.images, self.recipe)

    def _epoch(self, epoch: int) -> dict[str, float]:
        start_s, total_loss = time.perf_counter(), torch.zeros((), device=self.compute.device)
        batches = train_batches(
            self.images, self.resolution, self.recipe.flip, self.recipe.batch_size, self.seed, epoch, self.workers
        )
        self.module.train()
        for number, (images, labels) in enumerate(batches):
            total_loss += self._step(images, labels, epoch * self.steps_per_epoch + number)
        loss = float(total_loss) / self.steps_per_epoch
        if loss != loss:
            raise UserError(
                f"training diverged in epoch {epoch + 1} (the loss is not a number); lower the learning rate, "
                f"now {self.recipe.lr}"
            )
        return {"loss": loss, "lr": self._lr(epoch * self.steps_per_epoch), "seconds": time.perf_counter() - start_s}

    def _lr(self, step: int) -> float:
        return self.recipe.lr_at((step + 0.5) / (self.recipe.epochs * self.steps_per_epoch))

    def _step(self, images: Tensor, labels: Tensor, step: int) -> Tensor:
        set_lr(self.optimizer.param_groups, self._lr(step))
        self.optimizer.zero_grad(set_to_none=True)  # None, not zero: idle operators must not move
        total = torch.zeros((), device=self.compute.device)
        for loss in self._losses(normalise(self.compute.images(images)), labels.to(self.compute.device), step):
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.optimizer.step()
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
            logits = self.forward(images, step)
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

    def _save(self, epochs: int) -> None:
        state = {
            "epochs": epochs,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.shadow if self.ema else {},
            "ema_steps": self.ema.steps if self.ema else 0,
            "companion": self.companion.state_dict() if self.companion else {},
        }
        buffer = io.BytesIO()  # torch itself would report a full disk as an error of its own kind
        torch.save(state, buffer)
        write_bytes(self.checkpoint, buffer.getvalue())

    def _restore(self) -> int:
        """Epochs already done."""
        if not self.checkpoint.exists():
            return 0
        state = load_checkpoint(self.checkpoint)
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.shadow, self.ema.steps = state["ema"], state["ema_steps"]
            self.ema.shadow = {k: v.to(self.compute.device) for k, v in self.ema.shadow.items()}
        if self.companion is not None:
            self.companion.load_state_dict(state.get("companion", {}))
        return int(state["epochs"])


def steps_per_epoch(images: ImageSet, recipe: Recipe) -> int:
    """Whole batches only."""
    return len(images.labels) // min(recipe.batch_size, len(images.labels))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU; UserError where the file is damaged or not there."""
    if not path.exists():
        raise UserError(f"checkpoint {path} is not there; run the stage that trains it again")
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # noqa: BLE001 torch raises many kinds for a damaged file
        raise UserError(f"checkpoint {path} is damaged ({type(error).__name__}); delete it and run again") from None


@torch.no_grad()
def accuracy(forward: Callable[[Tensor], Tensor], images: ImageSet, resolution: int, compute: Compute) -> float:
    """Share of the images whose largest logit is the label's."""
    right = torch.zeros((), dtype=torch.int64, device=compute.device)
    for batch, labels in eval_batches(images, resolution, EVAL_BATCH, compute):
        with compute.precision():
            right += (forward(batch).argmax(1) == labels).sum()
    return int(right) / len(images.labels)
