"""A deterministic device: latencies from a formula, so that examples and tests give the same numbers everywhere."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwnas.devices.device import Measurement, Memory
from hwnas.devices.profile import Profile
from hwnas.ondevice.timing import RunConfig
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.fake import blocks_of

OVERHEAD_MS = 0.004  # of every layer, whatever its size
MS_PER_MILLION_MACS = 0.02
DEPTHWISE_FACTOR = 4.0  # depthwise convolutions use a device badly
BASE_MB, MB_PER_CHANNEL = 0.5, 0.001  # of peak memory
NETWORK_FACTOR = 1.04  # whole networks take longer than the sum of their blocks: calibration has work to do


class FakeDevice:
    """Needs the fake runtime's files; nothing runs and nothing waits."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def describe(self) -> dict[str, str]:
        return {"device": "fake", "soc": "fake", "architecture": "none", "os": "none", "governor": "none", "cpus": ""}

    def runtime_version(self) -> str:
        return RUNTIMES[self.profile.runtime].version()

    def most_threads(self) -> int:
        return 1

    def conditions(self) -> dict[str, float]:
        return {}

    @contextmanager
    def session(self) -> Iterator["FakeDevice"]:
        yield self

    def renew(self) -> None:
        return

    def peak_memory(self, model: Path, timeout_s: float) -> Memory:
        try:
            blocks = blocks_of(model)
        except ValueError as error:
            return Memory(error=str(error))
        channels = [layer.get("out_channels", 0) for block in blocks for layer in _flat(block["layers"])]
        return Memory(BASE_MB + MB_PER_CHANNEL * sum(channels))

    def measure(self, model: Path, config: RunConfig) -> Measurement:
        try:
            blocks = blocks_of(model)
        except ValueError as error:
            return Measurement(error=str(error))
        sizes = {0: json.loads(model.read_text())["input_shape"][1]}  # at each node
        total_ms = 0.0
        for block in blocks:
            operator = {name: block[name] for name in ("layers", "residual")}
            block_ms, sizes[block["writes"]] = _block_ms(operator, sizes.get(block["reads"][0], 1))
            total_ms += block_ms
        total_ms *= NETWORK_FACTOR if len(blocks) > 1 else 1.0
        return Measurement(tuple(total_ms * (1 + 0.01 * (run % 3 - 1)) for run in range(config.runs)))


def _block_ms(block: dict[str, Any], size: int) -> tuple[float, int]:
    """(milliseconds, side of the output) of one block on a square input of `size` pixels."""
    total_ms, size = _layers_ms(block["layers"], size)
    digest = hashlib.sha256(json.dumps([block, size], sort_keys=True).encode()).digest()
    return total_ms * (1 + 0.1 * (digest[0] / 255 - 0.5)), size  # blocks differ by up to 5 % in ways MACs do not tell


def _layers_ms(layers: Iterable[dict[str, Any]], size: int) -> tuple[float, int]:
    """(milliseconds, side of the output) of layers one after another; branches begin with one size, and end so."""
    total_ms = 0.0
    for layer in layers:
        macs = 0
        if layer["type"] == "Branches":
            first, second = (_layers_ms(branch, size) for branch in layer["branches"])
            total_ms, size = total_ms + first[0] + second[0], second[1]
        elif layer["type"] == "Conv":
            size = -(-size // layer["stride"])
            macs = size**2 * layer["kernel"] ** 2 * layer["in_channels"] * layer["out_channels"] // layer["groups"]
        elif layer["type"] in ("Pool", "FactorizedReduce"):
            size = -(-size // layer.get("stride", 2))
        elif layer["type"] == "Resize":
            size = layer["side"]
        elif layer["type"] == "Linear":
            macs = layer["in_features"] * layer["out_features"]
        elif layer["type"] == "SqueezeExcite":
            macs = 2 * layer["channels"] * layer["squeezed"]
        factor = DEPTHWISE_FACTOR if layer.get("groups", 1) > 1 else 1.0
        total_ms += OVERHEAD_MS + factor * MS_PER_MILLION_MACS * macs / 1e6
    return total_ms, size


def _flat(layers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for layer in layers:
        yield layer
        for branch in layer.get("branches", ()):
            yield from _flat(branch)
