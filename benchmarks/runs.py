"""What the experiments share: `hwnas` on the command line, as a user runs it, until the time is up.

A stage that the end of the time kills goes on where it was when the experiment is run again: that is what runs do.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from pieces import Clock, TimeIsUp, write_images

from hwnas.storage import Journal, read_json

STAGES = ("plan", "profile", "fit", "feasible", "search", "select", "train", "export", "measure", "trust")
ATTEMPTS = 3  # candidates after the first whose exported file broke the budget
PRECISIONS = {"precisions": "fp32"}  # of an experiment's export
OF_STAGE: Mapping[str, Mapping[str, object]] = {"export": PRECISIONS, "trust": {"rank_networks": 0}}  # rank.py ranks
PREPARED = ("images", "table.jsonl", "networks.jsonl", "footprints.jsonl", "predictor.json")  # no budget in it
SEARCHED = ("compute.json", "supernet.pt", "supernet.jsonl")  # nor in a super-network that is trained by paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of the data sets")
    parser.add_argument("--schedule", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="several machines may share them")
    parser.add_argument("--minutes", type=float, help="stop after so many; the next call goes on")
    parser.add_argument("--stages", default=",".join(STAGES), help="those that this machine has the packages for")


def chosen_stages(text: str) -> tuple[str, ...]:
    """In their order, whatever the order of `text`."""
    names = text.split(",")
    if unknown := set(names) - set(STAGES):
        raise SystemExit(f"--stages names {', '.join(sorted(unknown))}; allowed are {', '.join(STAGES)}")
    return tuple(stage for stage in STAGES if stage in names)


def hwnas(clock: Clock, stage: str, out: Path, options: Mapping[str, object] = MappingProxyType({})) -> bool:
    """One command, its output with ours; whether it succeeded. TimeIsUp when it was killed for the time."""
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    print(f"== {out.name}: {stage}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "hwnas", stage, *given, "--out", str(out)]
    try:
        return subprocess.run(command, timeout=clock.left_s(), check=False).returncode == 0
    except subprocess.TimeoutExpired:
        raise TimeIsUp from None


def is_done(out: Path, stage: str) -> bool:
    """Whether a stage of the run in `out` came to its end."""
    return any((e["stage"], e["event"]) == (stage, "end") for e in Journal(out / "events.jsonl").records)


def run_stages(clock: Clock, out: Path, stages: Iterable[str], options: Mapping[str, object]) -> None:
    """Those stages that did not end yet and can begin; the first command gets the options, and makes the run.

    An exported winner that is too slow when measured gives way to the next candidate. SystemExit where a stage fails.
    """
    for stage in stages:
        if is_done(out, stage) or not all(is_done(out, earlier) for earlier in STAGES[: STAGES.index(stage)]):
            continue
        own = options if stage == STAGES[0] else OF_STAGE.get(stage, {})
        succeeded = hwnas(clock, stage, out, own)
        if not succeeded and not (stage == "measure" and _is_too_slow(out) and _next_candidate_fits(clock, out)):
            raise SystemExit(f"{stage} of {out} failed")


def _is_too_slow(out: Path) -> bool:
    """Whether the exported winner broke a limit; else its measurement failed, or the device was too slow to judge."""
    path = out / "measure.json"
    return path.exists() and not read_json(path)["within_budget"]


def _next_candidate_fits(clock: Clock, out: Path) -> bool:
    for _ in range(ATTEMPTS):
        parts = (("select", {}), ("train", {}), ("export", PRECISIONS), ("measure", {}))
        if all(hwnas(clock, stage, out, own) for stage, own in parts):
            return True
    return False


def seconds_of(out: Path) -> dict[str, float]:
    """Of every stage that ended: what its calls took together."""
    found: dict[str, float] = {}
    for event in Journal(out / "events.jsonl").records:
        if event["event"] == "end":
            found[event["stage"]] = found.get(event["stage"], 0.0) + event["seconds"]
    return found


def begin_with(source: Path, to: Path, names: Iterable[str]) -> None:
    """A new run with files of another one: what is measured, decoded and trained once. Images as links."""
    part = to.with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, part / name, copy_function=os.link)
        elif (source / name).is_file():
            shutil.copy2(source / name, part / name)
    part.rename(to)


def first_images(source: Path, to: Path, train: int, test: int) -> Path:
    """A data set in .npz with so many images of each part: the first ones of every class, in their order."""
    if to.exists():
        return to
    with np.load(source, allow_pickle=False) as arrays:
        label, held_out = arrays["label"], arrays["is_test" if "is_test" in arrays.files else "is_val"].astype(bool)
        classes = len(arrays["classes"])
    picked = [
        np.flatnonzero((label == number) & (held_out == is_held))[: count // classes]
        for number in range(classes)
        for is_held, count in ((False, train), (True, test))
    ]
    write_images(source, to, np.sort(np.concatenate(picked)))
    return to
