"""nn-Meter's MBConv blocks: its JSON of one phone, or a CSV with one column of milliseconds for each phone.

https://github.com/microsoft/nn-Meter, branch dev/hybrid-transformer, nn_meter/predictor/transformer_predictor/lut:
`{"conv_HW_CIN_COUT_EXPAND_STRIDE_ACT_KERNEL_nose": ms}`; the CSV has these as columns and PHONE_ms. Blocks that change
the number of channels add a 1x1 shortcut, behind an average pool where the stride is 2, and all use hard-swish: none is
our `ir`. The JSON's other rows, of attention and of pooling, have no shapes of ours: the identity tells their number.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hwnas.latency.importers.imported import (
    Imported,
    Row,
    chosen_device,
    foreign_identity,
    malformed,
    number,
    read_csv,
    read_json_mapping,
    whole,
)
from hwnas.spaces import op

COLUMNS = ("hw", "cin", "cout", "expand", "stride", "act", "kernel", "se")
BLOCK = re.compile(r"conv_(\d+)_(\d+)_(\d+)_(\d+)_(\d+)_([a-z_]+)_(\d+)_(nose|se)")
ACTIVATION = "hard_swish"
SUFFIX = "_ms"
Block = tuple[str, Mapping[str, str], object]  # (where in the file, columns, milliseconds)


def _key(path: Path, where: str, columns: Mapping[str, str]) -> str:
    if columns["act"] != ACTIVATION:
        raise malformed(path, f"has act {columns['act']!r} in {where}", ACTIVATION)
    value = {
        name: whole(path, f"{name} in {where}", columns[name], 0 if name == "se" else 1)
        for name in COLUMNS
        if name != "act"
    }
    shape = (value["cin"], value["hw"], value["hw"])
    args = {"e": value["expand"], "k": value["kernel"], "se": value["se"], "hs": 1}
    return str(op("nnmeter_ir", shape, value["cout"], value["stride"], **args))


def _rows(path: Path, blocks: Iterator[Block]) -> list[Row]:
    rows: dict[str, Row] = {}
    for where, columns, ms in blocks:
        key = _key(path, where, columns)
        if key in rows:
            raise malformed(path, f"repeats a block in {where}", "one row of each block")
        rows[key] = Row(key, number(path, f"the milliseconds in {where}", ms, 0))
    return list(rows.values())


def _read_csv(path: Path, device: str | None) -> tuple[list[Row], dict[str, str]]:
    table = read_csv(path, COLUMNS)
    phones = tuple(name.removesuffix(SUFFIX) for name in table[0] if name and name.endswith(SUFFIX))
    if not phones:
        raise malformed(path, "has no column of milliseconds", f"a column like pixel4{SUFFIX}")
    phone = phones[0] if len(phones) == 1 and device is None else chosen_device(path, device, phones)
    blocks = ((f"line {line}", row, row[phone + SUFFIX]) for line, row in enumerate(table, start=2))
    return _rows(path, blocks), {"device": phone}


def _read_json(path: Path, device: str | None) -> tuple[list[Row], dict[str, str]]:
    content = read_json_mapping(path)
    matches = {key: match for key in content if (match := BLOCK.fullmatch(key))}
    if not matches:
        raise malformed(path, "has no row of a block", "keys like conv_64_16_24_1_1_hard_swish_3_nose")
    blocks = (
        (key, {**dict(zip(COLUMNS, match.groups(), strict=True)), "se": str(int(match[8] == "se"))}, content[key])
        for key, match in matches.items()
    )
    left_out = f"{len(content) - len(matches)} rows of other kinds"
    return _rows(path, blocks), {"device": device or path.name.partition("_lut")[0], "left_out": left_out}


def read(path: Path, device: str | None) -> Imported:
    """The blocks of one phone; their sizes differ, so the table is of no one resolution."""
    rows, told = (_read_json if path.suffix == ".json" else _read_csv)(path, device)
    identity = foreign_identity("nn-Meter, https://github.com/microsoft/nn-Meter", path, runtime="tflite", **told)
    return Imported(identity, rows)
