"""HW-NAS-Bench's FBNet table for CIFAR-100: JSON of block times above skip, for several devices.

https://github.com/GATECH-EIC/HW-NAS-Bench gives sums of a block table; the JSON holds that table solved back out of
them: `{DEVICE: {"base_ms_all_skip", "delta_vs_skip_ms": 22 layers x 8 blocks}}`. They are those of our space
`fbnet_1504`, in its order.
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
from hwnas.spaces import OpSpec, Space, SpaceConfig, build_space
from hwnas.spaces.operators import is_free

SPACE = SpaceConfig("fbnet_1504", resolution=32, num_classes=100)
BLOCKS = 8  # beside the skip
BASE, DIFFERENCES = "base_ms_all_skip", "delta_vs_skip_ms"


def layers(space: Space) -> list[tuple[OpSpec, ...]]:
    """The options of every layer but the skip."""
    return [tuple(spec for spec in slot.options if not is_free(spec)) for slot in space.slots if slot.decisions]


def _differences(path: Path, device: str, table: Any, options: list[tuple[OpSpec, ...]]) -> list[dict[OpSpec, float]]:
    values = table.get(DIFFERENCES) if isinstance(table, dict) else None
    shaped = isinstance(values, list) and len(values) == len(options)
    if not shaped or any(not isinstance(row, list) or len(row) != BLOCKS for row in values or ()):
        raise malformed(path, f"has no such {DIFFERENCES} of {device}", f"{len(options)} lists of {BLOCKS} numbers")
    return [
        {spec: number(path, f"layer {i} of {device}", ms) for spec, ms in zip(specs, row, strict=True)}
        for i, (specs, row) in enumerate(zip(options, values or (), strict=True))
    ]


def read(path: Path, device: str | None) -> Imported:
    """The table of one of the file's devices."""
    content = read_json_mapping(path)
    devices = tuple(name for name, table in content.items() if isinstance(table, dict))
    if not devices:
        raise malformed(path, "holds no device", f'{{DEVICE: {{"{BASE}": 5.0, "{DIFFERENCES}": [...]}}}}')
    name = chosen_device(path, device, devices)
    space = build_space(SPACE)
    rows = difference_rows(_differences(path, name, content[name], layers(space)))
    base_ms = number(path, f"{BASE} of {name}", content[name].get(BASE))
    stem, head, classifier = (slot.options[0] for slot in space.slots if not slot.decisions)
    fixed = constant_rows(base_ms, stem, head, classifier)
    source = "HW-NAS-Bench, https://arxiv.org/abs/2103.10584, FBNet for CIFAR-100"
    told = {"device": name, "resolution": str(SPACE.resolution), "values": values_told(SKIPPING)}
    return Imported(foreign_identity(source, path, **told), [*fixed, *rows])
