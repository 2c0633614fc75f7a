"""Trainings small enough for seconds, as processes of their own: to be killed, and to be shared by several.

python tests/train/shared_training.py train FOLDER KINDS EPOCHS: each to the end, in float64; leaves `KIND/done.pt`.
python tests/train/shared_training.py kill FOLDER KINDS SEED: each once in peace in `whole`, and killed often in `part`.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas import heartbeat, ranks
from hwnas.datasets import ImageSet
from hwnas.latency import TablePredictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.nn import Compute
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.spaces.macs import op_macs
from hwnas.supernet import (
    PATH_SAMPLERS,
    ArchitectureConfig,
    ArchitectureTraining,
    architecture_search,
    supernet_training,
)
from hwnas.train import Recipe, Training, load_checkpoint
from hwnas.train.batches import augmentation

CPU = Compute("cpu")
KINDS = ("plain", "sandwich", "two_paths", "reinforce")


def images_of(count: int, seed: int = 0) -> ImageSet:
    """Four classes by which quarter of the image is bright."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 120, (count, 3, 16, 16), dtype=np.uint8), np.arange(count) % 4
    for quarter in range(4):
        top, left = 8 * (quarter // 2), 8 * (quarter % 2)
        images[labels == quarter, :, top : top + 8, left : left + 8] += 100
    return ImageSet(images, labels.astype(np.int64))


def plain(folder: Path, recipe: Recipe) -> Training:
    """A small network standing alone, with dropout and a weight average."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
    net = nn.Sequential(conv, nn.Dropout(0.2), nn.Linear(6 * 8 * 8, 4))
    return Training(net, images_of(64), 16, recipe, CPU, 3, folder / "plain.pt", folder / "plain.jsonl")


def training_of(kind: str, folder: Path, epochs: int = 2) -> tuple[Training, ArchitectureTraining | None]:
    """The training of one kind, and its probabilities where it has such."""
    recipe = Recipe(epochs=epochs, batch_size=16, flip=False)
    if kind == "plain":
        return plain(folder, recipe), None
    space = build_space(SpaceConfig("proxyless_small", 16, 4, width_mult=0.25))
    if kind == "sandwich":
        paths = PATH_SAMPLERS["sandwich"]
        return supernet_training(space, images_of(64), recipe, CPU, 3, folder, paths, distil=True), None
    predictor = TablePredictor(space, {k: 0.01 + op_macs(s) / 1e7 for k, s in rows_to_measure(space).items()})
    target_ms = sum(predictor.arch_ms(arch) for arch in extremes(space)) / 2
    config = ArchitectureConfig(relaxation=kind, every=1, batch_size=16)
    images = images_of(64), images_of(64, seed=1)
    return architecture_search(space, *images, recipe, CPU, 3, folder, config, predictor, target_ms)


def in_doubles(training: Training, chosen: ArchitectureTraining | None) -> None:
    """All arithmetic in float64: a deep network with small batches makes much of float32's last digit."""
    training.module.double()
    losses = training.losses or (lambda x, labels, loss, step: [loss(training.module(x), labels)])
    training.losses = lambda images, *rest: losses(images.double(), *rest)
    if chosen is not None:
        batch = chosen._batch

        def doubles(*of_step: Any) -> tuple[torch.Tensor, torch.Tensor]:
            images, labels = batch(*of_step)
            return images.double(), labels

        chosen._batch = doubles  # type: ignore[method-assign]


def result_of(training: Training) -> dict[str, Any]:
    """Everything that a training ends with, times left out."""
    state = {name: training._state()[name] for name in ("module", "optimizer", "ema", "ema_steps", "companion")}
    return {**state, "journal": [{**record, "seconds": 0} for record in training.history()]}


def train(kind: str, folder: Path, epochs: int = 2, checkpoint_every_s: float = 60.0, doubles: bool = False) -> None:
    """To the end, from the checkpoint where there is one."""
    training, chosen = training_of(kind, folder / kind, epochs)
    training.checkpoint_every_s = checkpoint_every_s
    training.processes_may_change = "PROCESSES_MAY_CHANGE" in os.environ
    if doubles:
        in_doubles(training, chosen)
    if "DIES_AT" in os.environ:
        _die(training, int(os.environ["DIES_AT"]))
    training.run()
    if ranks.is_first():
        torch.save(result_of(training), folder / kind / "done.pt")


def _die(training: Training, step: int) -> None:
    """The second process ends in that step, the first time that torchrun started it; WITH_ITS_MACHINE, torchrun too.

    SILENTLY, both only stop: as of a machine without power, no connection is closed. The file that it names gets the
    second process' number.
    """
    losses = training.losses
    assert losses is not None

    def deadly(images: torch.Tensor, labels: torch.Tensor, loss: Any, number: int) -> Any:
        if ranks.rank() == 1 and number == step and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            end = signal.SIGKILL
            if "SILENTLY" in os.environ:
                Path(os.environ["SILENTLY"]).write_text(str(os.getpid()))
                end = signal.SIGSTOP
            if "WITH_ITS_MACHINE" in os.environ:
                os.kill(os.getppid(), end)
            os.kill(os.getpid(), end)
        return losses(images, labels, loss, number)

    training.losses = deadly


def interrupted_after_every_step(
    make: Callable[[], tuple[Training, Any]], on_interrupt: Callable[[Training], None]
) -> tuple[Training, Any]:
    """What `make` gave for the call that came to the end of 8 steps; those before it made one step each."""
    for _ in range(9):
        training, beside = make()
        training.checkpoint_every_s = 1e-9
        step, first = training._step, True

        def once(images: Any, labels: Any, step: Any = step) -> Any:
            nonlocal first
            if not first:
                raise KeyboardInterrupt
            first = False
            return step(images, labels)

        training._step = once  # type: ignore[method-assign]
        try:
            training.run()
            break
        except KeyboardInterrupt:
            on_interrupt(training)
    return training, beside


def killed(kind: str, folder: Path, after_s: float | None) -> float:
    """Seconds that a process took which trains with a checkpoint at every step; it is killed if it takes `after_s`."""
    start_s, child = time.perf_counter(), os.fork()
    if child == 0:
        train(kind, folder, checkpoint_every_s=1e-9)
        os._exit(0)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert after_s is not None or status == 0
    return time.perf_counter() - start_s


def kill_often(kind: str, folder: Path, rng: random.Random, kills: int = 4) -> None:
    """Writes where the checkpoint was after each kill: `KIND/places.json`, [epochs, steps of the next one]."""
    whole_s, places = killed(kind, folder / "whole", None), []
    for _ in range(kills):
        killed(kind, folder / "part", rng.uniform(0.05, 0.6) * whole_s)
        file = folder / "part" / kind / ("plain.pt" if kind == "plain" else "supernet.pt")
        state = load_checkpoint(file) if file.exists() else {"epochs": 0, "step": 0}
        places.append([state["epochs"], state["step"]])
    killed(kind, folder / "part", None)
    (folder / f"{kind}.json").write_text(json.dumps(places))


if __name__ == "__main__":
    torch.set_num_threads(1)
    heartbeat.LOST_AFTER_S = float(os.environ.get("LOST_AFTER_S", heartbeat.LOST_AFTER_S))
    augmentation(16, flip=True)  # imports what every child would import again, and be killed while it does
    command, folder, kinds = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")
    with ranks.joined():
        for kind in kinds:
            if command == "kill":
                kill_often(kind, folder, random.Random(int(sys.argv[4])))
            else:
                train(kind, folder, int(sys.argv[4]), doubles=True)
