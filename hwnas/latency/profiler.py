"""Networks x device -> latency table: interleaved, resumable."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hwnas import __version__
from hwnas.devices import Device, Profile, Timing, open_device
from hwnas.errors import UserError
from hwnas.latency.sweep import Progress, Sweep
from hwnas.latency.table import Identity, LatencyTable
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import Weights
from hwnas.spaces.layers import Block, Conv, Layer, flat, weight_shapes
from hwnas.spaces.macs import macs
from hwnas.spaces.operators import block, is_free
from hwnas.spaces.space import Operators, OpSpec, Space, chain_operators
from hwnas.storage import scratch

OVERHEAD_S = 0.02  # of a round of one model beside its runs: loading, and writing down
START_S = 0.7  # of the process that measures a round
SWEEPS = 3  # until what did not settle has
ADDED_GAIN = 0.1  # of the variance of what a block adds to its input


def identity(profile: Profile, device: Device, space: Space) -> Identity:
    """What a latency of this profile and space belongs to; the first line of a table."""
    return {
        **device.describe(),
        "profile": profile.name,
        "runtime": profile.runtime,
        "runtime_version": device.runtime_version(),
        "dtype": profile.dtype,
        "threads": str(profile.threads),
        "delegate": RUNTIMES[profile.runtime].delegate,
        "clock": profile.timing.clock,
        "protocol": protocol(profile.timing),
        "batch": "1",
        "space": space.name,
        "resolution": str(space.input_shape[1]),
        "hwnas": __version__,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def protocol(timing: Timing) -> str:
    """What of the protocol shifts a latency; how often it is measured only makes it surer."""
    names = ["warmup_runs", "runs", "min_sample_ms", "cooldown_s", *(["warmup_ms"] if timing.warmup_ms else [])]
    return ", ".join(f"{name} {getattr(timing, name):g}" for name in names)


def rows_to_measure(space: Space) -> dict[str, OpSpec]:
    """Every operator of the space that costs time, by its table key."""
    return {str(spec): spec for spec in space.all_ops() if not is_free(spec)}


def rows_named(keys: Iterable[str], space: Space) -> dict[str, OpSpec]:
    """These rows of the space, each once; UserError naming the first that it does not have."""
    known, wanted = rows_to_measure(space), list(dict.fromkeys(keys))
    strange = [key for key in wanted if key not in known]
    if strange:
        raise UserError(
            f"{len(strange)} of {len(wanted)} rows are not of {space.name} at {space.input_shape[1]} pixels with "
            f"{space.num_classes} classes, first {strange[0]}; leave them out, or choose the space that has them"
        )
    return {key: known[key] for key in wanted}


def rows_without_prediction(space: Space, table: LatencyTable) -> dict[str, OpSpec]:
    """Those that a run measures: a prediction is kept, which saves its measurement."""
    return {key: spec for key, spec in rows_to_measure(space).items() if not table.is_predicted(key)}


def random_weights(blocks: Sequence[Block], seed: int = 0) -> Weights:
    """Weights that keep activations near 1, as trained ones do, however deep a network is.

    Denormal numbers would be timed otherwise, and of ranges a thousand times apart int8 kernels do not take sums.
    """
    rng, weights = np.random.default_rng(seed), []
    for chosen in blocks:
        scaled = [(shape, _gain(layer)) for layer in flat(chosen.layers) for shape in weight_shapes(layer)]
        if chosen.residual and scaled:
            scaled[-1] = (scaled[-1][0], ADDED_GAIN)
        for shape, gain in scaled:
            scale = np.float32(np.sqrt(gain / np.prod(shape[1:])))
            weight = rng.standard_normal(shape, dtype=np.float32) * scale
            weights.append((weight, np.full(shape[0], 0.1, np.float32)))
    return weights


def _gain(layer: Layer) -> float:
    """Of the variance: an activation function takes half of it (https://arxiv.org/abs/1502.01852, section 2.2)."""
    return 1 if isinstance(layer, Conv) and layer.activation == "none" else 2


def build_model(ops: Sequence[OpSpec], profile: Profile, folder: Path, name: str) -> Path:
    """A model file that runs the operators, with random weights: as a network is wired, others one after another."""
    runtime = RUNTIMES[profile.runtime]
    blocks = [block(spec) for spec in ops]
    path = folder / f"{name}{runtime.suffix}"
    network = ops if isinstance(ops, Operators) else chain_operators(ops)
    runtime.build(blocks, random_weights(blocks), network.input_shape, path, network.wires)
    if profile.dtype != "fp32":
        image = np.random.default_rng(0).standard_normal((1, *network.input_shape), dtype=np.float32)
        runtime.reduce(path, profile.dtype, [image], path)
    return path


def measure_rows(
    rows: Mapping[str, Sequence[OpSpec]],
    profile: Profile,
    table: LatencyTable,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
) -> None:
    """Measures what the table lacks, by the profile's protocol. A row that fails is written down, by name.

    What does not settle is measured anew, a few times: a burst of other work on the machine must not end a run.
    """
    if not rows:
        return
    number_of = {key: number for number, key in enumerate(rows)}
    with scratch() as folder:

        @functools.cache
        def file_of(key: str) -> Path:
            progress(0, len(rows) * profile.timing.rounds, f"building {number_of[key] + 1} of {len(rows)}")
            return build_model(rows[key], profile, folder, f"model{number_of[key]}")

        _measure(list(rows), middling(rows), file_of, profile, table, seed, progress)


def measure_files(
    files: Mapping[str, Path], profile: Profile, seed: int = 0, progress: Progress = lambda done, total, what: None
) -> LatencyTable:
    """Files that are compared with each other, in one sweep by the profile's protocol; `failures` tells what failed.

    The table has them by their keys, and is kept nowhere.
    """
    with scratch() as folder:
        table = LatencyTable(folder / "files.jsonl", {"device": profile.device})
        _measure(list(files), next(iter(files)), files.__getitem__, profile, table, seed, progress)
    return table


def _measure(
    keys: Sequence[str],
    sentinel: str,
    file_of: Callable[[str], Path],
    profile: Profile,
    table: LatencyTable,
    seed: int,
    progress: Progress,
) -> None:
    lacking = unfinished(keys, profile, table)
    if not lacking:
        return
    device = open_device(profile)
    if gates := gates_untold(profile, device):
        progress(0, len(lacking) * profile.timing.rounds, gates)
    with device.session() as session:
        for _ in range(SWEEPS):
            for key in lacking:  # beforehand, so that the device is not kept waiting
                file_of(key)
            Sweep(keys, sentinel, file_of, table, profile.timing, device, session, seed, progress).run()
            lacking = unfinished(keys, profile, table)
            if not lacking or not all(map(table.is_quarantined, lacking)):
                break  # all is there, or something failed


def gates_untold(profile: Profile, device: Device) -> str:
    """`max_temperature_c has no effect, ...`; empty where every gate of the profile has one, or there is none."""
    if not profile.timing.gates():
        return ""
    untold = profile.timing.untold(device.conditions())
    verb = "has" if len(untold) == 1 else "have"
    return f"{' and '.join(untold)} {verb} no effect, as the device tells no such thing" if untold else ""


def steadiness_told(keys: Iterable[str], profile: Profile, table: LatencyTable) -> str:
    """How quiet the device was while these rows were measured, and which gates could not see to it."""
    steadiness, gates = table.steadiness(keys, profile.timing.drift_pct), gates_untold(profile, open_device(profile))
    return f"{steadiness}; {gates}" if gates else str(steadiness)


def failures(rows: Iterable[str], profile: Profile, table: LatencyTable) -> dict[str, str]:
    """After a sweep, which of the rows failed in a round or would not settle, and why."""
    found = {key: table.failure(key) for key in unfinished(rows, profile, table)}
    return {key: why for key, why in found.items() if why}


def check_measured(rows: Iterable[str], profile: Profile, table: LatencyTable, what: str = "operators") -> None:
    """After a sweep. UserError naming the first of the rows that failed in a round, and why."""
    failed = failures(rows, profile, table)
    if failed:
        first, why = next(iter(failed.items()))
        raise UserError(
            f"{len(failed)} {what} could not be measured on {profile.name}, first {first}: {why}; "
            "run the same command again to retry them"
        )


def unfinished(rows: Iterable[str], profile: Profile, table: LatencyTable) -> list[str]:
    """The rows that lack a round: one of the least number, or a further one because they are not settled yet."""
    timing = profile.timing
    lacking = set(table.missing(rows, timing.rounds))
    return [key for key in rows if key in lacking or not table.is_settled(key, timing.settle_pct, timing.max_rounds)]


def middling(rows: Mapping[str, Sequence[OpSpec]]) -> str:
    """The row of middling work."""
    by_work = sorted(rows, key=lambda key: (macs(rows[key]), key))
    return by_work[len(by_work) // 2]


def profile_space(
    space: Space, profile: Profile, table: LatencyTable, seed: int = 0, progress: Progress = lambda *_: None
) -> None:
    """Measures every operator of the space that the table lacks, and does not predict."""
    rows = {key: (spec,) for key, spec in rows_without_prediction(space, table).items()}
    measure_rows(rows, profile, table, seed, progress)


def estimated_s(space: Space, profile: Profile, table: LatencyTable) -> float:
    """Seconds that the missing rounds will take: a run as long as those measured so far, else 2 ms."""
    timing = profile.timing
    needed = rows_without_prediction(space, table)
    known_ms = [max(m.median_ms, timing.min_sample_ms) for m in table.values()]
    run_ms = sum(known_ms) / len(known_ms) if known_ms else 2.0
    lacking = sum(not table.has_round(key, r) for key in needed for r in range(timing.rounds))
    starts_s = timing.rounds * START_S if lacking else 0.0
    return starts_s + lacking * ((timing.warmup_runs + timing.runs) * run_ms / 1e3 + OVERHEAD_S)
