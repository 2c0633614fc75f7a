"""The search loop: the only place where strategy, evaluation and objective meet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from hwnas.objective import Metrics, Objective, Scores
from hwnas.spaces.space import Arch

Evaluator = Callable[[Arch], Metrics]


class Strategy(Protocol):
    """Which architecture next. A strategy is deterministic given its seed and what it was told."""

    def ask(self) -> Arch:
        """The next architecture to evaluate."""
        ...

    def tell(self, arch: Arch, scores: Scores) -> None:
        """What came of it."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluated architecture."""

    arch: Arch
    metrics: Metrics


class ReplayError(ValueError):
    """The trials to replay were made with another seed, budget or predictor."""


def search(
    strategy: Strategy,
    evaluate: Evaluator,
    objective: Objective,
    trials: int,
    done: Iterable[Trial] = (),
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Evaluates `trials` architectures.

    `done` are the trials of an interrupted run with the same seed: they are replayed into the strategy instead of
    evaluated, so the search goes on exactly as it would have; ReplayError where they do not fit. An architecture asked
    for twice is evaluated once.
    """
    history: list[Trial] = []
    known: dict[Arch, Metrics] = {}
    replay = iter(done)
    for _ in range(trials):
        arch = strategy.ask()
        trial = next(replay, None)
        if trial is None:
            trial = Trial(arch, known[arch] if arch in known else evaluate(arch))
            on_trial(trial)
        elif trial.arch != arch:
            raise ReplayError(
                f"replay differs at trial {len(history)}: {trial.arch} was evaluated, {arch} is asked for"
            )
        known[arch] = trial.metrics
        strategy.tell(arch, objective(trial.metrics))
        history.append(trial)
    return history
