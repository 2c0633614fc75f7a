"""Source -> three disjoint parts on disk: every image decoded once, split once, written whole or not at all."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hwnas.datasets.dataset import PARTS, DataConfig, ImageSet, Splits
from hwnas.datasets.source import OFFICIAL, Source
from hwnas.errors import UserError
from hwnas.storage import read_json, write_json

MIN_PER_CLASS = 5  # fewer images of a class cannot be in all three parts
CHUNK = 256  # images decoded between two reports
Progress = Callable[[int, int], None]
Indices = NDArray[np.intp]


def prepare_parts(
    config: DataConfig, folder: Path, open_source: Callable[[DataConfig], Source], min_side: int, progress: Progress
) -> Splits:
    """The parts in `folder`, made there on the first call; UserError for what a user can mend.

    min_side: pixels that an image's shorter side must have, the stride of the network.
    """
    if (folder / "splits.json").exists():
        found = read_json(folder / "splits.json")["config"]
        if found == asdict(config):
            return load(folder)
    source = open_source(config)
    _check_classes(source)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(config, source, temporary, min_side, progress)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return load(folder)


def load(folder: Path) -> Splits:
    """The parts written by `prepare_parts`, images as read-only memory maps."""
    record = read_json(folder / "splits.json")
    train, search, test = (
        ImageSet(
            np.load(folder / f"{part}_images.npy", mmap_mode="r", allow_pickle=False),
            np.load(folder / f"{part}_labels.npy", allow_pickle=False),
        )
        for part in PARTS
    )
    return Splits(train, search, test, tuple(record["classes"]), bool(record["flip"]))


def _check_classes(source: Source) -> None:
    if len(source.classes) < 2:
        raise UserError(
            f"the data has one class ({source.classes[0]}); a classifier needs at least two: a subfolder for each"
        )
    counts = np.bincount(source.labels, minlength=len(source.classes))
    if counts.min() < MIN_PER_CLASS:
        few = source.classes[int(counts.argmin())]
        raise UserError(
            f"class {few} has {counts.min()} images; at least {MIN_PER_CLASS} are needed to train, choose and test on "
            "different ones"
        )


def _write(config: DataConfig, source: Source, folder: Path, min_side: int, progress: Progress) -> None:
    decoded, hashes, broken = _decode(config, source, folder, min_side, progress)
    sound = np.array([i for i in range(len(source.labels)) if i not in broken], dtype=np.intp)
    parts = split(source.labels, source.part, sound, config)
    parts, duplicates = without_duplicates(parts, hashes)
    for name, indices in parts.items():
        if len(set(source.labels[indices])) < len(source.classes):
            raise UserError(f"not every class has an image in the {name} part; add images to the smallest classes")
        out = np.lib.format.open_memmap(
            folder / f"{name}_images.npy", "w+", np.uint8, (len(indices), *decoded.shape[1:])
        )
        for start in range(0, len(indices), CHUNK):
            out[start : start + CHUNK] = decoded[indices[start : start + CHUNK]]
        out.flush()
        np.save(folder / f"{name}_labels.npy", source.labels[indices], allow_pickle=False)
    (folder / "decoded.npy").unlink()
    write_json(
        folder / "splits.json",
        {
            "config": asdict(config),
            "classes": source.classes,
            "flip": source.flip,
            "skipped": [source.name(i) for i in sorted(broken)],
            "duplicates_left_out": duplicates,
            "sha256": {name: _digest([hashes[i] for i in indices]) for name, indices in parts.items()},
            "indices": {name: indices.tolist() for name, indices in parts.items()},
        },
    )


def _digest(hashes: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def _decode(
    config: DataConfig, source: Source, folder: Path, min_side: int, progress: Progress
) -> tuple[NDArray[np.uint8], list[bytes], set[int]]:
    """(images (N, 3, S, S) on disk, a hash of each, indices of the broken ones)."""
    count, size = len(source.labels), config.image_size
    decoded = np.lib.format.open_memmap(folder / "decoded.npy", "w+", np.uint8, (count, 3, size, size))
    hashes, broken = [b""] * count, set[int]()

    def one(index: int) -> str:
        try:
            image = source.image(index)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return f"{source.name(index)} cannot be read ({' '.join(str(error).split())})"
        if min(image.size) < min_side:
            return f"{source.name(index)} is {image.width} x {image.height} pixels, the network's stride is {min_side}"
        decoded[index] = square(image, size)
        hashes[index] = hashlib.sha256(decoded[index].tobytes()).digest()
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            indices = range(start, min(start + CHUNK, count))
            for index, problem in zip(indices, pool.map(one, indices), strict=True):
                if problem and not config.skip_broken:
                    raise UserError(f"{problem}; remove it, or pass --skip-broken to leave such images out")
                if problem:
                    broken.add(index)
            progress(indices.stop, count)
    return decoded, hashes, broken


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """(3, size, size): the shorter side resized to `size`, then the centre."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), np.uint8).transpose(2, 0, 1)


def split(labels: NDArray[np.int64], part: NDArray[np.int8], sound: Indices, config: DataConfig) -> dict[str, Indices]:
    """Indices of the three parts: the source's own where it has them, else stratified and seeded."""
    own = {name: sound[part[sound] == OFFICIAL[name]] for name in PARTS}
    if not len(own["test"]):
        own["train"], own["test"] = _hold_out(own["train"], labels, config.test_share, config.seed)
    if not len(own["search"]):
        own["train"], own["search"] = _hold_out(own["train"], labels, config.search_share, config.seed + 1)
    return own


def _hold_out(indices: Indices, labels: NDArray[np.int64], share: float, seed: int) -> tuple[Indices, Indices]:
    """(kept, held out), the same share of every class, at least one image of each."""
    rng, held = np.random.default_rng(seed), []
    for label in np.unique(labels[indices]):
        members = rng.permutation(indices[labels[indices] == label])
        held.append(members[: max(1, round(share * len(members)))])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(indices, out), out


def without_duplicates(parts: dict[str, Indices], hashes: Sequence[bytes]) -> tuple[dict[str, Indices], int]:
    """(the parts, how many images were left out): an image that is also in a later part stays only there.

    The same picture twice would let a network be tested on what it was trained on.
    """
    seen: set[bytes] = set()
    result: dict[str, Indices] = {}
    left_out = 0
    for name in reversed(PARTS):
        kept = [i for i in parts[name] if hashes[i] not in seen]
        left_out += len(parts[name]) - len(kept)
        seen |= {hashes[i] for i in kept}
        result[name] = np.array(kept, dtype=np.intp)
    return {name: result[name] for name in PARTS}, left_out
