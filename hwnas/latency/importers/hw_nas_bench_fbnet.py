"""HW-NAS-Bench's FBNet table for CIFAR-100: JSON of block times above skip, for several devices.

https://github.com/GATECH-EIC/HW-NAS-Bench gives sums of a block table; the JSON holds that table solved back out of
them: `{DEVICE: {"base_ms_all_skip", "delta_vs_skip_ms": 22 layers x 8 blocks}}`. The macro-architecture is FBNet's
(https://arxiv.org/abs/1812.03443, table 1) for 32 pixels. FBNet's blocks of expansion 1 expand all the same, and some
have grouped 1x1 convolutions: neither is our `ir`.
"""

from pathlib import Path
from typing import Any

from hwnas.latency.importers.additive import SKIPPING, constant_rows, difference_rows, values_told
from hwnas.latency.importers.imported import (
    Imported,
    chosen_device,
    foreign_identity,
    malformed,
    number,
    read_json_mapping,
)
from hwnas.spaces import OpSpec, op

RESOLUTION, NUM_CLASSES, STEM_CHANNELS, HEAD_CHANNELS = 32, 100, 16, 1504
STAGES = ((16, 1, 1), (24, 4, 1), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))  # channels, n, stride
BLOCKS = tuple((k, e, g) for k in (3, 5) for e, g in ((1, 1), (1, 2), (3, 1), (6, 1)))  # kernel, expansion, groups
BASE, DIFFERENCES = "base_ms_all_skip", "delta_vs_skip_ms"


def _option(shape: tuple[int, int, int], channels: int, stride: int, k: int, e: int, g: int) -> OpSpec:
    if e > 1 and g == 1:
        return op("ir", shape, channels, stride, e=e, k=k)
    return op("fbnet_ir", shape, channels, stride, e=e, k=k, g=g)


def layers() -> list[tuple[OpSpec, ...]]:
    """The options of every layer."""
    shape, found = (STEM_CHANNELS, RESOLUTION, RESOLUTION), []
    for channels, count, stage_stride in STAGES:
        for number_in_stage in range(count):
            stride = stage_stride if number_in_stage == 0 else 1
            found.append(tuple(_option(shape, channels, stride, *b) for b in BLOCKS))
            shape = found[-1][0].out_shape
    return found


def _differences(path: Path, device: str, table: Any) -> list[dict[OpSpec, float]]:
    options, values = layers(), table.get(DIFFERENCES) if isinstance(table, dict) else None
    shaped = isinstance(values, list) and len(values) == len(options)
    if not shaped or any(not isinstance(row, list) or len(row) != len(BLOCKS) for row in values or ()):
        raise malformed(
            path, f"has no such {DIFFERENCES} of {device}", f"{len(options)} lists of {len(BLOCKS)} numbers"
        )
    return [
        {spec: number(path, f"layer {i} of {device}", ms) for spec, ms in zip(specs, row, strict=True)}
        for i, (specs, row) in enumerate(zip(options, values or (), strict=True))
    ]


def read(path: Path, device: str | None) -> Imported:
    """The table of one of the file's devices."""
    content = read_json_mapping(path)
    name = chosen_device(path, device, tuple(content))
    rows = difference_rows(_differences(path, name, content[name]))
    base_ms = number(path, f"{BASE} of {name}", content[name].get(BASE))
    stem = op("conv", (3, RESOLUTION, RESOLUTION), STEM_CHANNELS, k=3)
    head = op("conv", layers()[-1][0].out_shape, HEAD_CHANNELS, k=1)
    fixed = constant_rows(base_ms, stem, head, op("classifier", head.out_shape, NUM_CLASSES))
    source = "HW-NAS-Bench, https://arxiv.org/abs/2103.10584, FBNet for CIFAR-100"
    told = {"device": name, "resolution": str(RESOLUTION), "values": values_told(SKIPPING)}
    return Imported(foreign_identity(source, path, **told), [*fixed, *rows])
