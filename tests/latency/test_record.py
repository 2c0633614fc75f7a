"""A damaged line of a table is named, with what came; whatever tables are made of is read."""

import json

import pytest

from hwnas.errors import UserError
from hwnas.latency.table import LatencyTable

IDENTITY = {"device": "host"}
ROW = {"op": "a", "round": 0, "times_ms": [1.0]}
SENTINEL = {"sentinel": "a", "sweep": "s", "round": 0, "span": 0, "attempt": 0, "times_ms": [1.0]}


def written(path, record, **identity):
    path.write_text("".join(json.dumps(r) + "\n" for r in (IDENTITY | identity, ROW, record)))
    return path


@pytest.mark.parametrize(
    ("record", "came"),
    [
        (ROW | {"times_ms": [float("nan")]}, r"times_ms is \[nan\]; allowed is a list of finite numbers above 0"),
        (ROW | {"times_ms": [1.0, float("inf")]}, r"times_ms is \[1.0, inf\]"),
        (ROW | {"times_ms": [0.0]}, r"times_ms is \[0.0\]"),
        (ROW | {"times_ms": [-1]}, r"times_ms is \[-1\]"),
        (ROW | {"times_ms": "12"}, "times_ms is '12'"),
        (ROW | {"times_ms": ["1.0"]}, r"times_ms is \['1.0'\]"),
        (ROW | {"times_ms": [True]}, r"times_ms is \[True\]"),
        (ROW | {"times_ms": {"0": 1}}, "times_ms is {'0': 1}"),
        (ROW | {"times_ms": 1.0}, "times_ms is 1.0"),
        (ROW | {"times_ms": None}, "times_ms is None"),
        (ROW | {"round": -1}, "round is -1; allowed is a whole number, 0 or more"),
        (ROW | {"round": 0.5}, "round is 0.5"),
        (ROW | {"round": True}, "round is True"),
        (ROW | {"round": "0"}, "round is '0'"),
        (ROW | {"attempt": -1}, "attempt is -1"),
        ({"op": "a", "times_ms": [1.0]}, "round is not there"),
        (ROW | {"op": 5}, "op is 5; allowed is a text"),
        ({"round": 0, "times_ms": [1.0]}, "op is not there"),
        (ROW | {"summary": {"count": 3}}, "summary is {'count': 3}; allowed are .*mean_ms or predicted_ms"),
        (ROW | {"summary": {}}, "summary is {}"),
        (ROW | {"summary": [1]}, r"summary is \[1\]"),
        (ROW | {"summary": {"mean_ms": "x"}}, "summary is {'mean_ms': 'x'}"),
        (
            ROW | {"summary": {"mean_ms": -1.0}, "times_ms": [-1.0]},
            r"times_ms is \[-1.0\]; allowed is a list of finite numbers of 0 or more",
        ),
        (SENTINEL | {"times_ms": [0]}, r"times_ms is \[0\]"),
        (SENTINEL | {"span": None}, "span is None"),
        ({"quarantine": "too noisy"}, "op is not there"),
    ],
)
def test_a_damaged_line_is_named_with_what_came(tmp_path, record, came):
    path = written(tmp_path / "t.jsonl", record)
    with pytest.raises(UserError, match=f"t.jsonl, line 3, is damaged: {came}") as caught:
        LatencyTable.read(path)
    assert str(caught.value).endswith("Remove that line")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ms", [0.0, -1.5])
def test_differences_and_means_of_nothing_are_read(tmp_path, ms):
    path = written(tmp_path / "t.jsonl", {"op": "b", "round": 0, "times_ms": [ms]}, values="differences")
    assert LatencyTable.read(path)["b"].times_ms == (ms,)
    written(path, {"op": "b", "round": 0, "times_ms": [0.0], "summary": {"mean_ms": 0.0}})
    assert LatencyTable.read(path)["b"].times_ms == (0.0,)


def test_a_row_that_failed_is_no_damage(tmp_path):
    path = written(tmp_path / "t.jsonl", {"op": "b", "round": 0, "error": "no kernel"})
    assert LatencyTable.read(path).errors == {"b": "no kernel"}
