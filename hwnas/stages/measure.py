"""measure: the exported model on the profile's device, against the budget."""

from pathlib import Path
from typing import Any

from hwnas.devices import Measurement, Profile, load_profile
from hwnas.errors import UserError
from hwnas.footprint import METRICS
from hwnas.stages.export import file_key
from hwnas.stages.limits import TOLERANCE, TOLERANCE_PCT, broken_limit
from hwnas.stages.networks import NetworkId, footprint_of, network_of
from hwnas.stages.patience import JUDGED, Seen, sentinel_of, settled
from hwnas.stages.predictor import load_budget_ms
from hwnas.stages.run import Run, say
from hwnas.stages.train import checkpoint_name
from hwnas.storage import Record, read_json

AGAIN = 2  # sweeps more before a trained network is given up


class OverBudget(UserError):
    """The exported model breaks a limit; the next candidate is to be taken."""


def run_stage(run: Run) -> None:
    """Writes `measure.json`; OverBudget where a limit is broken by more than 3 %, however often it is measured."""
    exported = run.needs("export.json", "export")
    selection, budget_ms = run.needs("selection.json", "select"), load_budget_ms(run)
    winner = selection["winner"]
    if exported["checkpoint"] != checkpoint_name(winner):
        raise UserError(f"{run.file('export')} holds another network than the winner; run `hwnas export` first")
    profile = load_profile(run.config.on)
    file = exported["files"].get(file_key(profile), {})
    if not file or file.get("failed"):
        why = file.get("failed") or "it was not exported"
        raise UserError(f"{run.file('export')} has no sound file for {profile.name} ({why}); run `hwnas export` first")
    path = run.file("export") / file["path"]
    together = _measured(run, path, profile, selection, budget_ms)
    measurement, footprint = together.all[JUDGED], _footprint(run, path, profile)
    before: dict[str, Any] = read_json(run.file("measure.json")) if run.file("measure.json").exists() else {}
    attempts: list[Record] = before.get("attempts", [])
    broken = broken_limit(run.config, budget_ms, measurement.median_ms, footprint)
    if broken and winner["arch"] not in [a["arch"] for a in attempts]:
        attempts.append(
            {
                "arch": winner["arch"],
                "choices": winner["choices"],
                "measured_ms": measurement.median_ms,
                "reason": broken,
            }
        )
    record = _record(measurement, profile, winner, budget_ms, not broken, attempts, exported)
    baselines_ms = {label: together.all.get(label, measurement).median_ms for label in run.baselines}
    run.write(
        "measure.json", {**record, "baselines_ms": baselines_ms, "device_slowdown": together.slowdown, **footprint}
    )
    say(
        f"{path.name}: median {measurement.median_ms:.4g} ms, {verdict(measurement.median_ms, budget_ms)}; "
        + ", ".join(f"{METRICS[metric]} {mb:.3g} MB" for metric, mb in footprint.items())
    )
    if broken:
        raise OverBudget(
            f"the exported model breaks a limit by more than {TOLERANCE_PCT} %: {broken}; run `hwnas select`, `train`, "
            "`export` and `measure` again for the next candidate"
        )


def _measured(run: Run, path: Path, profile: Profile, selection: Record, budget_ms: float) -> Seen:
    """The exported file, the baselines and a sentinel, in turn: of several sweeps the one in which it was fastest.

    There are several where the file breaks the budget, which the network kept when it was chosen.
    """
    winner, baselines = selection["winner"], _baselines(run, selection)
    sentinel = sentinel_of(run, network_of(run, winner), budget_ms)

    def sweep() -> Seen:
        return sentinel.sweep({JUDGED: path}, baselines, profile)

    what = f"{path.name}, whose network took {winner['measured_ms']:.4g} ms when it was chosen,"
    return settled(sweep(), sweep, budget_ms, profile, AGAIN, what)


def _footprint(run: Run, path: Path, profile: Profile) -> dict[str, float]:
    needed = run.config.max_peak_memory_mb is not None
    return footprint_of(path, profile, needed, path.name)


def verdict(median_ms: float, budget_ms: float) -> str:
    """How a latency stands to the budget."""
    if median_ms <= budget_ms:
        return f"within the budget of {budget_ms:.4g} ms"
    near = f"less than {TOLERANCE_PCT} % " if median_ms <= TOLERANCE * budget_ms else ""
    return f"{near}over the budget of {budget_ms:.4g} ms"


def _baselines(run: Run, selection: Record) -> dict[str, NetworkId]:
    """The selected networks other than the winner, by label."""
    networks = {label: network_of(run, selection[label]) for label in run.baselines}
    return {label: network for label, network in networks.items() if network != network_of(run, selection["winner"])}


def _record(
    measurement: Measurement,
    profile: Profile,
    winner: Record,
    budget_ms: float,
    within: bool,
    attempts: list[Record],
    exported: Record,
) -> Record:
    return {
        "checkpoint": exported["checkpoint"],
        "budget_ms": budget_ms,
        "runtime": profile.runtime,
        "predicted_ms": winner["predicted_ms"],
        "median_ms": measurement.median_ms,
        "p10_ms": measurement.quantile_ms(0.1),
        "p90_ms": measurement.quantile_ms(0.9),
        "within_budget": within,
        "times_ms": list(measurement.times_ms),
        "attempts": attempts,
    }
