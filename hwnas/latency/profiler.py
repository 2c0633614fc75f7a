"""Networks x device -> latency table: interleaved, resumable."""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hwnas import __version__
from hwnas.devices import Device, Profile, Session, open_device
from hwnas.latency.table import Identity, LatencyTable
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import Weights
from hwnas.spaces.layers import Block, block, is_free, weight_shapes
from hwnas.spaces.space import OpSpec, Space

Progress = Callable[[int, int, str], None]  # (done, total, what)


def identity(profile: Profile, device: Device, space: Space) -> Identity:
    """What a latency of this profile and space belongs to; the first line of a table."""
    return {
        **device.describe(),
        "profile": profile.name,
        "runtime": profile.runtime,
        "runtime_version": RUNTIMES[profile.runtime].version(),
        "dtype": profile.dtype,
        "threads": str(profile.threads),
        "clock": profile.timing.clock,
        "batch": "1",
        "space": space.name,
        "resolution": str(space.input_shape[1]),
        "hwnas": __version__,
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def rows_to_measure(space: Space) -> dict[str, OpSpec]:
    """Every operator of the space that costs time, by its table key."""
    return {str(spec): spec for spec in space.all_ops() if not is_free(spec)}


def random_weights(blocks: Sequence[Block], seed: int = 0) -> Weights:
    """Weights that keep activations near 1: denormal numbers would be timed otherwise."""
    rng, weights = np.random.default_rng(seed), []
    for shape in (shape for b in blocks for layer in b.layers for shape in weight_shapes(layer)):
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weight = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
        weights.append((weight, np.full(shape[0], 0.1, np.float32)))
    return weights


def build_model(ops: Sequence[OpSpec], profile: Profile, folder: Path, name: str) -> Path:
    """A model file that runs the operators, with random weights."""
    runtime = RUNTIMES[profile.runtime]
    blocks = [block(spec) for spec in ops]
    path = folder / f"{name}{runtime.suffix}"
    runtime.build(blocks, random_weights(blocks), ops[0].in_shape, path)
    return path


def measure_rows(
    rows: Mapping[str, Sequence[OpSpec]],
    profile: Profile,
    table: LatencyTable,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
) -> None:
    """Measures what the table lacks: every round goes through all rows in a new random order.

    Interleaving spreads a slow drift of the machine over all rows alike. Rounds that are already there are left, so
    an interrupted sweep continues. A row that fails is written down, and not tried again in later rounds.
    """
    lacking = table.missing(rows, profile.timing.rounds)
    plan = [
        (number, key)
        for number in range(profile.timing.rounds)
        for key in random.Random(f"{seed}/{number}").sample(sorted(rows), len(rows))
        if key in set(lacking) and not table.has_round(key, number)
    ]
    if not plan:
        return
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, open_device(profile).session() as session:
        files = {}
        for number, key in enumerate(lacking):
            progress(0, len(plan), f"building {number + 1} of {len(lacking)}")
            files[key] = build_model(rows[key], profile, Path(folder), f"model{number}")
        _run_plan(plan, files, session, profile, table, progress)


def _run_plan(
    plan: Sequence[tuple[int, str]],
    files: Mapping[str, Path],
    session: Session,
    profile: Profile,
    table: LatencyTable,
    progress: Progress,
) -> None:
    failed: set[str] = set()
    for done, (number, key) in enumerate(plan):
        if key not in failed:
            measurement = session.measure(files[key], profile.timing.run_config())
            table.add(key, number, measurement)
            if measurement.error:
                failed.add(key)
        progress(done + 1, len(plan), key)


def profile_space(
    space: Space, profile: Profile, table: LatencyTable, seed: int = 0, progress: Progress = lambda *_: None
) -> None:
    """Measures every operator of the space that the table lacks."""
    rows = {key: (spec,) for key, spec in rows_to_measure(space).items()}
    measure_rows(rows, profile, table, seed, progress)


def estimated_s(space: Space, profile: Profile, table: LatencyTable) -> float:
    """Seconds that the missing rows will take: as long as those measured so far, else 2 ms a run."""
    per_round_runs = profile.timing.warmup_runs + profile.timing.runs
    known_ms = [max(m.median_ms, profile.timing.min_sample_ms) for m in table.values()]
    run_ms = sum(known_ms) / len(known_ms) if known_ms else 2.0
    lacking = len(table.missing(rows_to_measure(space), profile.timing.rounds))
    return lacking * (profile.timing.rounds * per_round_runs * run_ms / 1e3 + 0.02)
