"""measure: the exported model on the profile's device, against the budget."""

from pathlib import Path
from typing import Any

from hwnas.devices import Measurement, Profile, load_profile, open_device, pooled
from hwnas.errors import UserError
from hwnas.runtimes import RUNTIMES
from hwnas.stages.predictor import load_budget_ms
from hwnas.stages.run import Run, say
from hwnas.stages.select import TOLERANCE
from hwnas.storage import Record, read_json


class OverBudget(UserError):
    """The exported model is slower than the budget allows; the next candidate is to be taken."""


def run_stage(run: Run) -> None:
    """Writes `measure.json`; OverBudget where the median is more than 3 % above the budget."""
    exported = run.needs("export.json", "export")
    winner, budget_ms = run.needs("selection.json", "select")["winner"], load_budget_ms(run)
    profile = load_profile(run.config.on)
    path = run.file("export") / f"model{RUNTIMES[profile.runtime].suffix}"
    measurement = measure_file(path, profile)
    before: dict[str, Any] = read_json(run.file("measure.json")) if run.file("measure.json").exists() else {}
    attempts: list[Record] = before.get("attempts", [])
    within = measurement.median_ms <= TOLERANCE * budget_ms
    if not within and winner["arch"] not in [a["arch"] for a in attempts]:
        reason = f"{measurement.median_ms:.4g} ms is over {budget_ms:.4g} ms"
        attempts.append(
            {
                "arch": winner["arch"],
                "choices": winner["choices"],
                "measured_ms": measurement.median_ms,
                "reason": reason,
            }
        )
    run.write("measure.json", _record(measurement, profile, winner, budget_ms, within, attempts, exported))
    verdict = "within" if within else "OVER"
    say(f"{path.name}: median {measurement.median_ms:.4g} ms, {verdict} the budget of {budget_ms:.4g} ms")
    if not within:
        raise OverBudget(
            f"the exported model takes {measurement.median_ms:.4g} ms, more than 3 % over the budget of "
            f"{budget_ms:.4g} ms; run `hwnas select`, `train`, `export` and `measure` again for the next candidate"
        )


def measure_file(path: Path, profile: Profile) -> Measurement:
    """All rounds of the profile's protocol on one file; UserError where it does not run."""
    with open_device(profile).session() as session:
        rounds = [session.measure(path, profile.timing.run_config()) for _ in range(profile.timing.rounds)]
    measurement = pooled(rounds)
    if measurement.error:
        raise UserError(f"{path} could not be measured on {profile.name}: {measurement.error}")
    return measurement


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
