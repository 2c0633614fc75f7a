"""report: everything in the run directory as one page, and a short table."""

from rich.console import Console

from hwnas.report import render_summary, write_report
from hwnas.stages.run import Run, say


def run_stage(run: Run) -> None:
    """Writes `report.html`; prints the summary."""
    path = write_report(run.path)
    Console().print(render_summary(run.path))
    say(f"report: {path}")
