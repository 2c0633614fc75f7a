"""generate: every stage in order, each where the last run of it stopped."""

from hwnas.stages import export, feasible, fit, measure, plan, profile, report, search, select, train, trust
from hwnas.stages.measure import OverBudget
from hwnas.stages.run import Run, run_announced, say

BEFORE_CHOICE = {"plan": plan, "profile": profile, "fit": fit, "feasible": feasible, "search": search}
OF_CANDIDATE = {"select": select, "train": train, "export": export, "measure": measure}


def run_stage(run: Run) -> None:
    """Ends with a report, or with the UserError of the stage that could not go on."""
    for name, stage in BEFORE_CHOICE.items():
        run_announced(run, name, stage)
    for _ in range(run.config.attempts):
        if _candidate_fits(run):
            break
    else:
        raise OverBudget(f"none of {run.config.attempts} exported candidates kept the budget; see measure.json")
    run_announced(run, "trust", trust)
    run_announced(run, "report", report)


def _candidate_fits(run: Run) -> bool:
    try:
        for name, stage in OF_CANDIDATE.items():
            run_announced(run, name, stage)
    except OverBudget as error:
        say(f"{error}: taking the next")
        return False
    return True
