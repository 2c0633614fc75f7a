"""Model files that hold only what would run: for the fake device, in documentation and tests."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import UserError
from hwnas.runtimes.runtime import Images, LoadedModel, Reduction, Weights
from hwnas.spaces.layers import Block, Branches, Layer, Shape
from hwnas.spaces.space import Wire, chain_wires
from hwnas.storage import read_json, write_json

if TYPE_CHECKING:
    from torch import nn


class FakeRuntime:
    """Writes the blocks down as JSON; there is nothing to run."""

    name = "fake"
    suffix = ".fake.json"
    delegate = "none"
    reductions: tuple[Reduction, ...] = ("fp16", "int8")

    def version(self) -> str:
        return "fake 1"

    def start(self) -> None:
        return

    def convert(self, module: "nn.Module", input_shape: Shape, path: Path) -> None:
        found = (getattr(child, "block", None) for child in module.modules())
        blocks = [b for b in found if isinstance(b, Block)]
        self.build(blocks, [], input_shape, path, getattr(module, "wires", None))

    def build(
        self,
        blocks: Sequence[Block],
        weights: Weights,
        input_shape: Shape,
        path: Path,
        wires: Sequence[Wire] | None = None,
    ) -> None:
        described = [
            {
                "layers": [_layer(x) for x in b.layers],
                "residual": b.residual,
                "reads": wire.reads,
                "writes": wire.writes,
            }
            for b, wire in zip(blocks, wires or chain_wires(len(blocks)), strict=True)
        ]
        write_json(path, {"input_shape": list(input_shape), "blocks": described, "metadata": {}})

    def reduce(self, path: Path, precision: Reduction, images: Images, out: Path) -> None:
        write_json(out, {**read_json(path), "dtype": precision})

    def operators(self, path: Path) -> list[str]:
        return [layer["type"] for block in read_json(path)["blocks"] for layer in block["layers"]]

    def left_out(self, path: Path) -> list[str]:
        return []

    def load(self, path: Path, threads: int) -> LoadedModel:
        raise UserError(f"{path} holds no weights: the fake runtime cannot run it; choose a profile of a real runtime")

    def write_metadata(self, path: Path, metadata: dict[str, str]) -> None:
        write_json(path, {**read_json(path), "metadata": metadata})

    def read_metadata(self, path: Path) -> dict[str, str]:
        return dict(read_json(path)["metadata"])


def _layer(layer: Layer) -> dict[str, object]:
    if isinstance(layer, Branches):
        return {"type": "Branches", "branches": [[_layer(x) for x in b] for b in (layer.first, layer.second)]}
    return {"type": type(layer).__name__, **asdict(layer)}


def blocks_of(path: Path) -> list[dict[str, Any]]:
    """The blocks of a file as plain values; ValueError where it is none of ours."""
    try:
        return list(json.loads(path.read_text())["blocks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is not a model of the fake runtime ({type(error).__name__})") from None
