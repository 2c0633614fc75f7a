"""The row keys that ProxylessNAS and once-for-all share: `KIND-input:HxWxC-output:HxWxC-NAME:NUMBER-...`."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from hwnas.latency.importers.imported import Row, malformed, number, whole
from hwnas.spaces import OpSpec, op
from hwnas.spaces.operators import block

SIZE = r"[1-9]\d{0,5}"
KEY = re.compile(
    rf"(?P<kind>\w+)-input:(?P<input>{SIZE}x{SIZE}x{SIZE})-output:(?:(?P<side>{SIZE})x{SIZE}x)?(?P<channels>{SIZE})"
    r"(?P<args>(?:-\w+:\d{1,6})*)"
)
GRAMMAR = "KIND-input:HxWxC-output:HxWxC and perhaps -NAME:NUMBER"


@dataclass(frozen=True, slots=True)
class Layer:
    """A key taken apart."""

    kind: str
    in_shape: tuple[int, int, int]  # (C, H, W)
    out_channels: int
    out_side: int | None  # pixels; none of a vector
    args: Mapping[str, int]

    @property
    def stride(self) -> int:
        """As the sizes tell it, rounded up as a padded convolution does."""
        return round(self.in_shape[1] / (self.out_side or self.in_shape[1])) or 1

    def arg(self, name: str, least: int = 0) -> int:
        """An argument of the key; UserError where it is absent or too small."""
        if self.args.get(name, -1) < least:
            raise UserError(f"{name}:NUMBER of {least} or more in it")
        return self.args[name]


def parse(key: str) -> Layer:
    """A key taken apart; UserError for anything else."""
    match = KEY.fullmatch(key)
    if not match:
        raise UserError(GRAMMAR)
    height, width, channels = map(int, match["input"].split("x"))
    pairs = (pair.split(":") for pair in match["args"].split("-") if pair)
    side = int(match["side"]) if match["side"] else None
    return Layer(
        *(match["kind"], (channels, height, width), int(match["channels"]), side),
        args={name: int(value) for name, value in pairs},
    )


def our_block(layer: Layer, expand: int) -> OpSpec | None:
    """The layer as our inverted residual; None where it adds its input elsewhere than ours does."""
    spec = op("ir", layer.in_shape, layer.out_channels, layer.arg("stride", 1), e=expand, k=layer.arg("kernel", 1))
    return spec if block(spec).residual == bool(layer.arg("idskip")) else None


def rows_of(
    path: Path, content: Mapping[str, Any], spec_of: Callable[[Layer], OpSpec], std_ms_of: Callable[[float], float]
) -> list[Row]:
    """The rows of a whole file. `std_ms_of`: the file's own measure of spread -> standard deviation."""
    rows: dict[str, Row] = {}
    for key, value in content.items():
        try:
            spec = _checked(spec_of(layer := parse(key)), layer)
        except UserError as error:
            raise malformed(path, f"has the row {key!r}", str(error)) from None
        row = _row(path, key, str(spec), value, std_ms_of)
        if row.key in rows:
            raise malformed(path, f"has the row {key!r}", "one row of each operator")
        rows[row.key] = row
    return list(rows.values())


def _checked(spec: OpSpec, layer: Layer) -> OpSpec:
    if layer.out_side is not None and spec.out_shape[1] != layer.out_side:
        raise UserError(f"an output of {spec.out_shape[1]} pixels, as input and stride make it")
    return spec


def _row(path: Path, key: str, our_key: str, value: object, std_ms_of: Callable[[float], float]) -> Row:
    if not isinstance(value, dict) or "mean" not in value:
        raise malformed(path, f"has {value!r} at {key}", "mean, and perhaps count and var or std")
    mean_ms = number(path, f"mean of {key}", value["mean"], 0)
    spread = next((value[name] for name in ("var", "std") if name in value), None)
    std_ms = None if spread is None else std_ms_of(number(path, f"spread of {key}", spread, 0))
    return Row(our_key, mean_ms, std_ms, whole(path, f"count of {key}", value["count"]) if "count" in value else None)


def resolution_of(content: Mapping[str, Any]) -> str:
    """Side of the network's input: that of the row of the first convolution."""
    return next((str(parse(key).in_shape[1]) for key in content if key.startswith("Conv-")), "unknown")


def from_variance(variance: float) -> float:
    """ProxylessNAS's files give the variance in ms^2."""
    return math.sqrt(variance)
