"""A run directory: its configuration, its files, and the journal of what was done in it."""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas import __version__
from hwnas.datasets import DataConfig, Splits, load, prepare
from hwnas.errors import UserError
from hwnas.ranks import is_first
from hwnas.spaces import KEPT, Space, SpaceConfig, build_space, config_of, is_file
from hwnas.stages.config import DEFAULT_LR, SETTLED_BY, RunConfig, option, read_config
from hwnas.stages.progress import progress
from hwnas.storage import Journal, Record, read_json, write_bytes, write_json
from hwnas.train import Optimizer, Recipe, stored_size

PART_USES = {"train": "train on", "search": "choose by", "test": "test on"}
PACKAGES = ("torch", "torchvision", "numpy", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch")
MOST_PLACES = 100  # names tried for a run beside another
CONFIG = "config.json"  # the file that makes a folder a run directory


class Run:
    """A directory and what its stages share. Hold `storage.exclusive` on it while writing."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path, self.config = path, config

    @property
    def labels(self) -> tuple[str, ...]:
        """The networks that the run selects, trains and compares."""
        return ("winner", *self.baselines)

    @property
    def baselines(self) -> tuple[str, ...]:
        """Those that the winner is compared with."""
        return ("random", *self.config.published)

    def file(self, name: str) -> Path:
        return self.path / name

    def needs(self, name: str, stage: str) -> Any:
        """The content of a file that an earlier stage wrote; UserError naming that stage where it is absent."""
        if not self.file(name).exists():
            raise UserError(f"{self.file(name)} is not there; run `hwnas {stage} --out {self.path}` first")
        return read_json(self.file(name))

    def write(self, name: str, value: object) -> None:
        """By the first process only; so are the lines of journals."""
        if is_first():
            write_json(self.file(name), value)

    def journal(self, name: str) -> Journal:
        return Journal(self.file(name), writes=is_first())

    def space_config(self, num_classes: int) -> SpaceConfig:
        """All that is needed to build the run's search space."""
        return config_of({**asdict(self.config), "num_classes": num_classes}, self.path)

    def space_at(self, num_classes: int) -> Space:
        """The run's search space for a number of classes."""
        return build_space(self.space_config(num_classes))

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

    def recipe(self, epochs: int, lr: float | None, splits: Splits) -> Recipe:
        """The training recipe with the run's options; `lr` None is the optimizer's own."""
        optimizer: Optimizer = "adamw" if self.config.optimizer == "adamw" else "sgd"
        lr = DEFAULT_LR[optimizer] if lr is None else lr
        batch_size, count = self.config.batch_size, len(splits.train.labels)
        if count < batch_size:
            say(f"there are {count} images to train on, fewer than --batch-size {batch_size}: a batch has {count}")
            batch_size = count
        return Recipe(epochs=epochs, batch_size=batch_size, lr=lr, optimizer=optimizer, flip=splits.flip)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Notes start, end, versions and machine of a stage in `events.jsonl`."""
        journal, start_s = self.journal("events.jsonl"), time.perf_counter()
        journal.append({**_event(name, "start"), "versions": versions(), "machine": machine()})
        yield
        journal.append({**_event(name, "end"), "seconds": time.perf_counter() - start_s})


def run_announced(run: Run, name: str, stage: ModuleType) -> None:
    """One of the stages that a single command runs."""
    say(f"== {name}")
    with run.stage(name):
        stage.run_stage(run)


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


def holds_run(path: Path) -> bool:
    """Whether a folder is a run directory."""
    return (path / CONFIG).exists()


def check_place(path: Path, options: dict[str, Any], may_begin: bool) -> None:
    """UserError, before anything is written, where no run can be in `path` or begin with `options`."""
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path} is a file; choose a folder")
    if holds_run(path):
        return
    if not may_begin:
        raise UserError(f"there is no run in {path}; begin one with `hwnas generate` or `hwnas plan`")
    RunConfig(**options).check()


def open_run(path: Path, options: dict[str, Any]) -> Run:
    """The run in `path`, made if need be. `options` are the user's; in an existing run they must agree with it."""
    file = path / CONFIG
    if not holds_run(path):
        config = RunConfig(**options)
        config.check()
        _keep_space(path, config)
        write_json(file, asdict(config))
        return Run(path, config)
    config = read_config(file)
    changed = {
        name: value
        for name, value in options.items()
        if getattr(config, name) != value or (name == "space" and not _is_kept(path, value))
    }
    after = replace(config, **_without_what_it_replaces(changed))
    if changed:
        after.check()
    for name, value in changed.items():
        came = [settled_by for settled_by in SETTLED_BY[name] if (path / settled_by).exists()]
        if came:
            then = getattr(config, name)
            told = json.dumps(then) if then != value else f"of other content, kept as {KEPT},"
            raise UserError(
                f"{option(name)} is {json.dumps(value)} now but {told} in {path}, and "
                f"{came[0]} came of it; leave it out to continue that run, or choose another --out and give all "
                f"options again, as {_free_place(path, after)}"
            )
    if changed:
        if "space" in changed:
            _keep_space(path, after)
        write_json(file, asdict(after))
    return Run(path, after)


def _free_place(path: Path, config: RunConfig) -> Path:
    """Where a run beside `path` could be: SPACE-METHOD, with the first number behind it that no run has."""
    beside, name = path.parent if path.name else path / "..", f"{Path(config.space).stem}-{config.method}"
    places = [beside / f"{name}{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, MOST_PLACES)))]
    return next((place for place in places if not place.exists()), places[-1])


def _keep_space(path: Path, config: RunConfig) -> None:
    """A space that came as a file is copied into the run, which then needs no other; UserError where it is none."""
    if is_file(config.space):
        build_space(SpaceConfig(config.space, config.resolution, 2, config.width_mult))
        write_bytes(path / KEPT, Path(config.space).read_bytes())


def _is_kept(path: Path, space: str) -> bool:
    """Whether the run has the space as its file is now; one that is no file, or no longer there, has not changed."""
    if not is_file(space) or not Path(space).is_file():
        return True
    return (path / KEPT).is_file() and (path / KEPT).read_bytes() == Path(space).read_bytes()


def _without_what_it_replaces(changed: dict[str, Any]) -> dict[str, Any]:
    """A budget given in one way replaces one given in the other way before; another latency loss has its own number."""
    budgets, numbers = {"budget_ms", "budget_of_median"}, {"latency_weight", "latency_exponent"}
    replaced = (budgets if budgets & set(changed) else set()) | (numbers if "latency_loss" in changed else set())
    return {**dict.fromkeys(replaced), **changed}


def say(text: str) -> None:
    """A line for the user. On stderr, which keeps stdout free for what a stage prints as its result."""
    if is_first():
        print(text, file=sys.stderr, flush=True)


__all__ = ["Run", "RunConfig", "check_place", "holds_run", "load", "open_run", "option", "run_announced", "say"]
