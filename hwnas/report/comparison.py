"""Two latency tables as one self-contained page."""

import html
from pathlib import Path

import plotly.graph_objects as go

from hwnas.latency.compare import Comparison
from hwnas.report.page import document, table
from hwnas.report.plots import COLORS, paragraph, plot
from hwnas.storage import write_text


def _scatter(found: Comparison, a: str, b: str) -> str:
    """Every common row, time against time, around the line of the median ratio."""
    points = go.Scatter(
        **{"x": [row.a_ms for row in found.rows], "y": [row.b_ms for row in found.rows], "mode": "markers"},
        **{"text": [row.key for row in found.rows], "name": "operators", "marker": {"color": COLORS["evolution"]}},
        hovertemplate="%{text}<br>A %{x:.4g} ms<br>B %{y:.4g} ms<extra></extra>",
    )
    ends = [end(row.a_ms for row in found.rows) for end in (min, max)]
    dotted = {"color": COLORS["fixed"], "dash": "dot"}
    line = go.Scatter(
        **{"x": ends, "y": [found.median_ratio * x for x in ends], "mode": "lines", "line": dotted},
        **{"name": f"B / A = {found.median_ratio:.3g}", "hoverinfo": "skip"},
    )
    logarithmic = {"type": "log"}
    return plot("scatter", [points, line], f"A {a}, ms", f"B {b}, ms", xaxis=logarithmic, yaxis=logarithmic)


def _histogram(found: Comparison) -> str:
    bars = go.Histogram(x=[row.ratio for row in found.rows], nbinsx=60, marker={"color": COLORS["evolution"]})
    return plot("ratios", [bars], "B / A", "operators", height=300)


def write_comparison(found: Comparison, a: str, b: str, path: Path) -> None:
    """The page: identity differences, the two figures, the rows that differ most. `a`, `b`: names of the tables."""
    facts = (
        f"{len(found.rows)} common rows; median of B / A {found.median_ratio:.4g}, standard deviation of its "
        f"logarithm {found.log_ratio_sd:.3g}, Spearman {found.spearman:.4f}, Kendall {found.kendall:.4f}."
    )
    different = [(key, *pair) for key, pair in found.identity.items()]
    rows = [(r.key, f"{r.a_ms:.4g}", f"{r.b_ms:.4g}", f"{r.ratio:.3f}") for r in found.farthest()]
    parts = {
        "Times": paragraph(facts) + _scatter(found, a, b),
        "Ratios": _histogram(found),
        "Rows that differ most": table(["operator", "A, ms", "B, ms", "B / A"], rows, numbers_from=1),
        "What the tables are of": table(["key", "A", "B"], different) if different else paragraph("the same"),
    }
    body = "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in parts.items())
    lead = f'<p class="lead">A: {html.escape(a)}, B: {html.escape(b)}</p>'
    write_text(path, document("hwnas table compare", lead + body))
