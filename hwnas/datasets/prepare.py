"""Source -> three disjoint parts on disk: every image decoded once, split once, written whole or not at all."""

import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
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
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)  # Pillow's, by format
HOW_TO_SKIP = "; mend or remove it, or pass --skip-broken to leave such images out"
Progress = Callable[[int, int], None]
Indices = NDArray[np.intp]


def prepare_parts(
    config: DataConfig, folder: Path, open_source: Callable[[DataConfig], Source], min_side: int, progress: Progress
) -> Splits:
    """The parts in `folder`, made there on the first call; UserError for what a user can mend.

    min_side: pixels that an image's shorter side must have, the stride of the network.
    """
    if is_finished(folder, config, min_side):
        return load(folder)
    if folder.exists() and not (folder / "splits.json").exists() and any(folder.iterdir()):
        raise UserError(f"{folder} holds files that are not prepared images; delete that folder and run again")
    source = open_source(config)
    check_classes(source, source.labels)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(config, source, temporary, min_side, progress)
        _put_in_place(temporary, folder)
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


def is_finished(folder: Path, config: DataConfig, min_side: int) -> bool:
    """Whether `folder` holds every file, made for an equal configuration and with no image under `min_side`."""
    files = [folder / f"{part}_{what}.npy" for part in PARTS for what in ("images", "labels")]
    if not all(file.exists() for file in (folder / "splits.json", *files)):
        return False
    record = read_json(folder / "splits.json")
    return bool(record["config"] == asdict(config) and record.get("smallest_side", 0) >= min_side)


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Gives `temporary` the name `folder`. What was there is renamed first: killed while deleting, it would be half."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def check_classes(source: Source, labels: NDArray[np.int64]) -> None:
    """UserError where there are too few classes, or images of one."""
    if len(source.classes) < 2:
        raise UserError(
            f"the data has {len(source.classes)} class ({', '.join(source.classes)}); a classifier needs at least two: "
            "a subfolder for each"
        )
    counts = np.bincount(labels, minlength=len(source.classes))
    if counts.min() < MIN_PER_CLASS:
        few = source.classes[int(counts.argmin())]
        raise UserError(
            f"class {few} has {counts.min()} readable images; at least {MIN_PER_CLASS} are needed to train, choose and "
            "test on different ones: add images of it, or remove the class"
        )


@dataclass(frozen=True)
class Decoded:
    """images: (N, 3, S, S) on disk; hashes: of each image's stored pixels; sides: (N,) the shorter one, 0 if broken."""

    images: NDArray[np.uint8]
    hashes: list[bytes]
    sides: NDArray[np.int64]


def _write(config: DataConfig, source: Source, folder: Path, min_side: int, progress: Progress) -> None:
    _check_disk(config, source, folder)
    decoded = _decode(config, source, folder, min_side, progress)
    sound = np.flatnonzero(decoded.sides)
    check_classes(source, source.labels[sound])
    parts, duplicates = without_duplicates(split(source.labels, source.part, sound, config), decoded.hashes)
    check_complete(source, parts, duplicates)
    digests = {name: _write_part(folder, name, decoded, source, indices) for name, indices in parts.items()}
    (folder / "decoded.npy").unlink()
    write_json(
        folder / "splits.json",
        {
            "config": asdict(config),
            "classes": source.classes,
            "flip": source.flip,
            "smallest_side": int(decoded.sides[sound].min()),
            "skipped": [source.name(int(i)) for i in np.flatnonzero(decoded.sides == 0)],
            "duplicates_left_out": duplicates,
            "sha256": digests,
            "indices": {name: indices.tolist() for name, indices in parts.items()},
        },
    )


def _check_disk(config: DataConfig, source: Source, folder: Path) -> None:
    """UserError where the disk is too full: a memory map that runs out of it kills the process without a word."""
    needed_bytes = 2 * len(source.labels) * 3 * config.image_size**2  # all images, and once more by part
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise UserError(
            f"{folder.parent} has {free_bytes / 1e9:.1f} GB free; {len(source.labels)} images of {config.image_size} x "
            f"{config.image_size} pixels need {needed_bytes / 1e9:.1f} GB while they are prepared; free some, or "
            "choose another --out"
        )


def check_complete(source: Source, parts: dict[str, Indices], duplicates: int) -> None:
    """UserError where a part has no image of a class."""
    for name, indices in parts.items():
        absent = np.setdiff1d(np.arange(len(source.classes)), source.labels[indices])
        if len(absent):
            why = f" ({duplicates} copies of images in other parts are left out)" if duplicates else ""
            raise UserError(
                f"class {source.classes[absent[0]]} has no image in the {name} part{why}; every class must be in all "
                "three: add images of it"
            )


def _write_part(folder: Path, name: str, decoded: Decoded, source: Source, indices: Indices) -> str:
    """sha256 of the part's image bytes followed by its labels', both written to `folder`."""
    digest, labels = hashlib.sha256(), source.labels[indices]
    shape = (len(indices), *decoded.images.shape[1:])
    out = np.lib.format.open_memmap(folder / f"{name}_images.npy", "w+", np.uint8, shape)
    for start in range(0, len(indices), CHUNK):
        chunk = decoded.images[indices[start : start + CHUNK]]
        out[start : start + CHUNK] = chunk
        digest.update(chunk.tobytes())
    out.flush()
    np.save(folder / f"{name}_labels.npy", labels, allow_pickle=False)
    digest.update(labels.tobytes())
    return digest.hexdigest()


def _decode(config: DataConfig, source: Source, folder: Path, min_side: int, progress: Progress) -> Decoded:
    """Every image, read by several threads; UserError for the first bad one unless such are to be skipped."""
    count, size = len(source.labels), config.image_size
    images = np.lib.format.open_memmap(folder / "decoded.npy", "w+", np.uint8, (count, 3, size, size))
    decoded = Decoded(images, [b""] * count, np.zeros(count, np.int64))

    def one(index: int) -> UserError | None:
        try:
            image = sound_image(source, index, min_side)
        except UserError as error:
            return error
        images[index] = pixels = square(image, size)
        decoded.hashes[index] = hashlib.sha256(pixels.tobytes()).digest()
        decoded.sides[index] = min(image.size)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            for problem in pool.map(one, range(start, stop)):
                if problem is not None and not config.skip_broken:
                    raise UserError(f"{problem}{HOW_TO_SKIP}")
            progress(stop, count)
    return decoded


def sound_image(source: Source, index: int, min_side: int) -> Image.Image:
    """The image; UserError names one that is broken or too small."""
    try:
        image = source.image(index)
    except BROKEN as error:
        raise UserError(f"{source.name(index)} cannot be read ({' '.join(str(error).split())})") from None
    if min(image.size) < min_side:
        raise UserError(
            f"{source.name(index)} is {image.width} x {image.height} pixels; the shorter side needs at least "
            f"{min_side}, the network's stride (a smaller --resolution may have a smaller one)"
        )
    return image


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """(3, size, size): the largest centred square, resized with antialiasing.

    Cut before it is resized: what lies outside costs nothing, and a very long image no memory.
    """
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if image.size != (size, size):
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image, np.uint8).transpose(2, 0, 1)


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
    rng, held = np.random.default_rng(seed), [indices[:0]]  # an empty start: there may be nothing to hold out
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
