"""Can this search be trusted? What `trust.json` holds, in plain words and as figures."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hwnas.objective import worth
from hwnas.report.findings import Findings, in_percent
from hwnas.report.plots import COLORS, as_html, paragraph, plot
from hwnas.search.collapse import Concentration, choice_shares, concentration
from hwnas.storage import Record

PANELS = 4  # beside each other
CHOICE_PX, GAP_PX, TOP_PX = 14, 48, 60  # of a panel: a choice, what is between two, what is above the first
CHECKS = ["question", "verdict", "found", "what is good and what is bad"]
EXPLAINED = {
    "learnt": (
        "Has the super-network learnt anything?",
        "Of what there is to know of the classes, what its best candidate does. Bad: below 8 %, it ranks by chance; "
        "good: from 20 % on. Train it for more steps.",
    ),
    "baseline": (
        "Is it better than luck?",
        "Good: the best candidate is above the interval of what the best of as many random networks is expected to be. "
        "Within it, random search would have done as well.",
    ),
    "trained": (
        "Does that last after training?",
        "Good: the whole interval of the difference is above 0. With 0 in it, the test images cannot tell which of the "
        "two networks is better.",
    ),
    "ranking": (
        "Does the super-network rank as training does?",
        "Kendall's tau: 1 for the same order, 0 for none. Good: 0.5 or more, the interval above 0. Bad: nothing of the "
        "interval above 0, or 0 in that of twelve networks or more whose trainings agree. Five are nearly always "
        "unclear: good only in exactly the same order, and of super-networks that rank by chance 7 of 100 are bad.",
    ),
    "collapse": (
        "Did it collapse?",
        "Bad: skips, or one operator, chosen nearly everywhere, or certainty before half of the training. Then the "
        "search chose by something other than accuracy.",
    ),
    "gap": (
        "Is what was derived what was trained?",
        "The mixture of all choices, by their probabilities, against the one path derived from them. Bad: the path "
        "loses more than 5 points. Below 0 the path is better than the mixture, as where only paths were trained.",
    ),
}
NOTHING = {  # why something is not measured, and what measures it
    "baseline": "the method is random search itself: nothing is compared",
    "trained": "no networks are trained yet: `hwnas train --out RUN`, then `hwnas trust --out RUN`",
    "ranking": "`hwnas trust --out RUN --rank-networks 12 --rank-epochs 20` trains twelve networks for it",
    "collapse": "no candidates but random ones",
    "gap": "the method trains paths, no probabilities: there is no mixture",
}


def rows_of_checks(found: Findings) -> list[list[str]]:
    """A row for each check; empty before `hwnas trust`."""
    rows = []
    for name, record in found.trust.items():
        question, meaning = EXPLAINED[name]
        is_there = record["verdict"] != "not measured"
        told = TOLD[name](record) if is_there else record.get("why", NOTHING[name])
        rows.append([question, record["verdict"], told, meaning])
    return rows


def _learnt(record: Record) -> str:
    return (
        f"Its best candidate has a likelihood of {record['best']:.4f}; the same for every class would be "
        f"{record['guessing']:.4f}. That is {in_percent(record['share'], 0)} of what there is to know."
    )


def _baseline(record: Record) -> str:
    own, drawn, expected = record["method"], record["random"], record["expected_best"]
    return (
        f"Best of {own['count']} candidates {own['best']:.4f}; the best of {expected['of']} random ones is expected at "
        f"{expected['mean']:.4f} ({expected['low']:.4f} to {expected['high']:.4f}), their mean is {drawn['mean']:.4f}. "
        f"It is above {in_percent(own['above_share'], 0)} of {drawn['count']} random networks, the best of which has "
        f"{drawn['best']:.4f}. By what ranks candidates: the super-network's likelihood, or the objective."
    )


def _trained(record: Record) -> str:
    if record["same_network"]:
        return "The searched network and the best of random search are the same."
    return (
        f"Searched {in_percent(record['winner'])}, best of random search {in_percent(record['random'])}: "
        f"{100 * record['difference']:+.1f} points ({100 * record['low']:+.1f} to {100 * record['high']:+.1f}) on "
        f"{record['images']} test images."
    )


def _ranking(record: Record) -> str:
    told = (
        f"Kendall's tau {record['tau']:.2f} ({record['low']:.2f} to {record['high']:.2f}) on "
        f"{len(record['networks'])} networks from across the space, each trained from scratch for {record['epochs']} "
        "epochs."
    )
    if "agreement" not in record:
        return told
    count = len(record["networks"][0]["test_accuracies"])
    return (
        f"{told} Each was trained {count} times, and two trainings agree with a tau of {record['agreement']:.2f}: luck "
        "of a training is what they disagree in, and no super-network foresees it."
    )


def _collapse(record: Record) -> str:
    last, drawn = record["history"][-1], record["random_draws"]
    return (
        f"Skips end at {in_percent(last['skip_share'])} of where they are offered; random networks within the limits "
        f"have {in_percent(drawn['skip_share'])}. Entropy {last['entropy']:.2f} of 1. Most frequent: "
        f"{last['dominant'] or 'no name in common'}, {in_percent(last['dominant_share'])}. {' '.join(record['alarms'])}"
    ).strip()


def _gap(record: Record) -> str:
    return (
        f"Mixture {record['mixture']:.4f}, derived path {record['derived']:.4f}, batch norm recalibrated for each: "
        f"gap {100 * record['gap']:+.1f} points."
    )


TOLD = {
    "learnt": _learnt,
    "baseline": _baseline,
    "trained": _trained,
    "ranking": _ranking,
    "collapse": _collapse,
    "gap": _gap,
}


def drawn_against_own(found: Findings) -> str:
    """How what ranks candidates is distributed, of the random ones and of the method's own, and the interval."""
    record = found.trust["baseline"]
    if "method" not in record:
        return ""
    groups = {name: [worth(t) for t in found.trials if t["strategy"] == name] for name in COLORS}
    boxes: list[Any] = [
        go.Box(x=values, name=name, boxpoints="all", jitter=0.5, pointpos=0, marker={"color": COLORS[name]})
        for name, values in groups.items()
        if values
    ]
    expected = record["expected_best"]
    band = {"type": "rect", "x0": expected["low"], "x1": expected["high"], "y0": 0, "y1": 1, "yref": "paper"}
    shaded = {**band, "fillcolor": COLORS["front"], "opacity": 0.25, "line": {"width": 0}}
    text = f"Shaded: where the best of {expected['of']} random networks is expected, with 95 %."
    return paragraph(text) + plot(
        "luck", boxes, f"{found.ranked_by} (search part)", "", height=260, shapes=[shaded], showlegend=False
    )


def ranks(found: Findings) -> str:
    """The super-network's likelihood against standalone accuracy; empty where no networks were trained for it."""
    record = found.trust["ranking"]
    if "networks" not in record:
        return ""
    networks = record["networks"]
    points = go.Scatter(
        **{"x": [n["supernet_likelihood"] for n in networks], "y": [n["test_accuracy"] for n in networks]},
        **{"mode": "markers", "marker": {"size": 9, "color": COLORS["evolution"]}},
        hovertemplate="super-network %{x:.4f}<br>trained from scratch %{y:.4f}<extra></extra>",
    )
    y = f"test accuracy after {record['epochs']} epochs from scratch"
    return plot("ranks", [points], "super-network likelihood (search part)", y, height=360)


def collapse(found: Findings) -> str:
    """Skips, entropy and the most frequent choice over time; empty where nothing narrows."""
    record = found.trust["collapse"]
    if "history" not in record:
        return ""
    history = [Concentration(**moment) for moment in record["history"]]
    curves = {
        "share of skips, where there is one": [h.skip_share for h in history],
        "entropy, 1 where all choices are equally likely": [h.entropy for h in history],
        "share of the most frequent choice": [h.dominant_share for h in history],
    }
    at, names = list(range(1, len(history) + 1)), [h.dominant for h in history]
    traces = [go.Scatter(x=at, y=y, name=name, mode="lines+markers", text=names) for name, y in curves.items()]
    return plot("collapse", traces, record["over"], "mean over the decisions", height=360)


def probabilities(found: Findings) -> str:
    """The architecture parameters over time: the mean of each choice, then every decision; empty where none are."""
    epochs = [record for record in found.supernet if "probabilities" in record]
    space = found.space
    if not epochs or space is None:
        return ""
    at, shares = [r["epoch"] for r in epochs], [choice_shares(space, r["probabilities"]) for r in epochs]
    curves = {name: [s[name] for s in shares] for name in shares[0]}
    if found.budget_ms is not None:
        curves["expected latency / budget"] = [record["expected_ms"] / found.budget_ms for record in epochs]
    traces = [go.Scatter(x=at, y=y, name=name, mode="lines+markers") for name, y in curves.items()]
    skips = concentration(space, epochs[-1]["probabilities"]).skip_share
    text = f"Architecture parameters, trained on the search part: skips end at {in_percent(skips)} on average."
    over_time = plot("probabilities", traces, "epoch", "mean probability over the decisions", height=400)
    return paragraph(text) + over_time + _every_decision(found, at, [r["probabilities"] for r in epochs])


def _every_decision(found: Findings, epochs: Sequence[int], tables: Sequence[Sequence[Sequence[float]]]) -> str:
    """A panel for each decision: the probability of every choice (up) over the epochs (across)."""
    decisions = found.decisions
    rows, most = -(-len(decisions) // PANELS), max(len(d.choices) for d in decisions)
    height = TOP_PX + rows * (GAP_PX + CHOICE_PX * most)
    figure = make_subplots(
        **{"rows": rows, "cols": PANELS, "subplot_titles": [html.escape(d.name) for d in decisions]},
        **{"vertical_spacing": GAP_PX / height},
    )
    for number, decision in enumerate(decisions):
        over_time = [[table[number][choice] for table in tables] for choice in range(len(decision.choices))]
        panel = go.Heatmap(x=list(epochs), y=list(decision.choices), z=over_time, coloraxis="coloraxis")
        row, column = divmod(number, PANELS)
        figure.add_trace(panel, row=row + 1, col=column + 1)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 9}, dtick=1)
    figure.update_annotations(font={"size": 11})
    scale = {"cmin": 0, "cmax": 1, "colorscale": "Blues", "colorbar": {"title": "probability"}}
    text = "Every decision: the probability of each of its choices over the epochs, left to right."
    return paragraph(text) + as_html("decisions", figure, height=height, top=TOP_PX // 2, coloraxis=scale)
