"""Peers' files in their own formats, from the values that ../shared/data keeps as CSV."""

import csv
from pathlib import Path

import pytest

DATA = Path(__file__).parents[4] / "shared" / "data"


def shared(folder, name):
    """A file of the shared data; the test skips where it is not."""
    path = DATA / folder / name
    if not path.exists():
        pytest.skip(f"{path} is not there: it holds the peer's figures and is no part of this repository")
    return path


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _key(row):
    side, out = row["in_hw"], row["out_hw"]
    return f"{row['op']}-input:{side}x{side}x{row['cin']}-output:{f'{out}x{out}x' if out else ''}{row['cout']}"


def _write_yaml(path, entries):
    text = "".join(f"{key}:\n" + "".join(f"  {k}: {v}\n" for k, v in values.items()) for key, values in entries)
    path.write_text(text)
    return path


def proxyless_yaml(folder):
    """pixel_trim.yaml as mit-han-lab publishes it."""
    entries = []
    for row in rows_of(shared("proxyless_pixel1_lut", "pixel1_mbv2_lut.csv")):
        args = {"expand": "expand_ratio", "kernel": "kernel", "stride": "stride", "idskip": "idskip"}
        told = "".join(f"-{name}:{row[column]}" for name, column in args.items()) if row["kernel"] else ""
        entries.append((_key(row) + told, {"count": row["count"], "mean": row["mean_ms"], "var": row["var"]}))
    return _write_yaml(folder / "pixel_trim.yaml", entries)


def once_for_all_yaml(folder, resolution):
    """`latency_table@note10/RESOLUTION_lookup_table.yaml`."""
    entries = []
    for row in rows_of(shared("ofa_note10_lut", "note10_mbv3_w1.2_lut.csv")):
        if row["res"] != str(resolution):
            continue
        args = {"expand": "expand_ch", **{name: name for name in ("kernel", "stride", "idskip", "se", "hs")}}
        told = "".join(f"-{name}:{row[column]}" for name, column in args.items()) if row["kernel"] else ""
        entries.append((_key(row) + told, {"count": row["count"], "mean": row["mean_ms"], "std": row["std_ms"]}))
    folder = folder / "latency_table@note10"
    folder.mkdir(exist_ok=True)
    return _write_yaml(folder / f"{resolution}_lookup_table.yaml", entries)
