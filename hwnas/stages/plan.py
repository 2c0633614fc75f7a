"""plan: how many operators the space needs, how many are measured, how long measuring the rest will take."""

from hwnas.devices import load_profile
from hwnas.latency.profiler import estimated_s, rows_to_measure, rows_without_prediction
from hwnas.stages.fitted import rows_to_go
from hwnas.stages.networks import operator_table
from hwnas.stages.run import Run, say


def run_stage(run: Run) -> None:
    """Writes `plan.json`."""
    profile = load_profile(run.config.on)
    table = operator_table(run, profile)  # before the images are read: it may be the wrong one
    space = run.space
    if not run.config.has_table:
        run.write("plan.json", {"space": space.name, "operators": 0, "measured": 0, "remaining": 0, "estimated_s": 0.0})
        say(f"no operator of {space.name} will be measured: its latency is learned from whole networks, by `hwnas fit`")
        return
    needed = rows_to_measure(space)
    to_measure = rows_without_prediction(space, table)
    remaining, predicted = len(rows_to_go(run, space, table)), len(needed) - len(to_measure)
    measured = len(to_measure) - remaining
    seconds = estimated_s(space, profile, table)
    run.write(
        "plan.json",
        {
            "space": space.name,
            "operators": len(needed),
            "measured": measured,
            "predicted": predicted,
            "remaining": remaining,
            "estimated_s": seconds,
        },
    )
    told = f"{measured} are measured" + (f", {predicted} predicted from another device's table" if predicted else "")
    say(
        f"{space.name} at {run.config.resolution} pixels needs {len(needed)} operators; {told}, the other {remaining} "
        f"will take about {seconds:.0f} s on {profile.name}"
    )
