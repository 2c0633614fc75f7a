"""The run directory as one self-contained page, and as a short table for the terminal."""

from hwnas.objective import wilson_interval
from hwnas.report.findings import Findings, read_findings
from hwnas.report.page import SECTIONS, write_report
from hwnas.report.summary import headline, render_summary, summary_rows

__all__ = [
    "SECTIONS",
    "Findings",
    "headline",
    "read_findings",
    "render_summary",
    "summary_rows",
    "wilson_interval",
    "write_report",
]
