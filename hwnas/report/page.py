"""`report.html`: the sections in order, the tables among them, and the page around them."""

import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import plotly.offline

from hwnas.footprint import METRICS
from hwnas.objective import worth
from hwnas.report.findings import (
    Findings,
    in_mb,
    in_millions,
    in_ms,
    in_percent,
    in_time,
    read_findings,
    trained_interval,
)
from hwnas.report.plots import (
    best_so_far,
    by_stage,
    further_goals,
    layers,
    paragraph,
    pareto,
    predicted_against_measured,
    training,
)
from hwnas.report.style import STYLE
from hwnas.report.summary import HEADINGS, headline, rows_of, undecided
from hwnas.report.trust import CHECKS, collapse, drawn_against_own, probabilities, ranks, rows_of_checks
from hwnas.storage import Record, write_text

# The browser itself is told to fetch nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], numbers_from: int = 99) -> str:
    """An HTML table, everything escaped; columns from `numbers_from` on are aligned right."""

    def cell(tag: str, column: int, value: object) -> str:
        css = ' class="n"' if column >= numbers_from else ""
        heading = f' data-heading="{html.escape(headings[column])}"' if tag == "td" else ""
        return f"<{tag}{css}{heading}>{html.escape(str(value))}</{tag}>"

    def line(tag: str, values: Sequence[object]) -> str:
        return f"<tr>{''.join(cell(tag, i, v) for i, v in enumerate(values))}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', headings)}</thead><tbody>{body}</tbody></table>"


def _tiles(found: Findings) -> str:
    winner, trained = found.selection.get("winner"), found.trained.get("winner")
    if not winner:
        return ""
    tiles = []
    if trained:
        low, high = trained_interval(trained)
        note = f"95 % interval {100 * low:.1f} to {100 * high:.1f}"
        tiles.append(("test accuracy", in_percent(trained["test_accuracy"]), note))
    budget = f"budget {in_ms(found.budget_ms)}" if found.budget_ms is not None else ""
    tiles.append(("measured latency", in_ms(found.latency_ms("winner")), budget))
    tiles.append(("multiply-adds", in_millions(winner["macs"], 1), ""))
    tiles.append(("parameters", in_millions(winner["params"], 2), ""))
    sizes = found.measured or winner
    for metric, name in METRICS.items():
        if metric in sizes:
            most_mb = found.config.get(f"max_{metric}")
            tiles.append((name, in_mb(sizes[metric]), f"at most {in_mb(most_mb)}" if most_mb else ""))
    cells = (f"<div><span>{a}</span><b>{html.escape(b)}</b><span>{html.escape(c)}</span></div>" for a, b, c in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _result(found: Findings) -> str:
    if not found.selection:
        return ""
    text = "Measured as they were selected, one after the other."
    if found.measured:
        text = "Measured together, in turn: the exported file of the searched network, built files of the others."
    chosen = [
        (label, " | ".join(by_stage([d.name for d in found.decisions], network["choices"])))
        for label, network in (("searched", found.selection.get("winner")), ("random", found.selection.get("random")))
        if network and len(network["choices"]) == len(found.decisions)
    ]
    layers_table = "<h3>Layers</h3>" + table(["network", "choices by stage"], chosen) if chosen else ""
    return table(HEADINGS, rows_of(found), numbers_from=2) + paragraph(f"{text} {undecided(found)}") + layers_table


def _finalists(found: Findings) -> str:
    """What training said of the best candidates, and where the super-network had them."""
    if not found.finalists:
        return ""
    by_supernet = sorted(found.finalists, key=worth, reverse=True)
    names = [d.name for d in found.decisions]
    keys = [key for key in ("worth", "likelihood", "accuracy") if key in found.finalists[0]["alone"]]

    def row(finalist: Record) -> list[object]:
        known = zip(found.decisions, finalist["arch"], strict=bool(names))
        layers_of = _chosen(names, [decision.choices[chosen] for decision, chosen in known])
        alone, place = finalist["alone"], 1 + by_supernet.index(finalist)
        said = [f"{judged[key]:.4f}" for judged in (finalist, alone) for key in keys]
        by = " and ".join(finalist["strategies"])
        return [by, layers_of, *said[: len(keys)], place, *said[len(keys) :], in_ms(finalist["latency_ms"])]

    text = (
        f"The best candidates, each trained from scratch for {found.finalists[0]['alone']['epochs']} epochs, the best "
        "by that first. In this order they are measured, before the other candidates: the first that keeps the limits "
        "is taken."
    )
    headings = ["found by", "layers", *keys, "place among them", *(f"{key}, trained" for key in keys), "predicted"]
    return "<h3>Finalists</h3>" + paragraph(text) + table(headings, map(row, found.finalists), numbers_from=2)


def _feasibility(found: Findings) -> str:
    f = found.feasible
    if not f:
        return ""
    limits = ", ".join(f"{metric} at most {most:.4g}" for metric, most in f["limits"].items())
    if use := f.get("budget_use"):
        limits += f", at least {in_percent(use)} of the latency"
    text = (
        f"{in_percent(f['share_within'], 2)} of {f['samples']} networks drawn at random keep all limits ({limits}) "
        f"with probability {f['confidence']:g}."
    )
    row = [in_ms(f[f"{name}_ms"]) for name in ("smallest", "median", "largest", "budget")]
    headings = ["smallest", "median", "largest", "budget", "within the budget"]
    return paragraph(text) + table(headings, [[*row, in_percent(f["share_within"], 2)]])


def _exports(found: Findings) -> str:
    if not found.exported:
        return _too_slow(found)
    headings = ["runtime", "file", "size", "largest relative difference", "same top-1", "accuracy", "images checked"]
    rows = [
        [runtime, f["path"], f"{f['size_bytes'] / 1e6:.2f} MB", *_checks(f)]
        for runtime, f in found.exported["files"].items()
    ]
    return table(headings, rows, numbers_from=2) + _verdict(found.measured) + _too_slow(found)


def _checks(file: Record) -> list[str]:
    if "images" not in file:
        return ["not checked", "-", "-", "-"]
    shares = [in_percent(file["top1_agreement"], 0), in_percent(file["test_accuracy"])]
    return [f"{file['max_relative_error']:.1e}", *shares, str(file["images"])]


def _verdict(m: Record) -> str:
    if not m:
        return ""
    spread = f" (10 % of runs under {in_ms(m['p10_ms'])}, 10 % over {in_ms(m['p90_ms'])})" if "p10_ms" in m else ""
    verdict = "accepted" if m["within_budget"] else "too slow"
    budget = f"the budget is {in_ms(m['budget_ms'])}"
    text = f"Run by {m['runtime']}, the file takes {in_ms(m['median_ms'])}{spread}; {budget}: {verdict}."
    if "device_slowdown" in m:
        text += f" A network of the fit, measured beside it, took {m['device_slowdown']:.2f} times as long as then."
    return paragraph(text)


def _too_slow(found: Findings) -> str:
    names = [d.name for d in found.decisions]
    rows = [[a["reason"], in_ms(a["measured_ms"]), _chosen(names, a["choices"])] for a in found.too_slow]
    return "<h3>Not taken</h3>" + table(["reason", "measured", "layers"], rows) if rows else ""


def _chosen(names: Sequence[str], choices: Sequence[str]) -> str:
    return " | ".join(by_stage(names, choices)) if len(names) == len(choices) else " ".join(choices)


def _trust(found: Findings) -> str:
    rows = rows_of_checks(found)
    if not rows:
        return ""
    figures = [drawn_against_own(found), ranks(found), collapse(found), probabilities(found)]
    return table(CHECKS, rows) + "".join(figures)


def _provenance(found: Findings) -> str:
    identity = found.predictor.get("identity", {})
    parts = [_stages(found.events) if found.events else ""]
    if identity or found.plan:
        parts.append(f"<h3>Latency table</h3>{_plan(found.plan)}{table(['key', 'value'], identity.items())}")
    if found.compute:
        parts.append(f"<h3>Compute settings</h3>{_compute(found.compute)}")
    return "".join(parts)


def _stages(events: Sequence[Record]) -> str:
    """When each stage ran and for how long, then the environments, each told once."""
    rows: list[list[str]] = []
    environments: dict[str, str] = {}
    for event in events:
        if event["event"] == "start":
            told = ", ".join(f"{k} {v}" for part in ("machine", "versions") for k, v in event[part].items())
            number = environments.setdefault(told, f"{len(environments) + 1}")
            rows.append([event["stage"], event["utc"], "did not end", number])
        elif rows and rows[-1][0] == event["stage"]:
            rows[-1][2] = in_time(event["seconds"])
    where = table(["environment", "machine and versions"], [(number, told) for told, number in environments.items()])
    return table(["stage", "began", "took", "environment"], rows) + where


def _plan(plan: Record) -> str:
    if not plan:
        return ""
    if not plan["operators"]:
        return paragraph("No table: no operator was measured alone.")
    predicted = f", {plan['predicted']} predicted from another device's table" if plan.get("predicted") else ""
    return paragraph(
        f"{plan['space']} needs {plan['operators']} operators; {plan['measured']} were measured{predicted} at the plan."
    )


def _compute(compute: Record) -> str:
    chosen = {k: v for k, v in compute.items() if k != "timings_ms"}
    text = ", ".join(f"{k} {v}" for k, v in chosen.items())
    rows = [(setting, in_ms(ms)) for setting, ms in compute["timings_ms"].items()]
    return paragraph(f"Training used {text}.") + table(["setting tried", "time of a step"], rows, numbers_from=1)


def _configuration(found: Findings) -> str:
    rows = [(k, "not given" if v is None else v) for k, v in found.config.items()]
    return table(["option", "value"], rows) if rows else ""


SECTIONS: dict[str, Callable[[Findings], str]] = {
    "Result": _result,
    "Candidates and Pareto front": lambda found: pareto(found) + further_goals(found) + _finalists(found),
    "Evolution against random search": best_so_far,
    "Can this search be trusted?": _trust,
    "Where the searched network spends its time": layers,
    "Predicted against measured": predicted_against_measured,
    "Training": training,
    "The budget within the space": _feasibility,
    "Exported files": _exports,
    "What ran where": _provenance,
    "Configuration": _configuration,
}


def document(title: str, main: str) -> str:
    """A whole page around `main`, with the library of the figures: it loads nothing."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><script>{plotly.offline.get_plotlyjs()}</script></head><body><main>"
        f"<h1>{html.escape(title)}</h1>{main}</main></body></html>"
    )


def write_report(run: Path) -> Path:
    """`report.html` in the run directory; a stage that has not run yet leaves a section that says so."""
    found = read_findings(run)
    sections = (
        f"<section><h2>{title}</h2>{section(found) or paragraph('not run yet')}</section>"
        for title, section in SECTIONS.items()
    )
    lead = f'<p class="lead">{html.escape(headline(found))}</p>'
    write_text(run / "report.html", document("hwnas report", f"{lead}{_tiles(found)}{''.join(sections)}"))
    return run / "report.html"
