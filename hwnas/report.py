"""The run directory as one self-contained page, and as a short table for the terminal."""

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.offline
from rich.table import Table

from hwnas.objective import accuracy_and_latency, pareto_front
from hwnas.spaces import Space, SpaceConfig, build_space
from hwnas.spaces.layers import is_free
from hwnas.storage import Journal, Record, write_text

LABELS = {"winner": "searched", "random": "best of random search", "mobilenet_v2": "MobileNetV2, width-scaled"}
Z_95 = 1.959964  # two-sided 95 % of the normal distribution
COLORS = {"evolution": "#2563eb", "random": "#9ca3af", "winner": "#dc2626", "mobilenet_v2": "#059669"}
PLOT_HEIGHT_PX = 420
STYLE = """
:root{color-scheme:light;--ink:#111827;--soft:#6b7280;--line:#e5e7eb;--back:#f9fafb}
*{box-sizing:border-box}body{margin:0;font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--back)}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}h1{font-size:1.6rem;margin:.2em 0}
h2{font-size:1.15rem;margin:0 0 .4em}
section{background:#fff;border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:18px 0;overflow-x:auto}
.lead{font-size:1.1rem}p{margin:.3em 0 .8em}.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th{text-align:left;color:var(--soft);font-weight:600}
td,th{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.86em;overflow-wrap:anywhere}
"""


def wilson_interval(right_share: float, images: int) -> tuple[float, float]:
    """95 % interval of an accuracy counted on `images` images (Wilson 1927)."""
    centre = right_share + Z_95**2 / (2 * images)
    half = Z_95 * (right_share * (1 - right_share) / images + Z_95**2 / (4 * images**2)) ** 0.5
    scale = 1 + Z_95**2 / images
    return (centre - half) / scale, (centre + half) / scale


@dataclass
class Findings:
    """What a run directory holds so far; an absent file is an empty value."""

    run: Path
    config: Record = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.json("config.json")
        self.selection, self.trained = self.json("selection.json"), self.json("train.json")
        self.predictor, self.feasible = self.json("predictor.json"), self.json("feasible.json")
        self.measured, self.exported = self.json("measure.json"), self.json("export.json")
        self.trials, self.supernet = self.lines("trials.jsonl"), self.lines("supernet.jsonl")
        self.events = self.lines("events.jsonl")

    def json(self, name: str) -> Record:
        path = self.run / name
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def lines(self, name: str) -> list[Record]:
        return Journal(self.run / name).records

    @property
    def classes(self) -> int:
        return len(self.json("images/splits.json").get("classes", [])) or 2

    @property
    def space(self) -> Space:
        config = self.config
        return build_space(SpaceConfig(config["space"], config["resolution"], self.classes, config["width_mult"]))

    def networks(self) -> list[tuple[str, Record, Record]]:
        """(label, network, what training found) in the order of the tables."""
        return [
            (label, self.selection[label], self.trained.get(label, {})) for label in LABELS if label in self.selection
        ]

    def latency_ms(self, label: str, network: Record) -> float:
        """The exported file's for the winner once there is one; else the network's as selected."""
        if label == "winner" and self.measured:
            return float(self.measured["median_ms"])
        return float(network["measured_ms"])


def summary_rows(found: Findings) -> list[list[str]]:
    """Label, accuracy with its interval, measured and predicted milliseconds, multiply-adds, parameters."""
    rows = []
    for label, network, trained in found.networks():
        accuracy = "not trained yet"
        if trained:
            low, high = wilson_interval(trained["test_accuracy"], trained["test_images"])
            accuracy = f"{100 * trained['test_accuracy']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        predicted = network.get("predicted_ms")
        rows.append(
            [
                LABELS[label],
                accuracy,
                f"{found.latency_ms(label, network):.4g} ms",
                f"{predicted:.4g} ms" if predicted else "-",
                f"{network['macs'] / 1e6:.1f} M",
                f"{network['params'] / 1e6:.2f} M",
            ]
        )
    return rows


SUMMARY_HEADINGS = ["network", "test accuracy (95 % interval)", "measured", "predicted", "multiply-adds", "parameters"]


def render_summary(run: Path) -> Table:
    """The summary for a terminal."""
    table = Table(*SUMMARY_HEADINGS, title=_headline(Findings(run)))
    for row in summary_rows(Findings(run)):
        table.add_row(*row)
    return table


def _headline(found: Findings) -> str:
    config, winner = found.config, found.selection.get("winner")
    if not winner:
        return f"{config.get('data', '?')} on {config.get('on', '?')}: no winner yet"
    text = f"{config['data']} on {config['on']}: {found.latency_ms('winner', winner):.4g} ms"
    if found.feasible:
        text += f" of a budget of {found.feasible['budget_ms']:.4g} ms"
    if "winner" in found.trained:
        text += f", test accuracy {100 * found.trained['winner']['test_accuracy']:.1f} %"
    return text


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]], numbers_from: int = 99) -> str:
    def cells(tag: str, values: Sequence[object]) -> str:
        css = (' class="n"' if i >= numbers_from else "" for i in range(len(values)))
        return "".join(f"<{tag}{c}>{html.escape(str(v))}</{tag}>" for c, v in zip(css, values, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', headings)}</tr></thead><tbody>{body}</tbody></table>"


def _plot(traces: Sequence[Any], x: str, y: str, **layout: Any) -> str:
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="plotly_white",
        height=layout.pop("height", PLOT_HEIGHT_PX),
        margin={"l": 60, "r": 16, "t": 24, "b": 56},
        legend={"orientation": "h", "y": 1.12},
        xaxis_title=x,
        yaxis_title=y,
        **layout,
    )
    return str(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    )


def compact(choices: Sequence[str], decisions: Sequence[str]) -> str:
    """`stage0: k3e6 k5e3 skip | stage1: ...`: the choices of an architecture, a stage after another."""
    stages: dict[str, list[str]] = {}
    for name, choice in zip(decisions, choices, strict=True):
        stages.setdefault(name.partition(".")[0], []).append(choice)
    return " | ".join(f"{stage}: {' '.join(chosen)}" for stage, chosen in stages.items())


def _hover(found: Findings, trials: Sequence[Record]) -> list[str]:
    space = found.space
    names = [d.name for d in space.decisions]
    return [
        "<br>".join(compact(space.to_names(tuple(t["arch"])), names).split(" | "))
        + f"<br>accuracy {t['accuracy']:.4f}, {t['latency_ms']:.4g} ms, {t['macs'] / 1e6:.1f} M MACs, "
        f"{t['params'] / 1e6:.2f} M parameters"
        for t in trials
    ]


def _pareto(found: Findings) -> str:
    if not found.trials:
        return ""
    traces = []
    for strategy in ("random", "evolution"):
        chosen = [t for t in found.trials if t["strategy"] == strategy]
        points = {"x": [t["latency_ms"] for t in chosen], "y": [t["accuracy"] for t in chosen]}
        marker = {"color": COLORS[strategy], "size": 7, "opacity": 0.75}
        hover = {"hovertext": _hover(found, chosen), "hoverinfo": "text"}
        traces.append(go.Scatter(**points, **hover, mode="markers", name=strategy, marker=marker))
    front = sorted(pareto_front(found.trials, accuracy_and_latency), key=lambda t: float(t["latency_ms"]))
    line = {"x": [t["latency_ms"] for t in front], "y": [t["accuracy"] for t in front]}
    traces.append(go.Scatter(**line, mode="lines", name="Pareto front", line={"color": "#111827"}, hoverinfo="skip"))
    shapes = []
    if found.feasible:
        at = found.feasible["budget_ms"]
        shapes = [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": {"dash": "dash"}}]
    text = f"<p class=soft>{len(found.trials)} candidates, each with its layers on hover; dashed: the budget.</p>"
    return text + _plot(traces, "predicted latency, ms", "super-network accuracy, search part", shapes=shapes)


def _baseline_comparison(found: Findings) -> str:
    if not found.trials:
        return ""
    traces = []
    for strategy in ("random", "evolution"):
        best, curve = 0.0, []
        for trial in (t for t in found.trials if t["strategy"] == strategy):
            best = max(best, trial["accuracy"])
            curve.append(best)
        traces.append(
            go.Scatter(y=curve, x=list(range(1, len(curve) + 1)), name=strategy, line={"color": COLORS[strategy]})
        )
    return _plot(traces, "candidates evaluated", "best accuracy so far")


def _layers(found: Findings) -> str:
    if not found.predictor or "winner" not in found.selection:
        return ""
    space, op_ms, scale = found.space, found.predictor["op_ms"], found.predictor["scale"]
    arch = tuple(found.selection["winner"]["arch"])
    labels, times_ms, keys = [], [], []
    for number, (slot, spec) in enumerate(zip(space.slots, space.ops(arch), strict=True)):
        where = space.decisions[slot.decisions[0]].name if slot.decisions else "fixed"
        choice = space.decisions[slot.decisions[0]].choices[arch[slot.decisions[0]]] if slot.decisions else spec.kind
        labels.append(f"{number} {where} {choice}")
        times_ms.append(0.0 if is_free(spec) else scale * op_ms[str(spec)])
        keys.append(str(spec))
    bar = go.Bar(y=labels, x=times_ms, orientation="h", hovertext=keys, marker={"color": COLORS["evolution"]})
    yaxis = {"autorange": "reversed", "automargin": True}
    return _plot([bar], "predicted latency, ms", "", height=80 + 24 * len(labels), yaxis=yaxis)


def _predicted_against_measured(found: Findings) -> str:
    if not found.predictor:
        return ""
    networks, p = found.predictor["networks"], found.predictor
    fitted = {"x": [n["measured_ms"] for n in networks], "y": [n["predicted_ms"] for n in networks]}
    chosen = [n for n in found.selection.values() if isinstance(n, dict) and n.get("predicted_ms")]
    picked = {"x": [n["measured_ms"] for n in chosen], "y": [n["predicted_ms"] for n in chosen]}
    ends = [min(fitted["x"]), max(fitted["x"])]
    traces = [
        go.Scatter(x=ends, y=ends, mode="lines", name="equal", line={"color": "#9ca3af", "dash": "dot"}),
        go.Scatter(
            **fitted, mode="markers", name="calibration networks", marker={"color": COLORS["evolution"], "size": 9}
        ),
        go.Scatter(**picked, mode="markers", name="selected", marker={"color": COLORS["winner"], "size": 10}),
    ]
    text = (
        f"<p class=soft>Calibrated by {p['method']} on {len(networks)} networks. Left out, each is missed by "
        f"{p['mape_pct']:.1f} % on average and {p['max_error_pct']:.1f} % at most; bias {p['bias_pct']:+.1f} %, "
        f"Kendall tau {p['kendall_tau']:.2f}.</p>"
    )
    return text + _plot(traces, "measured latency, ms", "predicted latency, ms")


def _curves(found: Findings) -> str:
    curves = {"super-network": found.supernet}
    for label, _, trained in found.networks():
        if trained:
            curves[LABELS[label]] = found.lines(f"train/{trained['checkpoint']}.jsonl")

    def traces(key: str) -> list[Any]:
        return [
            go.Scatter(x=[r["epoch"] for r in rows], y=[r[key] for r in rows], name=name)
            for name, rows in curves.items()
            if rows and key in rows[0]
        ]

    if not found.supernet:
        return ""
    accuracy = traces("search_accuracy")
    second = _plot(accuracy, "epoch", "accuracy, search part", height=320) if accuracy else ""
    return _plot(traces("loss"), "epoch", "training loss", height=320) + second


def _feasibility(found: Findings) -> str:
    f = found.feasible
    if not f:
        return ""
    row = [f"{f[key]:.4g} ms" for key in ("smallest_ms", "median_ms", "largest_ms", "budget_ms")]
    return _table(["smallest", "median", "largest", "budget", "within"], [[*row, f"{100 * f['share_within']:.3g} %"]])


def _exports(found: Findings) -> str:
    if not found.exported:
        return ""
    headings = ["file", "size", "largest difference", "same top-1", "accuracy", "images checked"]
    rows = [
        [
            f["path"],
            f"{f['size_bytes'] / 1e6:.2f} MB",
            f"{f['max_relative_error']:.1e}",
            f"{100 * f['top1_agreement']:.0f} %",
            f"{100 * f['test_accuracy']:.1f} %",
            f["images"],
        ]
        for f in found.exported["files"].values()
        if "images" in f
    ]
    attempts = found.measured.get("attempts", [])
    note = "".join(
        f"<p>Not taken: {html.escape(a['reason'])} ({html.escape(' '.join(a['choices']))})</p>" for a in attempts
    )
    return _table(headings, rows, numbers_from=1) + note


def _provenance(found: Findings) -> str:
    if not found.events:
        return ""
    rows: list[list[str]] = []
    told = ""
    for event in found.events:
        if event["event"] == "start":
            versions = ", ".join(f"{k} {v}" for k, v in event["versions"].items())
            machine = ", ".join(f"{k} {v}" for k, v in event["machine"].items())
            where = f"{machine}; {versions}"
            rows.append([event["stage"], event["utc"], "unfinished", "as above" if where == told else where])
            told = where
        elif rows:
            rows[-1][2] = f"{event['seconds']:.1f} s"
    identity = found.predictor.get("identity", {})
    table = _table(["stage", "began", "took", "machine and versions"], rows)
    return table + "<h2>Latency table</h2>" + _table(["key", "value"], identity.items()) if identity else table


def _configuration(found: Findings) -> str:
    return _table(["option", "value"], found.config.items()) if found.config else ""


def _summary(found: Findings) -> str:
    return _table(SUMMARY_HEADINGS, summary_rows(found), numbers_from=2) if found.selection else ""


SECTIONS: dict[str, Callable[[Findings], str]] = {
    "Result": _summary,
    "Candidates and Pareto front": _pareto,
    "Evolution against random search": _baseline_comparison,
    "Where the winner spends its time": _layers,
    "Predicted against measured": _predicted_against_measured,
    "Training": _curves,
    "The budget within the space": _feasibility,
    "Exported files": _exports,
    "What ran where": _provenance,
    "Configuration": _configuration,
}


def write_report(run: Path) -> Path:
    """`report.html` in the run directory; a stage that has not run yet leaves a section that says so."""
    found = Findings(run)
    sections = (
        f"<section><h2>{title}</h2>{section(found) or '<p class=soft>not run yet</p>'}</section>"
        for title, section in SECTIONS.items()
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>hwnas report</title>'
        f"<style>{STYLE}</style><script>{plotly.offline.get_plotlyjs()}</script></head><body><main>"
        f'<h1>hwnas report</h1><p class="lead">{html.escape(_headline(found))}</p>{"".join(sections)}'
        "</main></body></html>"
    )
    write_text(run / "report.html", page)
    return run / "report.html"
