"""Points in panels beside each other as an SVG, without a library: what a page of Markdown can show."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwnas.report.plots import COLORS
from hwnas.storage import write_text

SIDE_PX, MARGIN_PX, GAP_PX, TEXT_PX = 260, 56, 30, 12


@dataclass(frozen=True)
class Panel:
    """Accuracies as shares of 1; `marked` are drawn above the others."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    marked: Sequence[tuple[float, float]] = ()


def write_svg(path: Path, panels: Sequence[Panel], x: str, y: str) -> None:
    """All panels have the axis of y in common; x and y are what the axes are of."""
    low, high = _ends([value for panel in panels for value in panel.y])
    width = MARGIN_PX + len(panels) * (SIDE_PX + GAP_PX)
    height = SIDE_PX + 2 * MARGIN_PX
    drawn = [
        _panel(panel, MARGIN_PX + number * (SIDE_PX + GAP_PX), (low, high), x) for number, panel in enumerate(panels)
    ]
    middle = MARGIN_PX + SIDE_PX / 2
    turned = f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{html.escape(y)}</text>'
    write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="{TEXT_PX}"><rect width="100%" height="100%" fill="white"/>'
        f"{turned}{''.join(drawn)}</svg>\n",
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and the highest, a little apart where they are equal."""
    return min(values), max(max(values), min(values) + 1e-6)


def _panel(panel: Panel, left_px: float, y_ends: tuple[float, float], x: str) -> str:
    x_ends, top_px, bottom_px = _ends(panel.x), MARGIN_PX, MARGIN_PX + SIDE_PX

    def place(point: tuple[float, float]) -> tuple[float, float]:
        shares = [(v - low) / (high - low) for v, (low, high) in zip(point, (x_ends, y_ends), strict=True)]
        return left_px + shares[0] * SIDE_PX, bottom_px - shares[1] * SIDE_PX

    points = [_circle(*place(point), 1.8, COLORS["random"]) for point in zip(panel.x, panel.y, strict=True)]
    points += [_circle(*place(point), 5, COLORS["budget"]) for point in panel.marked]
    ends = [
        _text(f"{100 * value:.0f}", at, bottom_px + 16, anchor)
        for value, at, anchor in zip(x_ends, (left_px, left_px + SIDE_PX), ("start", "end"), strict=True)
    ]
    sides = [
        _text(f"{100 * value:.0f}", left_px - 4, at, "end")
        for value, at in zip(y_ends, (bottom_px, top_px + TEXT_PX), strict=True)
    ]
    frame = f'<rect x="{left_px}" y="{top_px}" width="{SIDE_PX}" height="{SIDE_PX}" fill="none" stroke="#cbd5e1"/>'
    middle_px = left_px + SIDE_PX / 2
    named = _text(panel.title, middle_px, top_px - 10, "middle") + _text(x, middle_px, bottom_px + 34, "middle")
    return frame + "".join(points) + "".join(ends + sides) + named


def _circle(x_px: float, y_px: float, radius_px: float, color: str) -> str:
    return f'<circle cx="{x_px:.1f}" cy="{y_px:.1f}" r="{radius_px}" fill="{color}" fill-opacity="0.7"/>'


def _text(text: str, x_px: float, y_px: float, anchor: str) -> str:
    return f'<text x="{x_px}" y="{y_px}" text-anchor="{anchor}">{html.escape(text)}</text>'
