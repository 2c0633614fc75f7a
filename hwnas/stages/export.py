"""export: the trained winner as ONNX and TFLite, checked on test images, with labels and preprocessing."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas import __version__
from hwnas.datasets import ImageSet, Splits
from hwnas.devices import Profile, load_profile
from hwnas.errors import UserError
from hwnas.export import VerificationError, export, export_reduced, model_path, preprocessing, write_beside
from hwnas.nn import Network
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import ReducedDtype
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.stages.train import build_network, checkpoint_name
from hwnas.storage import Record, read_json
from hwnas.train import MEAN, STD, eval_images, load_checkpoint, normalise, stored_size

SHIPPED = ("litert", "ort")
CHECKED_IMAGES, CALIBRATION_IMAGES = 200, 200


def run_stage(run: Run) -> None:
    """Writes `export/` and `export.json`; UserError where a file does not compute what was trained."""
    winner, splits = run.needs("selection.json", "select")["winner"], run.splits()
    name = checkpoint_name(winner)
    trained = run.needs("train.json", "train").get("winner", {})
    if trained.get("checkpoint") != name:
        raise UserError(f"the winner of {run.file('selection.json')} is not trained yet; run `hwnas train` first")
    if _is_exported(run, name):
        say(f"{run.file('export')} holds the winner already")
        return
    temporary = run.file(".export")
    shutil.rmtree(temporary, ignore_errors=True)
    network = trained_network(run, winner)
    files = _export_all(run, network, splits, temporary)
    shutil.rmtree(run.file("export"), ignore_errors=True)
    temporary.rename(run.file("export"))
    run.write("export.json", {"checkpoint": name, "files": files})


def _is_exported(run: Run, name: str) -> bool:
    """Whether `export/` holds every file of this network."""
    if not run.file("export.json").exists():
        return False
    exported = read_json(run.file("export.json"))
    paths = [run.file("export") / file["path"] for file in exported["files"].values()]
    return bool(exported["checkpoint"] == name and all(path.exists() for path in paths))


def trained_network(run: Run, record: Record) -> Network:
    """A network of `selection.json` with its trained, averaged weights."""
    network = build_network(run, record)
    state = load_checkpoint(run.file(f"train/{checkpoint_name(record)}.pt"))
    network.load_state_dict(state["ema"] or state["module"])
    return network.eval()


def _export_all(run: Run, network: Network, splits: Splits, folder: Path) -> dict[str, Record]:
    resolution = run.config.resolution
    described = json.dumps(preprocessing(resolution, stored_size(resolution), MEAN, STD))
    write_beside(folder, splits.classes, described)
    metadata = {"labels": json.dumps(splits.classes), "preprocessing": described, "hwnas_version": __version__}
    images, labels = _drawn(splits.test, resolution, CHECKED_IMAGES, run.config.seed)
    profile = load_profile(run.config.on)
    runtimes = [*SHIPPED, *({profile.runtime} - set(SHIPPED))]
    files: dict[str, Record] = {}
    with progress("exporting") as report:
        for number, runtime in enumerate(runtimes):
            report(number, len(runtimes), runtime)
            files[runtime] = _export_one(network, runtime, folder, metadata, images, labels)
        if profile.dtype != "fp32":
            calibration, _ = _drawn(splits.train, resolution, CALIBRATION_IMAGES, run.config.seed)
            files[file_key(profile)] = _export_reduced(
                profile.runtime, profile.dtype, folder, metadata, calibration, images, labels
            )
        report(len(runtimes), len(runtimes), "")
    return files


def file_key(profile: Profile) -> str:
    """Which entry of `export.json` is the file that the profile's device runs."""
    return profile.runtime if profile.dtype == "fp32" else f"{profile.runtime}_{profile.dtype}"


def _drawn(images: ImageSet, resolution: int, count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(count, C, H, W) normalised images drawn at random, and their labels."""
    picked = sorted(np.random.default_rng(seed).permutation(len(images.labels))[:count])
    drawn = torch.cat([eval_images(images, resolution, i, i + 1) for i in picked])
    return normalise(drawn).numpy(), np.asarray(images.labels)[picked]


def _export_one(
    network: Network,
    runtime: str,
    folder: Path,
    metadata: dict[str, str],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> Record:
    if runtime not in SHIPPED:
        path = model_path(folder, runtime)
        _, channels, height, width = images.shape
        RUNTIMES[runtime].convert(network, (channels, height, width), path)
        return _unchecked(path)
    try:
        exported = export(network, runtime, folder, metadata, images, labels)
    except VerificationError as error:
        raise UserError(f"{error}; nothing was exported") from None
    say(f"{exported.path}: largest difference {exported.max_relative_error:.1e} relative, the same top-1 everywhere")
    return {**exported.as_record()}


def _export_reduced(
    runtime: str,
    dtype: ReducedDtype,
    folder: Path,
    metadata: dict[str, str],
    calibration: NDArray[np.float32],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> Record:
    if runtime not in SHIPPED:
        path = model_path(folder, runtime, dtype)
        RUNTIMES[runtime].reduce(model_path(folder, runtime), dtype, [], path)
        return _unchecked(path)
    exported = export_reduced(runtime, dtype, folder, metadata, calibration, images, labels)
    say(f"{exported.path}: the same top-1 as fp32 on {exported.top1_agreement:.1%} of {exported.images} images")
    return {**exported.as_record()}


def _unchecked(path: Path) -> Record:
    """Of a file of the fake runtime, which only writes down what would run."""
    return {"path": path.name, "size_bytes": path.stat().st_size}
