"""The same three parts without decoding all of them: each image when it is asked for."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.datasets.dataset import PARTS, DataConfig, ImageSet, Splits
from hwnas.datasets.prepare import (
    HOW_TO_SKIP,
    Indices,
    check_classes,
    check_complete,
    is_finished,
    load,
    sound_image,
    split,
    square,
    without_duplicates,
)
from hwnas.datasets.source import Source, SourceReader
from hwnas.errors import UserError


class Undecoded:
    """(N, 3, S, S) uint8: images of a source, decoded each time that they are asked for."""

    def __init__(self, source: Source, indices: Indices, size: int, min_side: int) -> None:
        self.source, self.indices, self.size, self.min_side = source, indices, size, min_side

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.indices), 3, self.size, self.size)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        which, *within = key if isinstance(key, tuple) else (key,)
        chosen = self.indices[which]
        images = np.empty((*np.shape(chosen), *self.shape[1:]), np.uint8)
        for place in np.ndindex(np.shape(chosen)):  # none, where one image is asked for
            images[place] = self._decoded(int(chosen[place]))
        found: NDArray[np.uint8] = images[(*(slice(None),) * np.ndim(chosen), *within)]
        return found

    def _decoded(self, index: int) -> NDArray[np.uint8]:
        try:
            return square(sound_image(self.source, index, self.min_side), self.size)
        except UserError as error:
            raise UserError(f"{error}{HOW_TO_SKIP}") from None


def parts_on_demand(config: DataConfig, folder: Path, open_source: SourceReader, min_side: int) -> Splits | None:
    """The parts that `prepare_parts` would make; those in `folder` where it did. None where all must be decoded.

    That is so where broken images are to be left out, which nobody knows before. Copies are told by what is stored of
    them: those that have the same pixels in other bytes are found by decoding only.
    """
    if is_finished(folder, config, min_side):
        return load(folder)
    if config.skip_broken:
        return None
    source = open_source(config)
    check_classes(source, source.labels)
    every = np.arange(len(source.labels))
    hashes = [hashlib.sha256(source.content(int(index))).digest() for index in every]
    parts, duplicates = without_duplicates(split(source.labels, source.part, every, config), hashes)
    check_complete(source, parts, duplicates)
    train, search, test = (
        ImageSet(Undecoded(source, parts[name], config.image_size, min_side), source.labels[parts[name]])
        for name in PARTS
    )
    return Splits(train, search, test, source.classes, source.flip)
