"""What a search needs and a run does not have yet, so that `hwnas search` can begin one."""

import importlib

from hwnas.stages.run import Run, run_announced

STAGES_OF = {"predictor.json": ("plan", "profile", "fit"), "feasible.json": ("feasible",)}  # what makes a file


def run_missing(run: Run) -> None:
    """Runs the stages before `search` whose files are not there. They need the device; a prepared run does not."""
    for file, stages in STAGES_OF.items():
        for name in stages if not run.file(file).exists() else ():
            run_announced(run, name, importlib.import_module(f"hwnas.stages.{name}"))
