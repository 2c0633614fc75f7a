"""The figures of the page: each a function from findings to HTML, empty where its stage has not run."""

import html
import math
from collections.abc import Callable, Sequence
from itertools import accumulate, cycle
from typing import Any

import plotly.graph_objects as go

from hwnas.latency import TablePredictor
from hwnas.latency.fitting import METHOD_ALONE, base_of, from_record
from hwnas.objective import goals, pareto_front, quality, worth
from hwnas.report.findings import LABELS, Findings, in_millions, in_ms, in_percent
from hwnas.search import landing_told
from hwnas.spaces import PUBLISHED, Arch, Decision, build_space, config_of
from hwnas.spaces.space import Step
from hwnas.storage import Record

PALETTE = (  # of published networks, in their order
    *("#10b981", "#0891b2", "#84cc16", "#f472b6", "#be185d"),
    *("#d97706", "#365314", "#475569", "#1e293b"),
)
STRATEGIES = ("random", "evolution", "sampled")
COLORS = {
    **{
        "evolution": "#3b82f6",
        "sampled": "#3b82f6",
        "random": "#94a3b8",
        "front": "#f59e0b",
        "fixed": "#94a3b8",
        "budget": "#ef4444",
    },
    **{LABELS["winner"]: "#ef4444", LABELS["random"]: "#8b5cf6"},
    **{LABELS[name]: color for name, color in zip(PUBLISHED, cycle(PALETTE), strict=False)},
}
HEIGHT_PX, BAR_PX = 430, 24
CLEAR = "rgba(0,0,0,0)"
PLOT_CONFIG = {"responsive": True, "displayModeBar": False}  # on a phone its buttons would lie on the labels


def paragraph(text: str) -> str:
    """The text as a line of small print; empty for an empty one."""
    return f'<p class="soft">{html.escape(text)}</p>' if text else ""


def plot(name: str, traces: Sequence[Any], x: str, y: str, **layout: Any) -> str:
    """A figure as HTML without the library. `name` becomes its id in the page."""
    figure = go.Figure(list(traces))
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return as_html(name, figure, **layout)


def as_html(name: str, figure: Any, **layout: Any) -> str:
    """A figure of any number of panels in the style of the page."""
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        height=layout.pop("height", HEIGHT_PX),
        margin={"l": 8, "r": 16, "t": layout.pop("top", 16), "b": 8},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "bgcolor": CLEAR},
        hoverlabel={"align": "left"},
        **layout,
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=PLOT_CONFIG, div_id=name))


def by_stage(names: Sequence[str], choices: Sequence[str]) -> list[str]:
    """`["stage0: k3e6 k5e3 skip", ...]`: the choices at decisions called `stage0.layer0` and so on, a line a stage."""
    stages: dict[str, list[str]] = {}
    for name, choice in zip(names, choices, strict=True):
        stages.setdefault(name.partition(".")[0], []).append(choice)
    return [f"{stage}: {' '.join(chosen)}" for stage, chosen in stages.items()]


def _hover(decisions: Sequence[Decision], trial: Record) -> str:
    names = [d.name for d in decisions]
    chosen = [d.choices[c] for d, c in zip(decisions, trial["arch"], strict=True)] if decisions else []
    lines = by_stage(names, chosen) or [f"arch: {' '.join(map(str, trial['arch']))}"]
    return "<br>".join(
        [
            *map(html.escape, lines),
            f"likelihood {quality(trial):.4f}, accuracy {trial['accuracy']:.4f}, {in_ms(trial['latency_ms'])}",
            f"{in_millions(trial['macs'], 1)} multiply-adds, {in_millions(trial['params'], 2)} parameters",
        ]
    )


def pareto(found: Findings) -> str:
    """Every candidate with its layers on hover, the front, and where the budget is."""
    if not found.trials:
        return ""
    traces = [_candidates(found, strategy) for strategy in STRATEGIES]
    front = sorted(pareto_front(found.trials, _quality_against("latency_ms")), key=lambda t: float(t["latency_ms"]))
    line = {"shape": "hv", "color": COLORS["front"], "width": 2}
    traces.append(_points(front, mode="lines", name="Pareto front", line=line, hoverinfo="skip"))
    traces += [_pick(found, label) for label in ("winner", "random") if label in found.selection]
    shapes, annotations = _landmarks(found, [float(t["latency_ms"]) for t in found.trials])
    y = "super-network likelihood (search part)"
    figure = plot("pareto", traces, "predicted latency, ms", y, shapes=shapes, annotations=annotations, top=56)
    note = (
        "super-network candidates; point at one to see its layers. Latency is predicted. The likelihood is that of the "
        "labels by the shared weights, the geometric mean over the images. Candidates are ranked by their "
    )
    told = f"{len(found.trials)} {note}{found.ranked_by}.{_ties(found)}"
    return paragraph(told) + figure + paragraph(_landing(found))


def _ties(found: Findings) -> str:
    """Which likelihoods are as good as the highest; empty where it stands alone."""
    equal = [trial for trial in found.trials if quality(trial) >= found.ties.get("least", math.inf)]
    if len({tuple(trial["arch"]) for trial in equal}) < 2:
        return ""
    return (
        f" From {found.ties['least']:.4f} on the super-network cannot tell them apart: of these the one of most "
        "multiply-adds goes first."
    )


def _landing(found: Findings) -> str:
    """How much of the budget is used; empty before it is known."""
    if found.budget_ms is None or "latency_upper_ms" not in found.trials[0]:
        return ""
    winner = found.selection.get("winner", {}).get("arch")
    best = [*found.finalists, *found.ties.get("all", []), max(found.trials, key=goals(found.aims))][0]
    delivered = next((trial for trial in found.trials if trial["arch"] == winner), best)
    return landing_told(found.trials, delivered, found.budget_ms, found.finalists, found.ties.get("least", math.inf))


def _quality_against(metric: str) -> Callable[[Record], tuple[float, ...]]:
    """What a front of two goals is of: likely, and little of a metric."""
    return lambda trial: (quality(trial), -trial[metric])


def further_goals(found: Findings) -> str:
    """The same for every other metric that the run's objective names: candidates, and the front of these two goals."""
    return "".join(_goal(found, m) for m in found.aims if m != "latency_ms" and found.trials and m in found.trials[0])


def _goal(found: Findings, metric: str) -> str:
    groups = {name: [t for t in found.trials if t["strategy"] == name] for name in STRATEGIES}
    best = max(found.trials, key=worth)
    marker = {"color": COLORS[LABELS["winner"]], "size": 15, "symbol": "star"}
    front = sorted(pareto_front(found.trials, _quality_against(metric)), key=lambda t: float(t[metric]))
    line = {"shape": "hv", "color": COLORS["front"], "width": 2}
    traces = [
        _of(metric, trials, mode="markers", name=name, marker={"color": COLORS[name], "size": 8, "opacity": 0.7})
        for name, trials in groups.items()
    ]
    traces.append(_of(metric, front, mode="lines", name="Pareto front", line=line, hoverinfo="skip"))
    traces.append(_of(metric, [best], mode="markers", name="worth most", marker=marker))
    text = f"The objective is {found.ranked_by}: what is worth most is delivered, if it keeps all limits when measured."
    y = "super-network likelihood (search part)"
    return paragraph(text) + plot(f"goal-{metric}", traces, metric.replace("_", " "), y)


def _of(metric: str, trials: Sequence[Record], **style: Any) -> Any:
    return go.Scatter(x=[t[metric] for t in trials], y=[quality(t) for t in trials], **style)


def _points(trials: Sequence[Record], **style: Any) -> Any:
    return _of("latency_ms", trials, **style)


def _candidates(found: Findings, strategy: str) -> Any:
    chosen = [t for t in found.trials if t["strategy"] == strategy]
    decisions = found.decisions
    texts = [_hover(decisions, t) for t in chosen]
    marker = {"color": COLORS[strategy], "size": 8, "opacity": 0.7}
    return _points(chosen, mode="markers", name=strategy, marker=marker, hovertext=texts, hoverinfo="text")


def _pick(found: Findings, label: str) -> Any:
    network = found.selection[label]
    trial = {"latency_ms": network["predicted_ms"], "likelihood": network["supernet_likelihood"]}
    symbol, size = ("star", 15) if label == "winner" else ("diamond-open", 12)
    marker = {"color": COLORS[LABELS[label]], "size": size, "symbol": symbol, "line": {"width": 2}}
    return _points([trial], mode="markers", name=LABELS[label], marker=marker, hoverinfo="skip")


def _landmarks(found: Findings, latencies_ms: Sequence[float]) -> tuple[list[Record], list[Record]]:
    """Lines and labels of budget, smallest and median network; one out of sight is named at the edge instead."""
    if not found.feasible:
        return [], []
    budget_ms = float(found.feasible["budget_ms"])
    low_ms, high_ms = min(*latencies_ms, budget_ms), max(*latencies_ms, budget_ms)
    shapes, annotations = [_vertical(budget_ms, "dash")], [_label(budget_ms, f"budget {in_ms(budget_ms)}", 4)]
    for name in ("smallest", "median"):
        at_ms = float(found.feasible[f"{name}_ms"])
        text = f"{name} {in_ms(at_ms)}"
        if low_ms <= at_ms <= high_ms:
            shapes.append(_vertical(at_ms, "dot"))
            annotations.append(_label(at_ms, text, 24))
        elif at_ms < low_ms:
            annotations.append({**_label(0, f"← {text}", 24), "xref": "paper", "xanchor": "left"})
        else:
            annotations.append({**_label(1, f"{text} →", 24), "xref": "paper", "xanchor": "right"})
    return shapes, annotations


def _vertical(at_ms: float, dash: str) -> Record:
    line = {"dash": dash, "color": COLORS["budget" if dash == "dash" else "fixed"]}
    return {"type": "line", "x0": at_ms, "x1": at_ms, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _label(x: float, text: str, up_px: int) -> Record:
    return {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": up_px, "text": text, "showarrow": False}


def best_so_far(found: Findings) -> str:
    """The best candidate's likelihood, or worth, after each evaluation, of both strategies."""
    if not found.trials:
        return ""
    traces, told = [], []
    for strategy in STRATEGIES:
        curve = list(accumulate((worth(t) for t in found.trials if t["strategy"] == strategy), max))
        if not curve:
            continue
        told.append(f"{strategy} {curve[-1]:.4f} after {len(curve)}")
        line = {"color": COLORS[strategy], "shape": "hv", "width": 2.5}
        traces.append(go.Scatter(x=list(range(1, len(curve) + 1)), y=curve, name=strategy, line=line))
    text = f"Best {found.ranked_by} within the budget: {', '.join(told)} evaluations."
    return paragraph(text) + plot("best", traces, "candidates evaluated", f"best {found.ranked_by}", height=360)


def layers(found: Findings) -> str:
    """The winner's predicted latency, operator by operator."""
    winner = found.selection.get("winner")
    if not found.predictor or not winner:
        return ""
    space, arch = build_space(config_of(winner, found.folder)), tuple(winner["arch"])
    predictor = from_record(space, found.predictor)
    base = base_of(predictor)
    if base is None:
        return paragraph(f"Predicted from {METHOD_ALONE}: no operator's own time is known.")
    correction = predictor.arch_ms(arch) / base.arch_ms(arch)
    bars = [_bar(base, correction, step, arch) for step in space.steps(arch)]
    if base.constant_ms:
        bars.append(("outside the layers", correction * base.constant_ms, "constant of the calibration", "fixed"))
    names, times_ms, keys, colors = zip(*bars, strict=True)
    total_ms = sum(times_ms)
    texts = [_share(ms, key, total_ms) for ms, key in zip(times_ms, keys, strict=True)]
    bar = go.Bar(
        **{"x": times_ms, "y": [f"{i} {name}" for i, name in enumerate(names)], "orientation": "h"},
        **{"text": texts, "textposition": "outside", "cliponaxis": False, "hovertext": keys, "hoverinfo": "text+x"},
        marker={"color": [COLORS[c] for c in colors]},
    )
    text = f"Table times, calibrated; {in_ms(total_ms)} together. Grey parts are the same in every network."
    height = 70 + BAR_PX * len(bars)
    figure = plot("layers", [bar], "predicted latency, ms", "", height=height, yaxis={"autorange": "reversed"})
    return paragraph(text) + figure


def _bar(predictor: TablePredictor, correction: float, step: Step, arch: Arch) -> tuple[str, float, str, str]:
    """(name, milliseconds, row key, colour) of an operator."""
    space, spec = predictor.space, step.spec
    slot = space.slots[step.slot]
    decided = [space.decisions[d].name for d in slot.decisions]
    chosen = [space.decisions[d].choices[arch[d]] for d in slot.decisions]
    name = " ".join([*decided, *chosen]) or f"fixed {spec.kind}"
    return name, correction * predictor.op_latency_ms(spec), str(spec), "evolution" if decided else "fixed"


def _share(ms: float, key: str, total_ms: float) -> str:
    return f"{in_ms(ms)}, {in_percent(ms / total_ms, 0)}" if ms else "nothing runs"


def predicted_against_measured(found: Findings) -> str:
    """Calibration and selected networks around the diagonal, and what the calibration misses."""
    p = found.predictor
    if not p:
        return ""
    chosen = {LABELS[x]: [n] for x, n, _ in found.networks if n["predicted_ms"] is not None}
    slow = found.selection.get("attempts", [])
    groups = {
        "calibration networks": p["networks"],
        **chosen,
        **({"over the budget when measured": slow} if slow else {}),
    }
    ends = [f(n[key] for n in p["networks"] for key in ("measured_ms", "predicted_ms")) for f in (min, max)]
    dotted = {"color": COLORS["fixed"], "dash": "dot"}
    traces = [go.Scatter(x=ends, y=ends, mode="lines", name="equal", line=dotted, hoverinfo="skip")]
    traces += [_measured(name, networks) for name, networks in groups.items()]
    text = (
        f"Calibrated by {p['method']} on {len(p['networks'])} whole networks. Left out, each is missed by "
        f"{p['mape_pct']:.1f} % on average and {p['max_error_pct']:.1f} % at most; bias {p['bias_pct']:+.1f} %, "
        f"Kendall tau {p['kendall_tau']:.2f}. {p.get('steadiness', '')}"
    )
    if aside := p.get("set_aside"):
        first = f"{aside[0]['network']}: {aside[0]['reason']}"
        text += f" {len(aside)} more could not be measured, and others took their place; first {first}."
    return paragraph(text) + plot("predicted", traces, "measured latency, ms", "predicted latency, ms")


def _measured(name: str, networks: Sequence[Record]) -> Any:
    x, y = [n["measured_ms"] for n in networks], [n["predicted_ms"] for n in networks]
    symbol = {LABELS["winner"]: "star", LABELS["random"]: "diamond-open"}.get(name, "circle")
    marker = {"color": COLORS.get(name, COLORS["evolution"]), "size": 15 if symbol == "star" else 9, "symbol": symbol}
    template = "measured %{x:.4g} ms<br>predicted %{y:.4g} ms"
    return go.Scatter(x=x, y=y, mode="markers", name=name, marker=marker, hovertemplate=template)


def training(found: Findings) -> str:
    """Loss and search-part accuracy by epoch, of the super-network and of every network trained."""
    curves = {"super-network": found.supernet, **{_curve_name(found, k): rows for k, rows in found.curves.items()}}
    figures = [
        _epochs(key, title, {name: rows for name, rows in curves.items() if rows and key in rows[0]})
        for key, title in (("loss", "training loss"), ("search_accuracy", "accuracy (search part)"))
    ]
    return f'<div class="pair">{"".join(figures)}</div>' if any(figures) else ""


def _curve_name(found: Findings, journal: str) -> str:
    """Whose training a journal tells of; its own name where nobody's yet."""
    owners = [LABELS[x] for x, _, trained in found.networks if trained and trained.get("checkpoint", x) == journal]
    return html.escape(" = ".join(owners) or LABELS.get(journal, journal))


def _epochs(key: str, title: str, curves: dict[str, list[Record]]) -> str:
    traces = [
        go.Scatter(
            **{"x": [r["epoch"] for r in rows], "y": [r[key] for r in rows], "name": name, "mode": "lines+markers"},
            **{"line": {"color": COLORS.get(name.partition(" = ")[0], COLORS["evolution"])}, "marker": {"size": 4}},
        )
        for name, rows in curves.items()
    ]
    return plot(key, traces, "epoch", title, height=360) if traces else ""
