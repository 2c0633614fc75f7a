"""nn-Meter's MBConv blocks: CSV, one row a block, one column of milliseconds for each phone.

https://github.com/microsoft/nn-Meter, nn_meter/predictor/transformer_predictor/lut: `hw,cin,cout,expand,stride,act,
kernel,se,PHONE_ms,...`. Blocks that change the number of channels add a 1x1 shortcut, behind an average pool where the
stride is 2, and all use hard-swish: none is our `ir`.
"""

from pathlib import Path

from hwnas.latency.importers.imported import Imported, Row, chosen_device, foreign_identity, malformed, number, read_csv
from hwnas.latency.importers.imported import whole as whole_number
from hwnas.spaces import op

COLUMNS = ("hw", "cin", "cout", "expand", "stride", "act", "kernel", "se")
ACTIVATION = "hard_swish"
SUFFIX = "_ms"


def _key(path: Path, line: int, row: dict[str, str]) -> str:
    if row["act"] != ACTIVATION:
        raise malformed(path, f"has act {row['act']!r} in line {line}", ACTIVATION)
    value = {
        name: whole_number(path, f"{name} in line {line}", row[name], 0 if name == "se" else 1)
        for name in COLUMNS
        if name != "act"
    }
    shape = (value["cin"], value["hw"], value["hw"])
    args = {"e": value["expand"], "k": value["kernel"], "se": value["se"], "hs": 1}
    return str(op("nnmeter_ir", shape, value["cout"], value["stride"], **args))


def read(path: Path, device: str | None) -> Imported:
    """The blocks of one phone; their sizes differ, so the table is of no one resolution."""
    table = read_csv(path, COLUMNS)
    phones = tuple(name.removesuffix(SUFFIX) for name in table[0] if name and name.endswith(SUFFIX))
    if not phones:
        raise malformed(path, "has no column of milliseconds", f"a column like pixel4{SUFFIX}")
    phone = phones[0] if len(phones) == 1 and device is None else chosen_device(path, device, phones)
    rows: dict[str, Row] = {}
    for line, row in enumerate(table, start=2):
        key = _key(path, line, row)
        if key in rows:
            raise malformed(path, f"repeats a block in line {line}", "one row of each block")
        rows[key] = Row(key, number(path, f"{phone}{SUFFIX} in line {line}", row[f"{phone}{SUFFIX}"], 0))
    identity = foreign_identity("nn-Meter, https://github.com/microsoft/nn-Meter", path, device=phone, runtime="tflite")
    return Imported(identity, list(rows.values()))
