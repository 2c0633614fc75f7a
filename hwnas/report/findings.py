"""What a run directory holds so far, and how its numbers are written."""

from dataclasses import dataclass
from pathlib import Path

from hwnas.objective import metric_of, named
from hwnas.search.evidence import wilson_interval
from hwnas.spaces import PUBLISHED, Decision, Space, build_space, config_of
from hwnas.storage import Journal, Record, read_json

LABELS = {
    **{"winner": "searched", "random": "best of random search"},
    **{name: f"{network.title}, width-scaled" for name, network in PUBLISHED.items()},
}


@dataclass(frozen=True)
class Findings:
    """The files of a run; an absent one is an empty value."""

    folder: Path
    config: Record
    plan: Record
    predictor: Record
    feasible: Record
    compute: Record
    selection: Record
    trained: Record
    exported: Record
    measured: Record
    trust: Record
    too_slow: list[Record]  # winners whose exported file broke the budget
    trials: list[Record]
    finalists: list[Record]
    ties: Record  # of `front.json`
    supernet: list[Record]
    events: list[Record]
    curves: dict[str, list[Record]]  # epochs of each training, by the name of its journal

    @property
    def networks(self) -> list[tuple[str, Record, Record]]:
        """(label, network, what training found) in the order of the tables."""
        return [(x, self.selection[x], self.trained.get(x, {})) for x in LABELS if x in self.selection]

    @property
    def space(self) -> Space | None:
        """What was searched, with two classes: no decision depends on them. None while it is not known."""
        known = self.config or self.selection.get("winner")
        if not known:
            return None
        return build_space(config_of({**known, "num_classes": 2}, self.folder))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the search chose among; empty while it is not known."""
        return self.space.decisions if self.space else ()

    @property
    def budget_ms(self) -> float | None:
        """The budget, once it is known."""
        known = self.feasible or self.measured or self.config
        return None if known.get("budget_ms") is None else float(known["budget_ms"])

    @property
    def aims(self) -> list[str]:
        """The metrics that the run's objective names, as trials have them; empty where there is none."""
        cost = self.feasible.get("operator_cost", {}).get("metric", "")
        return [metric_of(name, cost) for name in named(self.config.get("objective"))]

    @property
    def ranked_by(self) -> str:
        """What decides which candidate is delivered, in words."""
        return f"worth ({self.config['reward']} of {', '.join(self.aims)})" if self.aims else "super-network likelihood"

    def latency_ms(self, label: str) -> float:
        """As measured beside the exported file once there is one; else as selected."""
        if not self.measured:
            return float(self.selection[label]["measured_ms"])
        return float(self.measured["median_ms"] if label == "winner" else self.measured["baselines_ms"][label])


def read_findings(run: Path) -> Findings:
    """Whatever of the run directory exists."""
    selection, measured = _record(run, "selection.json"), _record(run, "measure.json")
    trained, exported, too_slow = _record(run, "train.json"), _record(run, "export.json"), measured.get("attempts", [])
    if is_of_another_winner(measured, selection):
        checkpoint = measured.get("checkpoint")
        trained = {x: r for x, r in trained.items() if x != "winner" or r.get("checkpoint") != checkpoint}
        exported = {} if exported.get("checkpoint") == checkpoint else exported
        measured = {}
    return Findings(
        folder=run,
        config=_record(run, "config.json"),
        plan=_record(run, "plan.json"),
        predictor=_record(run, "predictor.json"),
        feasible=_record(run, "feasible.json"),
        compute=_record(run, "compute.json"),
        selection=selection,
        trained=trained,
        exported=exported,
        measured=measured,
        trust=_record(run, "trust.json"),
        too_slow=too_slow,
        trials=_lines(run / "trials.jsonl"),
        finalists=_record(run, "front.json").get("finalists", {}).get("networks", []),
        ties=_record(run, "front.json").get("ties", {}),
        supernet=_lines(run / "supernet.jsonl"),
        events=_lines(run / "events.jsonl"),
        curves={path.stem: _lines(path) for path in sorted(run.glob("train/*.jsonl"))},
    )


def is_of_another_winner(measured: Record, selection: Record) -> bool:
    """True between two candidates: the last one's file was too slow, and the next one is selected already."""
    if not measured or measured.get("within_budget", True) or "winner" not in selection:
        return False
    return selection["winner"]["choices"] not in [a["choices"] for a in measured["attempts"]]


def _record(run: Path, name: str) -> Record:
    return dict(read_json(run / name)) if (run / name).exists() else {}


def _lines(path: Path) -> list[Record]:
    return Journal(path).records


def trained_interval(trained: Record) -> tuple[float, float]:
    """The Wilson interval of a trained network's test accuracy."""
    return wilson_interval(trained["test_accuracy"], trained["test_images"])


def in_ms(latency_ms: float) -> str:
    """`0.3508 ms`, `1240 ms`: four digits."""
    return f"{latency_ms:.4g} ms" if latency_ms < 1000 else f"{latency_ms:.0f} ms"


def in_mb(megabytes: float) -> str:
    """`3.51 MB`"""
    return f"{megabytes:.3g} MB"


def in_percent(share: float, digits: int = 1) -> str:
    """`98.6 %`"""
    return f"{100 * share:.{digits}f} %"


def in_time(seconds: float) -> str:
    """`0.4 s`, `12 min 4 s`, `3 h 5 min`"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def in_millions(count: int, digits: int) -> str:
    """`10.1 M`"""
    return f"{count / 1e6:.{digits}f} M"
