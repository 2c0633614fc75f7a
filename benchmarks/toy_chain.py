"""A space of 256 networks on digits at 16 pixels, small enough to train every network from scratch.

taskset -c 1 python benchmarks/toy_chain.py --out runs/toy    # trains them all; goes on where it was

What came of it is benchmarks/toy_chain.jsonl, a line a network and seed, which ground_truth.py compares searches with.
"""

import argparse
import random
import shutil
from pathlib import Path

import torch

from hwnas.datasets import Splits
from hwnas.nn import Compute
from hwnas.spaces import SPACES, Arch, Space
from hwnas.spaces.chain import SKIP, ChainBuilder
from hwnas.spaces.space import make_divisible, op
from hwnas.stages.run import Run, open_run
from hwnas.stages.train import train_from_scratch
from hwnas.storage import Journal, Record, exclusive

NAME, RESOLUTION, CLASSES = "toy_chain", 16, 10
EPOCHS, SEEDS = 4, 2  # of each network; a seed draws images and weights anew
LAYERS = ((16, 2), (16, 1), (24, 1), (24, 1))  # (channels, stride)
BLOCKS = {"k3e1": (3, 1), "k3e3": (3, 3), "k5e6": (5, 6)}  # (kernel, expansion)
STEM_CHANNELS = 8
TRUTH = Path(__file__).with_name("toy_chain.jsonl")
COMPUTE = Compute("cpu", channels_last=True)
OPTIONS = {"data": "digits", "on": "fake", "space": NAME, "resolution": RESOLUTION, "budget_of_median": 1.0}


def toy_chain(resolution: int = RESOLUTION, width_mult: float = 1.0, num_classes: int = CLASSES) -> Space:
    """Four layers, each one of three blocks or a skip; where the shape changes that is a 1x1 convolution."""
    chain = ChainBuilder(resolution)
    chain.fixed("conv", make_divisible(STEM_CHANNELS * width_mult), 2, k=3)
    for number, (width, stride) in enumerate(LAYERS):
        shape, channels = chain.shape, make_divisible(width * width_mult)
        keeps = stride == 1 and shape[0] == channels
        skip = op("skip", shape, channels) if keeps else op("shortcut", shape, channels, stride)
        blocks = {name: op("ir", shape, channels, stride, e=e, k=k) for name, (k, e) in BLOCKS.items()}
        chain.chosen(f"stage0.layer{number}", {SKIP: skip, **blocks})
    chain.fixed("classifier", num_classes)
    return chain.space(NAME)


def register() -> None:
    """The stages of a run find a space by its name."""
    SPACES[NAME] = toy_chain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truth", type=Path, default=TRUTH)
    options = parser.parse_args()
    torch.set_num_threads(1)
    register()
    with exclusive(options.out):
        train_all(options.out, Journal(options.truth))


def train_all(out: Path, journal: Journal) -> None:
    """Appends what `journal` lacks; every network of one seed before the next seed."""
    space, done = toy_chain(), {(tuple(r["arch"]), r["seed"]) for r in journal.records}
    todo = [(seed, arch) for seed in range(SEEDS) for arch in shuffled(space) if (arch, seed) not in done]
    for number, (seed, arch) in enumerate(todo, start=1):
        run = open_run(out / f"seed{seed}", {**OPTIONS, "seed": seed})
        title = f"network {number} of {len(todo)}"
        journal.append({"arch": list(arch), "seed": seed, **standalone(run, run.splits(), arch, title)})
        shutil.rmtree(run.file("train"))


def shuffled(space: Space) -> list[Arch]:
    """All networks in an order that favours none while only some are trained."""
    archs = list(space)
    random.Random(0).shuffle(archs)
    return archs


def standalone(run: Run, splits: Splits, arch: Arch, title: str) -> Record:
    """What the network gets by itself, on images that it was not trained on."""
    network = {"space": NAME, "resolution": RESOLUTION, "num_classes": CLASSES, "width_mult": 1.0, "arch": list(arch)}
    found = train_from_scratch(run, network, "train/network", EPOCHS, title, splits, COMPUTE)
    return {name: found[name] for name in ("test_accuracy", "search_accuracy", "epochs", "seconds")}


def accuracies(truth: Path = TRUTH) -> dict[Arch, list[float]]:
    """The test accuracy of every network, of each seed."""
    found: dict[Arch, list[float]] = {}
    for record in Journal(truth).records:
        found.setdefault(tuple(record["arch"]), []).append(record["test_accuracy"])
    return found


if __name__ == "__main__":
    main()
