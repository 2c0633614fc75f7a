"""Tables know what they belong to and survive a cut-off line."""

import pytest

from hwnas.devices import Measurement
from hwnas.errors import UserError
from hwnas.latency.table import LatencyTable

IDENTITY = {"device": "host", "runtime": "litert", "dtype": "fp32", "space": "a", "resolution": "32", "utc": "now"}


def test_rounds_are_pooled_and_kept(tmp_path):
    path = tmp_path / "t.jsonl"
    table = LatencyTable(path, IDENTITY)
    table.add("op1", 0, Measurement((1.0, 3.0)))
    table.add("op1", 1, Measurement((2.0,)))
    table.add("op2", 0, Measurement(error="no kernel"))
    again = LatencyTable(path, IDENTITY | {"utc": "later"})
    assert again["op1"].times_ms == (1.0, 3.0, 2.0)
    assert dict(again).keys() == {"op1"}
    assert again.errors == {"op2": "no kernel"}
    assert again.missing(["op1", "op2", "op3"], rounds=2) == ["op2", "op3"]


def test_a_cut_off_last_line_costs_that_line_only(tmp_path):
    path = tmp_path / "t.jsonl"
    LatencyTable(path, IDENTITY).add("op1", 0, Measurement((1.0,)))
    path.write_bytes(path.read_bytes() + b'{"op": "op2", "rou')
    assert list(LatencyTable(path, IDENTITY)) == ["op1"]


@pytest.mark.parametrize(
    ("key", "value"), [("space", "b"), ("resolution", "96"), ("dtype", "int8"), ("runtime", "ort"), ("device", "phone")]
)
def test_a_table_of_something_else_is_refused_by_name(tmp_path, key, value):
    path = tmp_path / "t.jsonl"
    LatencyTable(path, IDENTITY).add("op1", 0, Measurement((1.0,)))
    before = path.read_bytes()
    with pytest.raises(UserError, match=f"{key} is '{IDENTITY[key]}' there and '{value}' here"):
        LatencyTable(path, IDENTITY | {key: value})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("key", "there", "here", "refused"),
    [
        ("os", "Linux 6.1", "Linux 6.18", False),
        ("os", "Linux 6.1", "Darwin 25", True),
        ("cpus", "1", "0", False),
        ("cpus", "0,1", "1", True),
        ("cpus", "1", "not pinned", True),
        ("cpus", "core 7", "core 7", False),
        ("cpus", "core 7", "core 0", True),
        ("governor", "not told", "powersave", False),
        ("governor", "performance", "powersave", True),
        ("hwnas", "0.1.0", "0.2.0", False),
    ],
)
def test_of_the_machine_counts_what_shifts_latencies(tmp_path, key, there, here, refused):
    path = tmp_path / "t.jsonl"
    LatencyTable(path, IDENTITY | {key: there}).add("op1", 0, Measurement((1.0,)))
    if refused:
        with pytest.raises(UserError, match=f"{key} is '{there}' there and '{here}' here"):
            LatencyTable(path, IDENTITY | {key: here})
    else:
        assert set(LatencyTable(path, IDENTITY | {key: here})) == {"op1"}


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(UserError, match="does not start with the identity"):
        LatencyTable(tmp_path / "t.jsonl", IDENTITY)


def test_a_fingerprint_is_of_one_rows_own_times(tmp_path):
    table = LatencyTable(tmp_path / "t.jsonl", IDENTITY)
    nothing = table.fingerprint("op1")
    for number in range(4):
        for name, ms in (("op1", 1.0), ("op2", 2.0), ("op3", 3.0)):
            table.add(name, number, Measurement((ms * 1.1**number,)))
    before, median_ms = table.fingerprint("op1"), table["op1"].median_ms
    for number in range(4):
        table.add("op4", number, Measurement((4.0,)))
        table.add("op5", number, Measurement((5.0,)))
    assert table["op1"].median_ms != median_ms  # other rows tell how fast the machine was
    assert LatencyTable.read(tmp_path / "t.jsonl").fingerprint("op1") == before != nothing
    table.add("op1", 4, Measurement(error="vanished"))
    assert table.fingerprint("op1") == before
    table.add("op1", 5, Measurement((1.0,)))
    again = table.fingerprint("op1")
    table.quarantine("op1", "too noisy")
    assert len({nothing, before, again, table.fingerprint("op1")}) == 4
