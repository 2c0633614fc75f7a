"""Tables of other projects -> latency tables. Each format is one module with `read`."""

from collections.abc import Callable
from pathlib import Path

from hwnas.errors import UserError, unknown
from hwnas.latency.importers import hw_nas_bench_fbnet, nn_meter, once_for_all, proxyless, tunas
from hwnas.latency.importers.imported import Imported
from hwnas.latency.importers.likely import hint
from hwnas.latency.table import write_new_table

Importer = Callable[[Path, str | None], Imported]  # the peer's file, and --device: which of its devices, or its name
IMPORTERS: dict[str, Importer] = {
    "proxyless": proxyless.read,
    "once-for-all": once_for_all.read,
    "tunas": tunas.read,
    "nn-meter": nn_meter.read,
    "hw-nas-bench-fbnet": hw_nas_bench_fbnet.read,
}


def import_table(format_name: str, path: Path, out: Path, device: str | None = None) -> int:
    """Writes the peer's file as a latency table; how many rows it has."""
    if format_name not in IMPORTERS:
        raise unknown("format", format_name, IMPORTERS)
    try:
        imported = IMPORTERS[format_name](path, device)
    except UserError as error:
        raise UserError(f"{error}{hint(format_name, path)}") from None
    write_new_table(out, imported.identity, [row.as_record() for row in imported.rows])
    return len(imported.rows)


__all__ = ["IMPORTERS", "Imported", "Importer", "import_table"]
