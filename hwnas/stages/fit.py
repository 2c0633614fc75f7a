"""fit: a few whole networks are measured, and the table sum is calibrated on them."""

import random

from hwnas.devices import load_profile
from hwnas.latency import TablePredictor, fastest_and_slowest
from hwnas.latency.fitting import fit_predictor
from hwnas.latency.profiler import rows_to_measure
from hwnas.spaces import Arch
from hwnas.stages.networks import measured_ms, operator_table, own_network
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say

CANDIDATES_PER_NETWORK = 20


def calibration_archs(predictor: TablePredictor, count: int, seed: int) -> list[Arch]:
    """One half at even steps of predicted latency, as a fit must hold at both ends; the other half at random.

    Random, as an interval promises its coverage for networks that are drawn as those were that it comes from.
    """
    rng = random.Random(f"fit/{seed}")
    archs = spread_over_latency(predictor, count - count // 2, rng)
    return list(dict.fromkeys([*archs, *(predictor.space.sample(rng) for _ in range(count // 2))]))


def spread_over_latency(predictor: TablePredictor, count: int, rng: random.Random) -> list[Arch]:
    """Random architectures at even steps of predicted latency."""
    ends = fastest_and_slowest(predictor)
    pool = [predictor.space.sample(rng) for _ in range(count * CANDIDATES_PER_NETWORK)]
    pool += [_between(*ends, share, rng) for share in (i / len(pool) for i in range(len(pool)))]
    pool = sorted(set(pool), key=lambda arch: (predictor.arch_ms(arch), arch))
    lowest_ms, highest_ms = predictor.arch_ms(pool[0]), predictor.arch_ms(pool[-1])
    wanted_ms = [lowest_ms + (highest_ms - lowest_ms) * (i + 0.5) / count for i in range(count)]
    chosen = [min(pool, key=lambda arch: abs(predictor.arch_ms(arch) - ms)) for ms in wanted_ms]
    return list(dict.fromkeys(chosen))


def _between(fast: Arch, slow: Arch, share: float, rng: random.Random) -> Arch:
    """Every decision from `slow` with probability `share`, else from `fast`."""
    return tuple(s if rng.random() < share else f for f, s in zip(fast, slow, strict=True))


def run_stage(run: Run) -> None:
    """Writes `predictor.json`."""
    profile = load_profile(run.config.on)
    table = operator_table(run, profile)  # before the images are read: it may be the wrong one
    space = run.space
    op_ms = {key: table[key].median_ms for key in rows_to_measure(space) if key in table}
    predictor = TablePredictor(space, op_ms)
    archs = calibration_archs(predictor, run.config.calibration_networks, run.config.seed)
    with progress("measuring whole networks") as report:
        measured = measured_ms(run, [own_network(run, space, arch) for arch in archs], report)
    fit = fit_predictor(space, op_ms, archs, measured)
    rows = zip(archs, fit.predictor.latency_ms(archs).tolist(), fit.left_out_ms.tolist(), measured, strict=True)
    keys = ("arch", "predicted_ms", "left_out_ms", "measured_ms")
    networks = [dict(zip(keys, (list(arch), *values), strict=True)) for arch, *values in rows]
    identity, steadiness = table.identity, str(table.steadiness(op_ms, profile.timing.drift_pct))
    record = fit.as_record()
    run.write("predictor.json", {**record, "networks": networks, "identity": identity, "steadiness": steadiness})
    say(
        f"calibrated on {len(archs)} networks by {fit.method}: left out, each is missed by "
        f"{record['mape_pct']:.1f} % on average, {record['max_error_pct']:.1f} % at most"
    )
