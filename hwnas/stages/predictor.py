"""The predictor of a run, and the budget it was given."""

from hwnas.errors import UserError
from hwnas.latency.fitting import Fitted, from_record
from hwnas.spaces import Space
from hwnas.stages.run import Run


def load_predictor(run: Run, space: Space) -> Fitted:
    """What `fit` left; needs neither the device nor its packages."""
    record = run.needs("predictor.json", "fit")
    found = (record["identity"]["space"], record["identity"]["resolution"])
    if found != (space.name, str(space.input_shape[1])):
        raise UserError(
            f"{run.file('predictor.json')} is of {found[0]} at {found[1]} pixels, the run searches {space.name} at "
            f"{space.input_shape[1]}; run `hwnas fit` again"
        )
    return from_record(space, record)


def load_budget_ms(run: Run) -> float:
    """The budget that `feasible` found to be reachable."""
    return float(run.needs("feasible.json", "feasible")["budget_ms"])


def load_limit_ms(run: Run) -> float:
    """The predicted latency up to which a network keeps the budget with the probability asked for."""
    return float(run.needs("feasible.json", "feasible")["limit_ms"])
