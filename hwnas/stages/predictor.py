"""What `fit` left: the predictors of a run, and the budget that they were compared with."""

from hwnas.errors import UserError
from hwnas.footprint import METRICS, FootprintPredictor
from hwnas.latency.fitting import Fitted, from_record
from hwnas.spaces import Space
from hwnas.stages.run import Run


def load_predictor(run: Run, space: Space) -> Fitted:
    """Of latency; needs neither the device nor its packages."""
    record = run.needs("predictor.json", "fit")
    found = (record["identity"]["space"], record["identity"]["resolution"])
    if found != (space.name, str(space.input_shape[1])):
        raise UserError(
            f"{run.file('predictor.json')} is of {found[0]} at {found[1]} pixels, the run searches {space.name} at "
            f"{space.input_shape[1]}; run `hwnas fit` again"
        )
    return from_record(space, record)


def load_footprints(run: Run, space: Space) -> dict[str, FootprintPredictor]:
    """Of each metric of `footprint.METRICS` that the device told."""
    record = run.needs("predictor.json", "fit")["footprint"]
    return {metric: FootprintPredictor.from_record(space, record[metric]) for metric in METRICS if metric in record}


def load_budget_ms(run: Run) -> float:
    """The budget that `feasible` found to be reachable."""
    return float(run.needs("feasible.json", "feasible")["budget_ms"])
