"""The result in one sentence and one table."""

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from hwnas.footprint import METRICS
from hwnas.objective import SAME_LATENCY
from hwnas.report.findings import (
    LABELS,
    Findings,
    in_mb,
    in_millions,
    in_ms,
    in_percent,
    read_findings,
    trained_interval,
)
from hwnas.spaces import PUBLISHED
from hwnas.storage import Record

HEADINGS = ["network", "test accuracy (95 % interval)", "measured", "predicted", "multiply-adds", "file, memory"]
IN_SENTENCES = {
    "random": "the best of random search",
    **{name: f"width-scaled {network.title}" for name, network in PUBLISHED.items()},
}


def summary_rows(run: Path) -> list[list[str]]:
    """A row for each selected network, cells as in `HEADINGS`; none before `hwnas select`."""
    return rows_of(read_findings(run))


def rows_of(found: Findings) -> list[list[str]]:
    """The rows of the summary table."""
    return [
        [
            LABELS[label],
            _accuracy(trained),
            in_ms(found.latency_ms(label)),
            in_ms(network["predicted_ms"]) if network["predicted_ms"] is not None else "-",
            in_millions(network["macs"], 1),
            ", ".join(in_mb(network[metric]) for metric in METRICS if metric in network) or "-",
        ]
        for label, network, trained in found.networks
    ]


def _accuracy(trained: Record) -> str:
    if not trained:
        return "not trained yet"
    low, high = trained_interval(trained)
    told = f"{in_percent(trained['test_accuracy'])} ({100 * low:.1f} to {100 * high:.1f})"
    if "corrupted_test_accuracy" in trained:
        told += f", corrupted {in_percent(trained['corrupted_test_accuracy'])}"
    return told


def render_summary(run: Path) -> Table:
    """The summary for a terminal."""
    found = read_findings(run)
    table = Table(title=escape(headline(found)), title_justify="left")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number < 2 else "right")
    for row in rows_of(found):
        table.add_row(*row)
    return table


def headline(found: Findings) -> str:
    """One sentence: what was searched where, what it takes and gets, and what the baselines take and get."""
    data = Path(str(found.config.get("data", "an unknown data set"))).name
    if "winner" not in found.selection:
        budget = f" within {in_ms(found.budget_ms)}" if found.budget_ms is not None else ""
        return f"{data} on {_where(found)}{budget}: no network is selected yet."
    accuracy = _reaches(found.trained.get("winner", {}))
    takes = f"takes {in_ms(found.latency_ms('winner'))} on {_where(found)}{_against_budget(found)} and {accuracy}"
    against = ", and ".join(_baseline(found, x) for x, _, _ in found.networks if x in IN_SENTENCES)
    return f"The network searched for {data} {takes}{'; ' if against else ''}{against}."


def _where(found: Findings) -> str:
    profile, soc = found.config.get("on", "an unknown device"), found.predictor.get("identity", {}).get("soc")
    return f"{soc} ({profile})" if soc else str(profile)


def _against_budget(found: Findings) -> str:
    if found.budget_ms is None:
        return ""
    if found.latency_ms("winner") <= found.budget_ms:
        return f", within the budget of {in_ms(found.budget_ms)},"
    accepted = found.measured.get("within_budget", True)
    return f", {'slightly' if accepted else 'too far'} over the budget of {in_ms(found.budget_ms)},"


def _reaches(trained: Record) -> str:
    return f"reaches {in_percent(trained['test_accuracy'])} test accuracy" if trained else "is not trained yet"


def _baseline(found: Findings, label: str) -> str:
    winner, network = found.selection["winner"], found.selection[label]
    if (winner["space"], winner["arch"]) == (network["space"], network["arch"]):
        return f"{IN_SENTENCES[label]} is the same network"
    latency_ms = found.latency_ms(label)
    near = abs(latency_ms / found.latency_ms("winner") - 1) <= SAME_LATENCY
    at = f"at {'about the same latency, ' if near else ''}{in_ms(latency_ms)}"
    return f"{IN_SENTENCES[label]}, {at}, {_reaches(found.trained.get(label, {}))}"


def undecided(found: Findings) -> str:
    """What the test images cannot tell apart from the winner; empty where there is no such network."""
    trained = found.trained.get("winner")
    if not trained:
        return ""
    low, high = trained_interval(trained)
    names = []
    for label in IN_SENTENCES:
        other = found.trained.get(label)
        if other and other.get("checkpoint", label) != trained.get("checkpoint"):
            other_low, other_high = trained_interval(other)
            names += [IN_SENTENCES[label]] if low <= other_high and other_low <= high else []
    images = trained["test_images"]
    overlap = f"overlaps with that of {' and of '.join(names)}: their order may be chance."
    return f"On {images} test images the interval of the searched network {overlap}" if names else ""
