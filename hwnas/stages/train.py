"""train: the winner and its baselines from scratch, with one recipe, tested on images that no search step saw."""

from collections.abc import Sequence

import torch

from hwnas.datasets import ImageSet, Splits
from hwnas.nn import Compute, Network
from hwnas.ranks import first_alone
from hwnas.spaces import build_space, config_of
from hwnas.stages.computing import load_compute, workers
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.storage import Record, read_json
from hwnas.train import Change, Training, corrupted, shared_accuracy, unchanged


def run_stage(run: Run) -> None:
    """Writes a checkpoint for each network, and `train.json`. Networks that are the same are trained once."""
    selection = run.needs("selection.json", "select")
    with first_alone():
        splits, compute = run.splits(), load_compute(run, run.space)
    done: dict[str, Record] = read_json(run.file("train.json")) if run.file("train.json").exists() else {}
    for label in run.labels:
        name = checkpoint_name(selection[label])
        is_there = run.file(f"train/{name}.pt").exists()
        same = [done[other] for other in done if done[other]["checkpoint"] == name and is_there]
        done[label] = same[0] if same else _train(run, label, name, selection[label], splits, compute)
        run.write("train.json", done)
        say(f"{label}: test accuracy {done[label]['test_accuracy']:.4f} on {done[label]['test_images']} images")


def checkpoint_name(network: Record) -> str:
    """Names the files of a training after what is trained, so that another winner does not meet its checkpoint."""
    between = "." if max(network["arch"]) > 9 else ""  # else 1, 12 and 11, 2 would be one name
    return f"{network['space']}-w{network['width_mult']:g}-{between.join(map(str, network['arch']))}"


def record_of(run: Run, arch: Sequence[int]) -> Record:
    """What builds an architecture of the run's own space, as networks are in `selection.json`."""
    size = {"resolution": run.config.resolution, "width_mult": run.config.width_mult}
    return {"space": run.space.name, "num_classes": run.space.num_classes, **size, "arch": list(arch)}


def build_network(run: Run, network: Record) -> Network:
    """A network of the run's `selection.json` with fresh weights that follow from the seed."""
    torch.manual_seed(run.config.seed)
    return Network(build_space(config_of(network, run.path)), tuple(network["arch"]))


def _train(run: Run, label: str, name: str, record: Record, splits: Splits, compute: Compute) -> Record:
    found = train_from_scratch(run, record, f"train/{name}", run.config.train_epochs, label, splits, compute)
    return {"checkpoint": name, **found}


def train_from_scratch(
    run: Run, record: Record, stem: str, epochs: int, title: str, splits: Splits, compute: Compute
) -> Record:
    """What `trained_alone` gives: accuracies, on the test part too, and seconds."""
    network, training = trained_alone(run, record, stem, epochs, title, splits, compute)

    def accuracy(images: ImageSet, change: Change = unchanged) -> float:
        return shared_accuracy(network, images, run.config.resolution, compute, change)

    return {
        "search_accuracy": accuracy(splits.search),
        "test_accuracy": accuracy(splits.test),
        **({"corrupted_test_accuracy": accuracy(splits.test, corrupted)} if run.config.robust else {}),
        "test_images": len(splits.test.labels),
        "epochs": epochs,
        "seconds": seconds_of(training),
    }


def trained_alone(
    run: Run, record: Record, stem: str, epochs: int, title: str, splits: Splits, compute: Compute
) -> tuple[Network, Training]:
    """A network of `selection.json`'s form, trained from scratch with the run's recipe.

    Its files in the run directory are `stem`.pt and `stem`.jsonl, from which an interrupted training goes on.
    """
    network, resolution = build_network(run, record), run.config.resolution
    recipe = run.recipe(epochs, run.config.lr, splits)
    files = run.file(f"{stem}.pt"), run.file(f"{stem}.jsonl")
    training = Training(
        *(network, splits.train, resolution, recipe, compute, run.config.seed, *files, workers(compute)),
        checkpoint_every_s=run.config.checkpoint_every_s,
        processes_may_change=run.config.processes_may_change,
        lr_option="--lr",
    )

    def search_accuracy() -> float:
        network.eval()
        return shared_accuracy(network, splits.search, resolution, compute)

    with progress(f"training {title}") as report:
        training.run(search_accuracy, lambda epoch, r: report(epoch, epochs, f"{r['search_accuracy']:.4f}"))
    network.eval()
    return network, training


def seconds_of(training: Training) -> float:
    """What all its epochs took."""
    return float(sum(epoch["seconds"] for epoch in training.history()))


def affordable_epochs(run: Run, best: Record, macs_of: Sequence[float], share: float) -> int:
    """Epochs for each of some networks that together cost `share` of the best one's training; 0: not one.

    macs_of: multiply-adds of each network.
    """
    return int(share * run.config.train_epochs * best["macs"] / sum(macs_of))
