"""fit: a few whole networks are measured, and the table sum is calibrated on them."""

from collections.abc import Collection, Mapping

from hwnas.devices import load_profile
from hwnas.footprint import METRICS, fit_footprint
from hwnas.latency import TablePredictor
from hwnas.latency.fitting import Fit, fit_networks, fit_predictor
from hwnas.latency.interpolation import interpolate
from hwnas.latency.profiler import rows_to_measure, steadiness_told
from hwnas.latency.table import LatencyTable
from hwnas.spaces import Arch, Space
from hwnas.spaces.macs import op_macs
from hwnas.stages.calibrating import SET_ASIDE, calibration_archs, measured_networks
from hwnas.stages.fitted import PREDICTOR, made_from, predictor_stays
from hwnas.stages.networks import measured_footprints, network_table, operator_table, own_network
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.storage import Record

START_MACS = 1e6  # what an operator takes whatever its size, as multiply-adds: some 0.05 ms of a phone's core


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
    op_ms, doubts = complete_rows(run, space, table) if run.config.has_table else ({}, {})
    ordering, count, seed = ordered_by(space, op_ms), run.config.calibration_networks, run.config.seed

    def choose(aside: Collection[Arch]) -> tuple[list[Arch], list[Arch]]:
        return calibration_archs(ordering, count, seed, aside)

    archs, measured, drawn = measured_networks(run, space, choose)
    footprints = _footprints(run, space, archs)
    if run.config.has_table:
        fit = fit_predictor(space, op_ms, archs, measured, doubts, drawn)
    else:
        fit = fit_networks(space, archs, measured, drawn)
    told = [metric for metric in METRICS if all(metric in footprint for footprint in footprints)]
    sizes = {metric: fit_footprint(space, archs, [footprint[metric] for footprint in footprints]) for metric in told}
    record = fit.as_record()
    run.write(
        PREDICTOR,
        {
            **record,
            "networks": _networks(fit, archs),
            "set_aside": run.journal(SET_ASIDE).records,
            "made_from": made_from(run, space, table, archs, guessed=bool(doubts)),
            "footprint": {metric: size.as_record() for metric, size in sizes.items()},
            "identity": table.identity,
            "steadiness": _steadiness(run, op_ms, table),
        },
    )
    say(
        f"calibrated on {len(archs)} networks by {fit.method}: left out, each is missed by "
        f"{record['mape_pct']:.1f} % on average, {record['max_error_pct']:.1f} % at most; its "
        + ", its ".join(f"{METRICS[metric]} by {size.mape_pct:.1f} %" for metric, size in sizes.items())
    )


def ordered_by(space: Space, op_ms: Mapping[str, float]) -> TablePredictor:
    """By what calibration networks are spread: the table's sum; without one, multiply-adds and a start for each."""
    if op_ms:
        return TablePredictor(space, op_ms)
    return TablePredictor(space, {key: START_MACS + op_macs(spec) for key, spec in rows_to_measure(space).items()})


def _steadiness(run: Run, op_ms: Mapping[str, float], table: LatencyTable) -> str:
    """Of the rows that the predictor follows from: the table's, or without one the whole networks'."""
    profile = load_profile(run.config.on)
    if not op_ms:
        networks = network_table(run)
        return steadiness_told(networks, profile, networks)
    return steadiness_told([key for key in op_ms if key in table], profile, table)


def _footprints(run: Run, space: Space, archs: list[Arch]) -> list[dict[str, float]]:
    """Size and memory by metric of each."""
    with progress("measuring their memory") as report:
        return measured_footprints(run, [own_network(run, space, arch) for arch in archs], report)


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
