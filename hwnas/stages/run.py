"""A run directory: its configuration, its files, and the journal of what was done in it."""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hwnas import __version__
from hwnas.datasets import DataConfig, Splits, load, prepare
from hwnas.errors import UserError
from hwnas.spaces import Space, SpaceConfig, build_space
from hwnas.stages.progress import progress
from hwnas.storage import Journal, Record, read_json, write_json
from hwnas.train import Optimizer, Recipe, stored_size

PART_USES = {"train": "train on", "search": "choose by", "test": "test on"}
PACKAGES = ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch")

BASELINES = ("random", "mobilenet_v2")
LABELS = ("winner", *BASELINES)  # the networks that a run selects, trains and compares


@dataclass(frozen=True)
class RunConfig:
    """Every option of a run. Fixed by the first command that names the run directory."""

    data: str = "digits"
    data_root: str = "data"
    skip_broken: bool = False
    on: str = "host_cpu1_litert_fp32"
    budget_ms: float | None = None
    budget_of_median: float | None = None
    confidence: float = 0.9
    space: str = "proxyless_small"
    resolution: int = 32
    width_mult: float = 1.0
    seed: int = 0
    table: str | None = None
    calibration_networks: int = 12
    supernet_epochs: int = 60
    supernet_lr: float = 0.2
    population: int = 50
    generations: int = 4
    recalibration_batches: int = 4
    train_epochs: int = 60
    optimizer: str = "sgd"
    lr: float = 0.2
    batch_size: int = 32
    attempts: int = 3

    def check(self) -> None:
        """UserError for the first option that no run can have."""
        at_least_one = ("calibration_networks", "supernet_epochs", "population", "generations", "train_epochs")
        for name in (*at_least_one, "recalibration_batches", "batch_size", "attempts"):
            least = 2 if name in ("calibration_networks", "batch_size", "population") else 1
            if getattr(self, name) < least:
                raise UserError(f"{option(name)} is {getattr(self, name)}; allowed is {least} or more")
        for name in ("budget_ms", "budget_of_median", "lr", "supernet_lr"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{option(name)} is {value}; allowed is a number above 0")
        if not 0 < self.confidence < 1:
            raise UserError(f"--confidence is {self.confidence}; allowed is a probability above 0 and below 1")
        if self.optimizer not in ("sgd", "adamw"):
            raise UserError(f"--optimizer is {self.optimizer!r}; allowed are sgd and adamw")
        if self.budget_ms is not None and self.budget_of_median is not None:
            raise UserError("--budget-ms and --budget-of-median both came; give one of them")


def option(field: str) -> str:
    """How a field is spelled on the command line."""
    return "--" + field.replace("_", "-")


class Run:
    """A directory and what its stages share. Hold `storage.exclusive` on it while writing."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path, self.config = path, config

    def file(self, name: str) -> Path:
        return self.path / name

    def needs(self, name: str, stage: str) -> Any:
        """The content of a file that an earlier stage wrote; UserError naming that stage where it is absent."""
        if not self.file(name).exists():
            raise UserError(f"{self.file(name)} is not there; run `hwnas {stage} --out {self.path}` first")
        return read_json(self.file(name))

    def write(self, name: str, value: object) -> None:
        write_json(self.file(name), value)

    def journal(self, name: str) -> Journal:
        return Journal(self.file(name))

    def space_at(self, num_classes: int) -> Space:
        """The run's search space for a number of classes."""
        return build_space(SpaceConfig(self.config.space, self.config.resolution, num_classes, self.config.width_mult))

    @property
    def space(self) -> Space:
        """The run's search space; the data set tells the number of classes."""
        return self.space_at(len(self.splits().classes))

    def splits(self) -> Splits:
        """The run's images, decoded by the first stage that asks."""
        if self.file("images/splits.json").exists():
            return self._prepared()
        with progress("reading images") as report:
            splits = self._prepared(lambda done, total: report(done, total, ""))
        record = read_json(self.file("images/splits.json"))
        counts = ", ".join(f"{len(record['indices'][part])} to {use}" for part, use in PART_USES.items())
        say(f"{len(splits.classes)} classes; images: {counts}")
        if record["skipped"]:
            say(f"left out {len(record['skipped'])} images that cannot be read or are too small: images/splits.json")
        if record["duplicates_left_out"]:
            say(f"left out {record['duplicates_left_out']} copies of images that are in another part")
        return splits

    def _prepared(self, report: Callable[[int, int], None] | None = None) -> Splits:
        config = DataConfig(
            data=self.config.data,
            data_root=self.config.data_root,
            image_size=stored_size(self.config.resolution),
            skip_broken=self.config.skip_broken,
            seed=self.config.seed,
        )
        return prepare(config, self.file("images"), self.space_at(2).stride, report)

    def recipe(self, epochs: int, lr: float, flip: bool) -> Recipe:
        """The training recipe with the run's options."""
        optimizer: Optimizer = "adamw" if self.config.optimizer == "adamw" else "sgd"
        return Recipe(epochs=epochs, batch_size=self.config.batch_size, lr=lr, optimizer=optimizer, flip=flip)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Notes start, end, versions and machine of a stage in `events.jsonl`."""
        journal, start_s = self.journal("events.jsonl"), time.perf_counter()
        journal.append({**_event(name, "start"), "versions": versions(), "machine": machine()})
        yield
        journal.append({**_event(name, "end"), "seconds": time.perf_counter() - start_s})


def _event(stage: str, event: str) -> Record:
    return {"stage": stage, "event": event, "utc": datetime.now(UTC).isoformat(timespec="seconds")}


def versions() -> dict[str, str]:
    """Of hwnas, Python and the packages that numbers depend on."""
    found = {"hwnas": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # not every machine of a run needs every package
    return found


def machine() -> dict[str, str]:
    """What the stage ran on."""
    import torch  # here: printing help must not wait for it

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {"platform": platform.platform(), "threads": str(torch.get_num_threads()), "gpu": gpu}


# Which options may still change: until the file is there, nothing has come of them.
SETTLED_BY = {"budget_ms": "feasible.json", "budget_of_median": "feasible.json"}
SETTLED_BY_DEFAULT = "images/splits.json"


def open_run(path: Path, options: dict[str, Any]) -> Run:
    """The run in `path`, made if need be. `options` are the user's; in an existing run they must agree with it."""
    unknown_keys = set(options) - {f.name for f in fields(RunConfig)}
    assert not unknown_keys, unknown_keys
    file = path / "config.json"
    if not file.exists():
        config = RunConfig(**options)
        config.check()
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file; choose a folder")
        write_json(file, asdict(config))
        return Run(path, config)
    try:
        config = RunConfig(**read_json(file))
    except TypeError as error:
        raise UserError(f"{file} is of another version of hwnas ({error}); choose another --out") from None
    changed = {name: value for name, value in options.items() if getattr(config, name) != value}
    for name, value in changed.items():
        if (path / SETTLED_BY.get(name, SETTLED_BY_DEFAULT)).exists():
            raise UserError(
                f"{option(name)} is {json.dumps(value)} now but {json.dumps(getattr(config, name))} in {path}; "
                "leave it out to continue that run, or choose another --out"
            )
    if changed:
        config = replace(config, **_without_the_other_budget(changed))
        config.check()
        write_json(file, asdict(config))
    return Run(path, config)


def _without_the_other_budget(changed: dict[str, Any]) -> dict[str, Any]:
    """A budget given in one way replaces one given in the other way before."""
    budgets = {"budget_ms", "budget_of_median"}
    return {**{name: None for name in budgets if budgets & set(changed)}, **changed}


def say(text: str) -> None:
    """A line for the user. On stderr, which keeps stdout free for what a stage prints as its result."""
    print(text, file=sys.stderr, flush=True)


__all__ = ["Run", "RunConfig", "load", "open_run", "option", "say"]
