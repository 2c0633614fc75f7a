"""Experiments in pieces: how long a call may go on, what is still to be done, and a part of a data set's images."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.storage import Record

Setting = TypeVar("Setting")


class TimeIsUp(Exception):
    """The rest is for another call; what is done so far is on the disk."""


@dataclass
class Clock:
    """How long this call may go on; without minutes as long as it takes."""

    minutes: float | None = None
    start_s: float = field(default_factory=time.monotonic)

    def left_s(self) -> float | None:
        """None: as long as it takes. TimeIsUp where nothing is left."""
        if self.minutes is None:
            return None
        left = self.start_s + 60 * self.minutes - time.monotonic()
        if left <= 0:
            raise TimeIsUp
        return left

    def check(self, next_s: float = 0.0) -> None:
        """TimeIsUp where the next piece, which takes so long, would not be done in time."""
        left = self.left_s()
        if left is not None and next_s > left:
            raise TimeIsUp


def still_to_do(settings: Iterable[Setting], results: Iterable[Record]) -> Iterator[Setting]:
    """Those dataclasses of which no record has all fields; `results` as it was at the beginning."""
    known = list(results)
    for setting in settings:
        own: dict[str, Any] = asdict(setting)  # type: ignore[call-overload]
        if not any(all(record[name] == value for name, value in own.items()) for record in known):
            yield setting


def write_images(source: Path, to: Path, chosen: NDArray[np.intp], **more: ArrayLike) -> None:
    """A .npz as hwnas reads it, of the pictures of another one with these numbers. more: further arrays of theirs."""
    with np.load(source, allow_pickle=False) as arrays:
        known = {name: arrays[name] for name in arrays.files}
    jpeg, offset, label = known["jpeg"], known["offset"], known["label"]
    parts = {name: known[name][chosen] for name in ("is_test", "is_val") if name in known}
    files = [jpeg[offset[i] : offset[i + 1]] for i in chosen]
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_suffix(".part.npz")
    np.savez(
        part,
        jpeg=np.concatenate(files),
        offset=np.cumsum([0, *map(len, files)]),
        label=label[chosen],
        classes=known["classes"],
        **{**parts, **more},
    )
    part.replace(to)
