"""What a runtime does: make a model file, load one, run it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.layers import Block, Shape
from hwnas.spaces.space import Wire

if TYPE_CHECKING:  # a process that only measures must not pay for importing torch
    from torch import nn

FoldedWeight = tuple[NDArray[np.float32], NDArray[np.float32]]  # (weight as torch lays it out, bias)
Weights = Sequence[FoldedWeight]  # of every layer that has some
Images = Sequence[NDArray[np.float32]]  # each (1, C, H, W), normalised
ReducedDtype = Literal["fp16", "int8"]  # made of fp32 files
Dtype = Literal["fp32", ReducedDtype]  # what profiles measure and searches plan for
Reduction = Literal[ReducedDtype, "int8_float_io", "dynamic"]  # what files may be made of; see precision.py
Precision = Literal["fp32", Reduction]


class LoadedModel(Protocol):
    """A model in memory, batch 1."""

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output for x (1, C, H, W); images come and go channel-first whatever the file's own layout is."""
        ...

    def invoke(self) -> None:
        """Runs once more on the last input (zeros at first); this is what is timed."""
        ...


class NotRun(Exception):
    """A file that did not run to its end on another machine, and how the process there ended."""


def run_each(model: LoadedModel, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, C, H, W) -> (n, outputs), image by image as a phone would."""
    return np.concatenate([model.run(image[None]).reshape(1, -1) for image in images])


class Converter(Protocol):
    """One way to make model files. Importing an implementation imports neither torch nor the runtime."""

    name: str  # "litert"
    suffix: str  # ".tflite"

    def version(self) -> str:
        """Of the library that runs or writes the model, e.g. "ai-edge-litert 2.3.0"; UserError where it is absent."""
        ...

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        """Exports a module in eval mode, by the maintained converter: seconds. This is what ships."""
        ...

    def operators(self, path: Path) -> list[str]:
        """The names of a file's operators, in order of execution."""
        ...

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        """Adds or replaces text entries inside the model file, where the format has a place for them."""
        ...

    def read_metadata(self, path: Path) -> dict[str, str]:
        """The entries written by `write_metadata`; empty where there are none."""
        ...


class Runnable(Converter, Protocol):
    """Makes files that this host can run, and so check."""

    def left_out(self, path: Path) -> list[str]:
        """The names of the operators that the delegate leaves to plain CPU code, as this host's runtime decides."""
        ...

    def load(self, path: Path, threads: int) -> LoadedModel:
        """The model, ready to run; any exception means that the file is bad."""
        ...


class Runtime(Runnable, Protocol):
    """Measured and searched for as well: files of blocks alone, and of less precision."""

    delegate: str  # what executes the operators, e.g. "xnnpack"
    reductions: tuple[Reduction, ...]  # what `reduce` can make

    def start(self) -> None:
        """Imports the library that runs models: what memory is taken later is a model's own."""
        ...

    def build(
        self,
        blocks: Sequence[Block],
        weights: Weights,
        input_shape: Shape,
        path: Path,
        wires: Sequence[Wire] | None = None,
    ) -> None:
        """Writes the same operators that `convert` would, straight from the blocks: milliseconds. For measuring.

        wires: between which nodes each block stands, as in `Space`; without them one block follows the other.
        """
        ...

    def reduce(self, path: Path, precision: Reduction, images: Images, out: Path) -> None:
        """Writes a file of less precision from an fp32 one; the images calibrate the activations of int8."""
        ...
