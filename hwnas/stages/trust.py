"""trust: what speaks for the search and what against it, measured, with a verdict each."""

from collections.abc import Sequence
from dataclasses import asdict

from hwnas.objective import quality, worth
from hwnas.search.collapse import Concentration, alarms, concentration, frequencies
from hwnas.search.evidence import (
    ENOUGH,
    HARDLY,
    best_of_draws_interval,
    difference_interval,
    expected_best,
    known_share,
)
from hwnas.spaces import Space
from hwnas.stages.computing import load_compute
from hwnas.stages.finals import needed_front
from hwnas.stages.limits import load_limits
from hwnas.stages.ranking import earlier, ranking
from hwnas.stages.run import Run, say
from hwnas.stages.search import trained_supernet
from hwnas.storage import Record, read_json
from hwnas.supernet import mixture_accuracy

GOOD, UNCLEAR, BAD, NOT_MEASURED = "good", "unclear", "bad", "not measured"
USEFUL_TAU = 0.5  # three of four pairs in the right order
WIDE_GAP = 0.05  # accuracy lost between what was trained and what was derived
MANY_RANKED = 12  # networks from which on an interval with 0 in it speaks against the order, not for more networks


def run_stage(run: Run) -> None:
    """Writes `trust.json`, and what `--rank-networks` trains into `trust/`."""
    needed_front(run)
    trials = run.journal("trials.jsonl").records
    measured = _with_supernet(run, trials)
    panel = {
        "learnt": learnt(trials, run.space.num_classes),
        "baseline": against_random(trials),
        "trained": trained_difference(run),
        "ranking": measured["ranking"],
        "collapse": collapse(run, trials),
        "gap": measured["gap"],
    }
    run.write("trust.json", panel)
    for name, found in panel.items():
        say(f"{name}: {found['verdict']}")


def own_trials(trials: Sequence[Record]) -> list[Record]:
    """Those of the method, without the random ones beside them."""
    return [trial for trial in trials if trial["strategy"] != "random"]


def learnt(trials: Sequence[Record], classes: int) -> Record:
    """How much of the classes the super-network knows: one that guesses ranks by chance (docs/results.md).

    share: of the cross-entropy of one that gives every class alike, what the best candidate has less.
    """
    best = max(quality(trial) for trial in trials)
    share = known_share(best, classes)
    verdict = GOOD if share >= ENOUGH else UNCLEAR if share >= HARDLY else BAD
    return {"verdict": verdict, "best": best, "guessing": 1 / classes, "share": share}


def against_random(trials: Sequence[Record]) -> Record:
    """The method's best candidate against the best that as many random draws are expected to have.

    All by what decides which is delivered: the super-network's likelihood on the search part, or a run's objective.
    """
    own = [worth(t) for t in own_trials(trials)]
    drawn = [worth(t) for t in trials if t["strategy"] == "random"]
    if not own:
        return {"verdict": NOT_MEASURED, "random": {"count": len(drawn), "best": max(drawn)}}
    (low, high), best = best_of_draws_interval(drawn, len(own)), max(own)
    mean, expected = sum(drawn) / len(drawn), expected_best(drawn, len(own))
    return {
        "verdict": GOOD if best > high else BAD if best < low else UNCLEAR,
        "method": {"count": len(own), "best": best, "above_share": sum(best > a for a in drawn) / len(drawn)},
        "random": {"count": len(drawn), "mean": mean, "best": max(drawn)},
        "expected_best": {"of": len(own), "mean": expected, "low": low, "high": high},
    }


def trained_difference(run: Run) -> Record:
    """The winner against the best random network, both trained from scratch, on the test part."""
    found = read_json(run.file("train.json")) if run.file("train.json").exists() else {}
    if not {"winner", "random"} <= set(found):
        return {"verdict": NOT_MEASURED}
    winner, drawn = found["winner"], found["random"]
    a, b, images = winner["test_accuracy"], drawn["test_accuracy"], winner["test_images"]
    low, high = difference_interval(a, b, images)
    same = winner["checkpoint"] == drawn["checkpoint"]
    verdict = GOOD if low > 0 else BAD if high < 0 else UNCLEAR
    told = {"winner": a, "random": b, "difference": a - b, "low": low, "high": high, "images": images}
    return {"verdict": UNCLEAR if same else verdict, "same_network": same, **told}


def collapse(run: Run, trials: Sequence[Record]) -> Record:
    """How far the choices narrowed: of the probabilities, or of the candidates generation by generation."""
    own, size = [tuple(t["arch"]) for t in own_trials(trials)], run.config.population
    over, tables = "epoch", probabilities(run)
    if not tables:
        over = "generation"
        tables = [frequencies(run.space, own[start : start + size]) for start in range(0, len(own), size)]
    if not tables:
        return {"verdict": NOT_MEASURED}
    drawn = [tuple(t["arch"]) for t in trials if t["strategy"] == "random"]
    return _narrowing(run.space, over, tables, concentration(run.space, frequencies(run.space, drawn)))


def probabilities(run: Run) -> list[list[list[float]]]:
    """Of every epoch, the probabilities of each decision's choices; empty where the method trains none."""
    epochs = run.journal("supernet.jsonl").records
    return [record["probabilities"] for record in epochs if "probabilities" in record]


def _narrowing(space: Space, over: str, tables: Sequence[list[list[float]]], drawn: Concentration) -> Record:
    history = [concentration(space, table) for table in tables]
    found = alarms(history, drawn, is_training=over == "epoch")
    told = {"over": over, "alarms": found, "history": [asdict(h) for h in history], "random_draws": asdict(drawn)}
    return {"verdict": BAD if found else GOOD, **told}


def _with_supernet(run: Run, trials: Sequence[Record]) -> dict[str, Record]:
    """What needs the trained super-network; it is loaded only where something does."""
    found: dict[str, Record] = {name: {"verdict": NOT_MEASURED} for name in ("ranking", "gap")}
    trained = probabilities(run)
    asked = [name for name, is_asked in (("ranking", run.config.rank_networks), ("gap", trained)) if is_asked]
    if asked and not run.file("supernet.pt").exists():  # not trained again for that
        found |= {name: {"verdict": NOT_MEASURED, "why": f"{run.file('supernet.pt')} is gone"} for name in asked}
    elif asked:
        splits, space = run.splits(), run.space
        paths, _ = trained_supernet(run, load_limits(run, space), splits, load_compute(run, space), is_finished=True)
        if "gap" in asked:
            found["gap"] = discretisation_gap(mixture_accuracy(paths, trained[-1]), trials)
        if "ranking" in asked:
            found["ranking"] = judged(ranking(run, paths, splits))
    if "networks" not in found["ranking"] and (before := earlier(run)):
        found["ranking"] = judged(before)
    return found


def judged(found: Record) -> Record:
    """With a verdict.

    A few networks speak against the super-network only where the whole interval does: five in a random order have a
    tau of 0 or less in six of ten draws (docs/trust.md). Nor do many of which two trainings do not agree.
    """
    if "tau" not in found:
        return {"verdict": NOT_MEASURED, **found}
    if found["low"] > 0:
        verdict = GOOD if found["tau"] >= USEFUL_TAU else UNCLEAR
    else:
        is_told = len(found["networks"]) >= MANY_RANKED and found.get("agreement", 1.0) >= USEFUL_TAU
        verdict = BAD if found["high"] <= 0 or is_told else UNCLEAR
    return {"verdict": verdict, **found}


def discretisation_gap(mixture: float, trials: Sequence[Record]) -> Record:
    """What is lost from the mixture that probabilities make to the path derived from them, the first candidate."""
    derived = next(float(t["accuracy"]) for t in trials if t["strategy"] == "sampled")
    gap = mixture - derived
    return {"verdict": BAD if gap > WIDE_GAP else GOOD, "mixture": mixture, "derived": derived, "gap": gap}
