"""The search loop: the only place where strategy, evaluation and objective meet."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hwnas.objective import Metrics, Objective, Scores
from hwnas.spaces.space import Arch

Evaluator = Callable[[Sequence[Arch]], Iterable[Metrics]]  # in the same order; `one_by_one` makes one of a function


class Strategy(Protocol):
    """Which architecture next. A strategy is deterministic given its seed and what it was told."""

    def ask(self) -> Arch:
        """The next architecture to evaluate."""
        ...

    def tell(self, arch: Arch, scores: Scores) -> None:
        """What came of it."""
        ...


@runtime_checkable
class BatchStrategy(Strategy, Protocol):
    """A strategy that can wait for what came of several."""

    def ask_many(self, most: int) -> list[Arch]:
        """The next architectures, as `ask` would give them one after the other: at least one, at most `most`."""
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
    known: Mapping[Arch, Metrics] | None = None,
) -> list[Trial]:
    """Evaluates `trials` architectures.

    `done` are the trials of an interrupted run with the same seed: they are replayed into the strategy instead of
    evaluated, so the search goes on exactly as it would have; ReplayError where they do not fit. An architecture asked
    for twice, or `known`, is not evaluated again.
    """
    history: list[Trial] = []
    found, replay = dict(known or {}), list(done)
    while len(history) < trials:
        asked = _asked(strategy, trials - len(history))
        assert asked, "a strategy asks for at least one"
        again = replay[len(history) : len(history) + len(asked)]
        for arch, trial in zip(asked, again, strict=False):
            if trial.arch != arch:
                number = len(history) + again.index(trial)
                raise ReplayError(f"replay differs at trial {number}: {trial.arch} was evaluated, {arch} is asked for")
            found[arch] = trial.metrics
        told = [*again, *_evaluated(asked[len(again) :], evaluate, found, on_trial)]
        for trial in told:
            strategy.tell(trial.arch, objective(trial.metrics))
        history += told
    return history


def _evaluated(
    archs: Sequence[Arch], evaluate: Evaluator, found: dict[Arch, Metrics], on_trial: Callable[[Trial], None]
) -> Iterator[Trial]:
    """One after the other, as soon as each is there; what is evaluated is added to `found`."""
    fresh = [arch for arch in dict.fromkeys(archs) if arch not in found]
    metrics = iter(evaluate(fresh) if fresh else ())
    for arch in archs:
        if arch not in found:
            found[arch] = next(metrics)
        trial = Trial(arch, found[arch])
        on_trial(trial)
        yield trial


def _asked(strategy: Strategy, most: int) -> list[Arch]:
    return strategy.ask_many(most) if isinstance(strategy, BatchStrategy) else [strategy.ask()]
