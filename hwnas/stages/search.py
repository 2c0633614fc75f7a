"""search: trains the super-network by a method, then its candidates and as many random ones within the limits."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict

from hwnas.datasets import Splits
from hwnas.errors import UserError
from hwnas.nn import Compute, Supernet
from hwnas.objective import HARD, REWARDS, Metrics, Objective, goals, pareto_front, quality, worth
from hwnas.ranks import first_alone, shared_out, size
from hwnas.search import (
    METHODS,
    Budget,
    Evaluator,
    Evolution,
    EvolutionConfig,
    FromProbabilities,
    Paths,
    RandomSearch,
    ReplayError,
    Shrinking,
    Strategy,
    Trial,
    landing_told,
    largest_first,
    search,
    tied,
)
from hwnas.spaces import Arch, macs, params
from hwnas.stages.computing import load_compute, workers
from hwnas.stages.finals import RANDOM, finals, in_order, width_of_ties
from hwnas.stages.limits import kept_as, load_limits, objective_metrics
from hwnas.stages.predictor import load_budget_ms, load_footprints, load_predictor
from hwnas.stages.progress import progress
from hwnas.stages.run import Run, say
from hwnas.storage import Journal, Record
from hwnas.supernet import (
    PATH_SAMPLERS,
    ArchitectureConfig,
    ArchitectureTraining,
    PathJudge,
    Reward,
    architecture_search,
    calibration_batches,
    progressive_shrinking,
    supernet_training,
)
from hwnas.train import Judged, Training

Judge = Callable[[Sequence[Arch]], Iterable[Judged]]  # in the same order, each as soon as it is there
RECALIBRATION_BATCH = 128


def run_stage(run: Run) -> None:
    """Writes `supernet.pt`, `trials.jsonl` and `front.json`, and what `--finalists` trains into `finals/`."""
    with first_alone():
        splits, space = run.splits(), run.space
        budget = load_limits(run, space)
        trials = run.journal("trials.jsonl")
        check_trials(trials, budget)  # before the hours of training: it may be the wrong ones
        compute = load_compute(run, space)
    judge, chosen = trained_supernet(run, budget, splits, compute)
    objective = _objective(run, budget)
    delivers = objective if run.config.objectives else None
    evaluate = _evaluator(run, budget, shared(judge), delivers)
    for name, strategy in _strategies(run, budget, chosen).items():
        _search(name, strategy, objective, evaluate, trials, run.config.population * run.config.generations)
    write_front(run, trials, finals(run, trials.records, delivers, splits, compute))


def _objective(run: Run, budget: Budget) -> Objective:
    """What a candidate is worth. All keep the limits, so the reward decides among those that do."""
    return REWARDS[run.config.reward](budget.by_metric, [kept_as(metric) for metric in objective_metrics(run)])


def _strategies(run: Run, budget: Budget, chosen: ArchitectureTraining | None) -> dict[str, Strategy]:
    """Random search, and what the method's candidates come from; each is asked for as many."""
    seed, population = run.config.seed, run.config.population
    found: dict[str, Strategy] = {"random": RandomSearch(budget, seed + 1)}
    if chosen is not None:
        found["sampled"] = FromProbabilities(budget, seed, chosen.table(), chosen.draw)
    elif METHODS[run.config.method].candidates == "evolution":
        found["evolution"] = Evolution(budget, seed, EvolutionConfig(population, _parents(run)))
    return found


def _parents(run: Run) -> int:
    return max(2, run.config.population // 5)  # the paper's 10 of 50


def trained_supernet(
    run: Run, budget: Budget, splits: Splits, compute: Compute, is_finished: bool = False
) -> tuple[PathJudge, ArchitectureTraining | None]:
    """(the super-network, trained to the end, as a judge of architectures by the search part; what chooses
    architectures, where the method trains that).

    is_finished: whether that was done before; it does not matter then how many processes trained it.
    """
    training, chosen = _training(run, budget, splits, compute)
    training.checkpoint_every_s, training.lr_option = run.config.checkpoint_every_s, "--supernet-lr"
    training.processes_may_change = is_finished or run.config.processes_may_change
    with progress("training the super-network") as report:
        training.run(on_epoch=lambda epoch, record: report(epoch, training.recipe.epochs, _told(record)))
    assert isinstance(training.module, Supernet)
    resolution = budget.space.input_shape[1]
    batches = calibration_batches(
        splits.train, resolution, run.config.recalibration_batches, RECALIBRATION_BATCH, compute
    )
    return PathJudge(training.module, batches, splits.search, resolution, compute, run.config.robust), chosen


def shared(judge: Callable[[Arch], Judged]) -> Judge:
    """Of many architectures, as many at a time as there are processes: one for each."""

    def judged(archs: Sequence[Arch]) -> Iterator[Judged]:
        for start in range(0, len(archs), size()):
            some = archs[start : start + size()]
            yield from (Judged(*found) for found in shared_out(lambda own: [judge(arch) for arch in own], some, 2))

    return judged


def _told(record: Record) -> str:
    expected = f", {record['expected_ms']:.4g} ms expected" if "expected_ms" in record else ""
    return f"loss {record['loss']:.3f}{expected}"


def _training(
    run: Run, budget: Budget, splits: Splits, compute: Compute
) -> tuple[Training, ArchitectureTraining | None]:
    """The run's method as a training that has not begun."""
    space, seed, trains = budget.space, run.config.seed, METHODS[run.config.method].trains
    recipe = run.recipe(run.config.weight_epochs, run.config.supernet_lr, splits)
    predictor = load_predictor(run, space)
    if isinstance(trains, Shrinking):
        training = progressive_shrinking(space, splits.train, recipe, compute, seed, run.path, workers(compute))
        return training, None
    if isinstance(trains, Paths):
        training = supernet_training(
            *(space, splits.train, recipe, compute, seed, run.path, PATH_SAMPLERS[trains.sampler], trains.distil),
            *(workers(compute), predictor.arch_ms),
        )
        return training, None
    within_ms = load_budget_ms(run) / max(1.0, predictor.upper_factor(run.config.confidence))
    target_ms = min(within_ms, float(run.needs("feasible.json", "feasible")["largest_ms"]))
    config = ArchitectureConfig(**asdict(trains), loss=run.config.latency_loss, loss_number=run.config.latency_number)
    return architecture_search(
        *(space, splits.train, splits.search, recipe, compute, seed, run.path, config),
        *(predictor, target_ms, workers(compute), _reward(run, budget)),
    )


def _reward(run: Run, budget: Budget) -> Reward | None:
    """What REINFORCE learns from; None is the accuracy, beside a loss of the latency that lands on the budget."""
    if run.config.reward == HARD:
        return None
    objective = _objective(run, budget)
    return lambda accuracy, arch: objective({"accuracy": accuracy, **budget.metrics(arch)})[0]


def _evaluator(run: Run, budget: Budget, judge: Judge, delivers: Objective | None) -> Evaluator:
    """Architectures -> the metrics of their trials. delivers: what they are worth, where that decides the winner."""
    space = budget.space
    predictor, footprints = load_predictor(run, space), load_footprints(run, space)

    def evaluate(archs: Sequence[Arch]) -> Iterator[Metrics]:
        sizes_mb = {metric: footprint.mb(archs) for metric, footprint in footprints.items()}
        costs = {"latency_ms": predictor.latency_ms(archs), **budget.metrics_of(archs), **sizes_mb}
        for number, (arch, judged) in enumerate(zip(archs, judge(archs), strict=True)):
            ops, cost = space.ops(arch), {metric: float(values[number]) for metric, values in costs.items()}
            found: Metrics = {**judged._asdict(), **cost, "macs": macs(ops), "params": params(ops)}
            yield {**found, "worth": delivers(found)[0]} if delivers else found

    return evaluate


def _search(
    name: str, strategy: Strategy, objective: Objective, evaluate: Evaluator, journal: Journal, count: int
) -> None:
    done = [trial_of(r) for r in journal.records if r["strategy"] == name]
    known = {tuple(r["arch"]): trial_of(r).metrics for r in journal.records}  # of both strategies
    trials = list(done)

    with progress(f"{name} search") as report:

        def on_trial(trial: Trial) -> None:
            journal.append({"strategy": name, "arch": list(trial.arch), **trial.metrics})
            trials.append(trial)
            best = max(trials, key=lambda known: worth(known.metrics))
            report(len(trials), count, f"best {best.metrics['accuracy']:.4f}")

        try:
            search(strategy, evaluate, objective, count, done, on_trial, known)
        except ReplayError as error:
            raise UserError(_other_search(journal, str(error))) from None


def check_trials(journal: Journal, budget: Budget) -> None:
    """UserError where the trials so far were not predicted as they would be now."""
    for number, record in enumerate(journal.records, start=1):
        try:
            float(record["likelihood"])
            then = {metric: float(record[metric]) for metric in budget.by_metric}
            now = budget.metrics(tuple(record["arch"]))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"line {number} is no trial of {budget.space.name} ({type(error).__name__}: {error})"
            raise UserError(_other_search(journal, reason)) from None
        for metric in then:
            if not math.isclose(then[metric], now[metric], rel_tol=1e-9):
                reason = f"{metric} of line {number} was {then[metric]:.6g}, and is {now[metric]:.6g} now"
                raise UserError(_other_search(journal, reason))


def _other_search(journal: Journal, reason: str) -> str:
    return (
        f"{journal.path} is of a search with another predictor, budget or seed: {reason}; delete it to search again, "
        "or choose another --out"
    )


def trial_of(record: Record) -> Trial:
    """A line of `trials.jsonl` as a trial."""
    metrics = {k: v for k, v in record.items() if k not in ("strategy", "arch")}
    return Trial(tuple(record["arch"]), metrics)


def write_front(run: Run, trials: Journal, finalists: Sequence[Record]) -> None:
    """The Pareto front of all trials, and that of random search alone; first what is to be delivered."""
    random_trials, aims = [r for r in trials.records if r["strategy"] == "random"], objective_metrics(run)
    front, random_front = (pareto_front(records, goals(aims)) for records in (trials.records, random_trials))
    trained, ties = {"asked": run.config.finalists, "networks": list(finalists)}, _ties(run, trials.records)
    found = {"front": front, "random_front": random_front, "ties": ties, "finalists": trained}
    run.write("front.json", found)
    best = "the one that is worth most" if aims else "the likeliest"
    say(
        f"{len(trials.records)} trials; accuracy of {best} by the super-network on the search part "
        f"{front[0]['accuracy']:.4f}{_at(front[0], aims)}, of random search {random_front[0]['accuracy']:.4f}"
        f"{_at(random_front[0], aims)}"
    )
    say(landing_told(trials.records, in_order(found)[0], load_budget_ms(run), finalists, ties.get("least", math.inf)))


def _ties(run: Run, trials: Sequence[Record]) -> Record:
    """Of `front.json`: candidates, and random ones, that are as good as the likeliest; none with an objective."""
    width, asked = width_of_ties(run, trials), run.config.tie_share
    if width is None:
        return {"asked": asked, "all": [], "random": []}
    equal = tied(trials, width)
    least, most, count = min(map(quality, equal)), max(map(quality, equal)), len({tuple(t["arch"]) for t in equal})
    if count > 1:
        say(
            f"{count} candidates, of likelihoods from {least:.4f} to {most:.4f}, are too close for the super-network "
            "to tell them apart: the one of most multiply-adds goes first"
        )
    at_random = tied([trial for trial in trials if trial["strategy"] == RANDOM], width)
    return {"asked": asked, "least": least, "all": largest_first(equal), "random": largest_first(at_random)}


def _at(trial: Record, aims: Sequence[str]) -> str:
    """` at file_mb 1.23`"""
    return f" at {', '.join(f'{metric} {trial[metric]:.4g}' for metric in aims)}" if aims else ""
