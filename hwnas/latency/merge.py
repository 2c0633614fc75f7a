"""Two latency tables of one identity -> one."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from hwnas.errors import UserError
from hwnas.latency.compare import identity_differences
from hwnas.latency.table import Identity, LatencyTable, differs, write_new_table
from hwnas.storage import Record


def merged_identity(a: LatencyTable, b: LatencyTable) -> Identity:
    """What both are of; UserError naming what differs. What is only told is joined."""
    differences = identity_differences(a, b)
    mattering = [f"{key} is {x!r} and {y!r}" for key, (x, y) in differences.items() if differs(key, x, y)]
    if a.row != b.row:
        mattering.append(f"the rows are of {a.row!r} and of {b.row!r}")
    if mattering:
        raise UserError(
            f"{a.journal.path} and {b.journal.path} are of different things: {'; '.join(mattering)}. "
            "Merge tables of one device, runtime, space and protocol"
        )
    return {**a.identity, **{key: f"{x}; {y}" for key, (x, y) in differences.items()}}


def _first_free_round(a: LatencyTable, b: LatencyTable, key: str) -> int:
    """What to add to the rounds of a row of `b`: 0 where none of them is taken."""
    taken, new = set(a.rounds(key)), set(b.rounds(key))
    return max(taken) + 1 - min(new) if taken & new else 0


def _renumbered(a: LatencyTable, b: LatencyTable) -> Iterator[Record]:
    for record in b.rows():
        shift = _first_free_round(a, b, str(record[b.row]))
        yield {**record, "round": int(record["round"]) + shift}


def merge_tables(a: LatencyTable, b: LatencyTable, out: Path) -> Mapping[str, int]:
    """Writes the rows of both to a new file, without the sentinels of their sweeps.

    A row that would not settle stays in quarantine, by name, unless the other table has it. Returns how many rows the
    new table has, and how many of `b` got another round. UserError where they are of different things, or `out` exists.
    """
    moved = sum(bool(_first_free_round(a, b, key)) for key in {str(r[b.row]) for r in b.rows()})
    named = [*a.quarantines(), *b.quarantines()]
    write_new_table(out, merged_identity(a, b), [*named, *a.rows(), *_renumbered(a, b)])
    return {"rows": len(LatencyTable.read(out)), "renumbered": moved}
