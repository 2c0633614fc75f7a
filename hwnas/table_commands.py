"""`hwnas table`: look at latency tables, check, compare, merge, import and transfer them, and measure some rows.

No run is needed, and but for measuring no profile.
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hwnas.errors import UserError
from hwnas.resources import find
from hwnas.storage import write_text

if TYPE_CHECKING:  # at run time only in the commands: --help must not wait for what they need
    from hwnas.latency.compare import Comparison
    from hwnas.latency.table import LatencyTable
    from hwnas.spaces import Space

SLOWEST = 10
DRIFT_PCT = 5.0  # from which on a sentinel counts as off: a table does not tell its profile's
KINDS_OF_ROWS = {"op": "operators", "network": "networks"}
WIDTH = 160  # of output that is not a terminal: keys and sources stay on one line
table_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Look at and work with tables.")


def _no_folder(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """A file's path as it came; UserError where a folder is there."""
    if path is not None and path.is_dir():
        raise UserError(f"{parameter.opts[0]} {path} is a folder; give a file in it, such as {path / 'FILE'}")
    return path


TableArgument = Annotated[str, typer.Argument(help="A name in latency_tables/, or a path.")]
NewTable = Annotated[Path, typer.Option(help="The table to write; it must not exist yet.", callback=_no_folder)]
SpaceName = Annotated[str, typer.Option(help="Search space; `hwnas spaces` lists them.")]
NumClasses = Annotated[int, typer.Option(help="Classes of the last layer.")]
WidthMult = Annotated[float, typer.Option(help="Multiplies all channel numbers.")]


def open_table(name: str) -> "LatencyTable":
    """A table by its name or path, of whatever identity."""
    from hwnas.latency.table import LatencyTable

    return LatencyTable.read(find("latency_tables", name, ".jsonl"))


def _print(*grids: Table) -> None:
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    for grid in grids:
        console.print(grid)


def _grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for the terminal; the first column is never cut."""
    grid = Table()
    for number, heading in enumerate(headings):
        grid.add_column(heading, no_wrap=number == 0, overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _spread_pct(table: "LatencyTable", key: str) -> float | None:
    """Standard deviation in percent of the mean where a source tells it; else half of p90 - p10 of the raw times."""
    summary, measured = table.summaries.get(key), table[key]
    if summary is not None:
        return 100 * summary["std_ms"] / summary["mean_ms"] if "std_ms" in summary and summary["mean_ms"] else None
    if len(measured.times_ms) < 2 or not measured.median_ms:
        return None
    return 50 * (measured.quantile_ms(0.9) - measured.quantile_ms(0.1)) / measured.median_ms


def _count(table: "LatencyTable", key: str) -> int:
    """How many values the latency of a row comes from."""
    return int(table.summaries.get(key, {}).get("count", len(table[key].times_ms)))


def _steadiness(table: "LatencyTable") -> str:
    """How quiet the device was; nothing of a table that does not tell, as imported ones."""
    told = table.sentinels or any(len(table.rounds(key)) > 1 for key in table)
    return str(table.steadiness(table, DRIFT_PCT)) if told else "not told"


def _facts(table: "LatencyTable") -> list[tuple[str, str]]:
    predicted = [key for key in table if table.is_predicted(key)]
    rounds = [len(table.rounds(key)) for key in (*table, *table.errors) if not table.is_predicted(key)]
    spreads = [pct for key in table if (pct := _spread_pct(table, key)) is not None]
    typical = f"median {statistics.median(spreads):.2g} %, largest {max(spreads):.2g} %" if spreads else "not told"
    return [
        ("rows", str(len(table))),
        *([("predicted, not measured", str(len(predicted)))] if predicted else []),
        ("rounds of a row", f"{min(rounds)} to {max(rounds)}" if rounds else "none"),
        ("spread of a row", typical),
        ("steadiness", _steadiness(table)),
        ("failed rows", str(len(table.errors))),
    ]


@table_app.command()
def show(table: TableArgument) -> None:
    """What a table is of, what it holds, and its slowest operators."""
    found = open_table(table)
    _print(_grid(("identity", ""), found.identity.items()), _grid(("content", ""), _facts(found)))
    if found.errors:
        _print(_grid(("failed", "why"), found.errors.items()))
    slowest = sorted(found, key=lambda key: -found[key].median_ms)[:SLOWEST]
    rows = [(key, f"{found[key].median_ms:.4g}", str(_count(found, key))) for key in slowest]
    _print(_grid((f"slowest {KINDS_OF_ROWS[found.row]}", "ms", "times"), rows))


def _resolution(told: str, space: str) -> int:
    """That of a table; where it does not tell, that at which the space is listed."""
    from hwnas.spaces import DEFAULT_RESOLUTION, IMAGENET_RESOLUTION

    return int(told) if told.isdecimal() else DEFAULT_RESOLUTION.get(space, IMAGENET_RESOLUTION)


@table_app.command()
def check(
    table: TableArgument,
    space: SpaceName,
    resolution: Annotated[int | None, typer.Option(help="Input pixels; otherwise the table's own.")] = None,
    num_classes: NumClasses = 1000,
    width_mult: WidthMult = 1.0,
) -> None:
    """Whether a table has every operator of a space; exit status 1 where any is missing."""
    from hwnas.latency.profiler import rows_to_measure
    from hwnas.spaces import SpaceConfig, build_space

    found = open_table(table)
    side = _resolution(found.identity.get("resolution", ""), space) if resolution is None else resolution
    needed = rows_to_measure(build_space(SpaceConfig(space, side, num_classes, width_mult)))
    missing = [key for key in needed if key not in found]
    predicted = sum(map(found.is_predicted, needed))
    there = f"{len(needed) - len(missing)} there" + (f" ({predicted} of them predicted)" if predicted else "")
    told = f"{len(needed)} operators are needed, {there}, {len(missing)} missing"
    typer.echo(f"{space} at {side} pixels, {num_classes} classes, width {width_mult:g}: {told}")
    for key in missing:
        typer.echo(f"missing {key}" + (f": failed, {found.errors[key]}" if key in found.errors else ""))
    if missing:
        raise typer.Exit(1)


def _comparison_facts(found: "Comparison") -> list[tuple[str, str]]:
    return [
        ("common rows", str(len(found.rows))),
        ("only in A, only in B", f"{found.only_a}, {found.only_b}"),
        *([("common, of 0 ms or less", str(found.without_ratio))] if found.without_ratio else []),
        ("median of B / A", f"{found.median_ratio:.4g}"),
        ("standard deviation of log(B / A)", f"{found.log_ratio_sd:.3g}"),
        ("Spearman", f"{found.spearman:.4f}"),
        ("Kendall", f"{found.kendall:.4f}"),
    ]


@table_app.command()
def compare(
    a: TableArgument,
    b: TableArgument,
    plot: Annotated[Path | None, typer.Option(help="Write a page with figures here.", callback=_no_folder)] = None,
) -> None:
    """How the times of two tables differ over the rows that both have."""
    from hwnas.latency.compare import compare_tables

    found = compare_tables(open_table(a), open_table(b))
    _print(_grid(("identity", "A", "B"), [(key, *pair) for key, pair in found.identity.items()]))
    _print(_grid(("A against B", ""), _comparison_facts(found)))
    rows = [(row.key, f"{row.a_ms:.4g}", f"{row.b_ms:.4g}", f"{row.ratio:.3f}") for row in found.farthest()]
    _print(_grid(("farthest from the median", "A, ms", "B, ms", "B / A"), rows))
    if plot is not None:
        from hwnas.report.comparison import write_comparison

        write_comparison(found, a, b, plot)
        typer.echo(f"wrote {plot}", err=True)


@table_app.command()
def merge(a: TableArgument, b: TableArgument, out: NewTable) -> None:
    """The rows of two tables of one identity in a new one; rounds that both have are kept under new numbers."""
    from hwnas.latency.merge import merge_tables

    first, second = open_table(a), open_table(b)
    if first.journal.path.resolve() == second.journal.path.resolve():
        raise UserError(f"{first.journal.path} came twice; merge two tables")
    counts = merge_tables(first, second, out)
    typer.echo(f"wrote {out}: {counts['rows']} rows; {counts['renumbered']} of {b} got new round numbers", err=True)


@table_app.command("import")
def import_(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="Whose table; an unknown one lists them.")],
    path: Annotated[Path, typer.Argument(help="The file to import.")],
    out: NewTable,
    device: Annotated[str | None, typer.Option(help="Which device of the file; its name where none is told.")] = None,
) -> None:
    """A table of another project as one of ours: proxyless, once-for-all, tunas, nn-meter or hw-nas-bench-fbnet."""
    from hwnas.latency.importers import import_table

    typer.echo(f"wrote {out}: {import_table(format_name, path, out, device)} rows", err=True)


@table_app.command()
def choose(
    source: TableArgument,
    rows: Annotated[int, typer.Option(help="How many.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Also write them here, for --rows-of.", callback=_no_folder)] = None,
) -> None:
    """The rows of a table to measure on another device before a transfer, most telling first."""
    from hwnas.latency.transfer import choose_rows, source_ms

    text = "".join(f"{key}\n" for key in choose_rows(source_ms(open_table(source)), rows))
    if out is not None:
        if out.exists():
            raise UserError(f"{out} exists and is not overwritten; choose another --out")
        write_text(out, text)
    typer.echo(text, nl=False)


def _keys_in(path: Path) -> list[str]:
    """The row keys of a file, one a line."""
    try:
        keys = path.read_text(encoding="utf-8").split()
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        raise UserError(f"--rows-of {path} is no text file; write one with `hwnas table choose --out`") from None
    if not keys:
        raise UserError(f"--rows-of {path} holds no row key; write one a line")
    return keys


def _keys_to_measure(keys: Sequence[str], rows_of: Path | None, space: "Space") -> Iterable[str]:
    from hwnas.latency.profiler import rows_to_measure

    if keys and rows_of is not None:
        raise UserError("row keys and --rows-of both came; give one of them, or neither for the whole space")
    return keys or (rows_to_measure(space) if rows_of is None else _keys_in(rows_of))


@table_app.command()
def measure(
    on: Annotated[str, typer.Option(help="Profile of the device: a name in profiles/ or a path.")],
    space: SpaceName,
    out: Annotated[Path, typer.Option(help="The table to write, or to continue.", callback=_no_folder)],
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Rows; otherwise all.")] = None,
    rows_of: Annotated[Path | None, typer.Option(help="A file of row keys, one a line.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Input pixels; otherwise the space's own.")] = None,
    num_classes: NumClasses = 1000,
    width_mult: WidthMult = 1.0,
    seed: Annotated[int, typer.Option(help="Of the order in which rows are measured.")] = 0,
) -> None:
    """Measure rows of a space on a device, by the profile's protocol; run again, it continues."""
    from hwnas.devices import load_profile, open_device
    from hwnas.latency.profiler import check_measured, identity, measure_rows, rows_named, steadiness_told
    from hwnas.latency.table import LatencyTable
    from hwnas.spaces import SpaceConfig, build_space
    from hwnas.stages.progress import interruptible, progress

    side = _resolution("", space) if resolution is None else resolution
    profile, built = load_profile(on), build_space(SpaceConfig(space, side, num_classes, width_mult))
    rows = {key: (spec,) for key, spec in rows_named(_keys_to_measure(keys or [], rows_of, built), built).items()}
    table = LatencyTable(out, identity(profile, open_device(profile), built))
    with interruptible(), progress("measuring") as report:
        measure_rows(rows, profile, table, seed, report)
    check_measured(rows, profile, table)
    typer.echo(f"{len(rows)} rows are in {out}: {steadiness_told(rows, profile, table)}", err=True)


@table_app.command()
def transfer(
    source: TableArgument,
    measured: Annotated[str, typer.Argument(help="A table of the new device with some rows of SOURCE.")],
    out: NewTable,
) -> None:
    """A table of a new device: its measured rows, and all others as SOURCE and those let expect.

    By a smooth correction of SOURCE, or by one factor where that misses measured rows by less when these are left out.
    Of fewer than 7 measured rows by the correction.
    """
    from hwnas.latency.transfer import transfer_table

    done = transfer_table(open_table(source), open_table(measured), out)
    failed = f"; {done.failed} failed on this device and are not predicted" if done.failed else ""
    typer.echo(f"wrote {out}: {done.measured} rows measured, {done.predicted} predicted{failed}", err=True)
    if done.missed.known:
        typer.echo(f"left out, each measured row is missed on average by {done.missed}", err=True)
