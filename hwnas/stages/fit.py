"""fit: a few whole networks are measured, and the table sum is calibrated on them."""

import itertools
import random
from collections.abc import Iterable, Iterator

import numpy as np

from hwnas.devices import load_profile
from hwnas.footprint import METRICS, fit_footprint
from hwnas.latency import TablePredictor, fastest_and_slowest
from hwnas.latency.fitting import Fit, fit_predictor
from hwnas.latency.interpolation import interpolate
from hwnas.latency.profiler import rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Arch, Space
from hwnas.spaces.space import sees_image
from hwnas.stages.fitted import PREDICTOR, made_from, predictor_stays
from hwnas.stages.networks import (
    CALIBRATION,
    NetworkId,
    measured_footprints,
    measured_ms,
    operator_table,
    own_network,
)
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.storage import Record

CANDIDATES_PER_NETWORK = 20


def calibration_archs(predictor: TablePredictor, count: int, seed: int) -> tuple[list[Arch], list[Arch]]:
    """(one half spread over the latencies of the space, as a fit must hold at both ends; the other half at random).

    Random, as an interval promises its coverage for networks that are drawn as those were that it comes from. A network
    that does not look at its image is a constant, and tells nothing of the device.
    """
    rng = random.Random(f"fit/{seed}")
    spread = spread_over_latency(predictor, count - count // 2, rng)
    samples = (predictor.space.sample(rng) for _ in range(count // 2 * CANDIDATES_PER_NETWORK))
    drawn = dict.fromkeys(itertools.islice(_telling(predictor.space, samples), count // 2))
    return spread, [arch for arch in drawn if arch not in spread]


def spread_over_latency(predictor: TablePredictor, count: int, rng: random.Random) -> list[Arch]:
    """The fastest architecture, the slowest, and random ones at even steps of the logarithm of predicted latency.

    Logarithm, as relative errors are what is minimised. The ends themselves: a sum that suits the networks which it was
    fitted on may be off by any factor beyond them.
    """
    ends = fastest_and_slowest(predictor)
    pool = [*ends, *(predictor.space.sample(rng) for _ in range(count * CANDIDATES_PER_NETWORK))]
    pool += [_between(*ends, share, rng) for share in (i / len(pool) for i in range(len(pool)))]
    pool = sorted(_telling(predictor.space, set(pool)))
    log_ms, chosen = np.log(predictor.latency_ms(pool)), list[int]()
    for wanted in np.linspace(log_ms.min(), log_ms.max(), min(count, len(pool))):
        distance = np.abs(log_ms - wanted)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return [pool[i] for i in chosen]


def _telling(space: Space, archs: Iterable[Arch]) -> Iterator[Arch]:
    """Those of networks that look at their image."""
    return (arch for arch in archs if sees_image(space.steps(arch)))


def _between(fast: Arch, slow: Arch, share: float, rng: random.Random) -> Arch:
    """Every decision from `slow` with probability `share`, else from `fast`."""
    return tuple(s if rng.random() < share else f for f, s in zip(fast, slow, strict=True))


def run_stage(run: Run) -> None:
    """Writes `predictor.json`, where none is there that still holds."""
    profile = load_profile(run.config.on)
    table = operator_table(run, profile)  # before the images are read: it may be the wrong one
    space = run.space
    stays, why = predictor_stays(run, table)
    if why:
        say(why)
    if stays:
        return
    op_ms, doubts = complete_rows(run, space, table)
    spread, drawn = calibration_archs(TablePredictor(space, op_ms), run.config.calibration_networks, run.config.seed)
    archs = [*spread, *drawn]
    measured, footprints = _measure(run, [own_network(run, space, arch) for arch in archs])
    fit = fit_predictor(space, op_ms, archs, measured, doubts, len(drawn))
    told = [metric for metric in METRICS if all(metric in footprint for footprint in footprints)]
    sizes = {metric: fit_footprint(space, archs, [footprint[metric] for footprint in footprints]) for metric in told}
    record = fit.as_record()
    run.write(
        PREDICTOR,
        {
            **record,
            "networks": _networks(fit, archs),
            "made_from": made_from(run, space, table, archs, guessed=bool(doubts)),
            "footprint": {metric: size.as_record() for metric, size in sizes.items()},
            "identity": table.identity,
            "steadiness": str(table.steadiness([key for key in op_ms if key in table], profile.timing.drift_pct)),
        },
    )
    say(
        f"calibrated on {len(archs)} networks by {fit.method}: left out, each is missed by "
        f"{record['mape_pct']:.1f} % on average, {record['max_error_pct']:.1f} % at most; its "
        + ", its ".join(f"{METRICS[metric]} by {size.mape_pct:.1f} %" for metric, size in sizes.items())
    )


def _measure(run: Run, networks: list[NetworkId]) -> tuple[list[float], list[dict[str, float]]]:
    """Milliseconds, and size and memory by metric, of each."""
    with progress("measuring whole networks") as report:
        measured = measured_ms(run, networks, report, CALIBRATION)
    with progress("measuring their memory") as report:
        return measured, measured_footprints(run, networks, report)


def _networks(fit: Fit, archs: list[Arch]) -> list[Record]:
    """The calibration networks as `predictor.json` holds them."""
    predicted_ms = fit.predictor.latency_ms(archs).tolist()
    rows = zip(archs, predicted_ms, fit.left_out_ms.tolist(), fit.measured_ms.tolist(), strict=True)
    keys = ("arch", "predicted_ms", "left_out_ms", "measured_ms")
    return [dict(zip(keys, (list(arch), *values), strict=True)) for arch, *values in rows]


def complete_rows(run: Run, space: Space, table: LatencyTable) -> tuple[dict[str, float], dict[str, float]]:
    """(milliseconds by row, the doubt of those that are guessed, as the run's options allow it or not)."""
    needed = rows_to_measure(space)
    op_ms = {key: table[key].median_ms for key in needed if key in table}
    missing = [spec for key, spec in needed.items() if key not in op_ms]
    if not missing or not run.config.interpolate:
        return op_ms, {}
    guesses = interpolate({key: table[key].median_ms for key in table if not table.is_predicted(key)}, missing)
    say(f"{len(guesses)} of {len(needed)} operators are guessed from the others, which widens the intervals")
    return op_ms | {k: g.latency_ms for k, g in guesses.items()}, {k: g.doubt for k, g in guesses.items()}
