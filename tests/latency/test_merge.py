"""A merged or transferred table names what would not settle, unless another table has it."""

import pytest

from hwnas.devices import Measurement
from hwnas.latency.merge import merge_tables
from hwnas.latency.table import LatencyTable
from hwnas.latency.transfer import transfer_table

NOISY, SOUND = "ir-8x8x8-8-s1-e6-k3", "ir-8x8x8-8-s1-e3-k3"


def table_of(path, *keys, quarantined=()):
    table = LatencyTable(path, {"device": "host"})
    for key in keys:
        table.add(key, 0, Measurement((1.0,)))
    for key in quarantined:
        table.quarantine(key, "did not settle: +-40 %")
    return table


@pytest.mark.parametrize("noisy_first", [True, False])
def test_a_row_in_quarantine_is_named_in_the_merged_table(tmp_path, noisy_first):
    noisy = table_of(tmp_path / "a", NOISY, SOUND, quarantined=[NOISY])
    tables = (noisy, table_of(tmp_path / "b", SOUND))
    counts = merge_tables(*(tables if noisy_first else tables[::-1]), tmp_path / "out")
    merged = LatencyTable.read(tmp_path / "out")
    assert merged.errors == {NOISY: "did not settle: +-40 %"}
    assert counts["rows"] == len(merged) == 1


@pytest.mark.parametrize("noisy_first", [True, False])
def test_what_the_other_table_has_counts(tmp_path, noisy_first):
    tables = (table_of(tmp_path / "a", NOISY, quarantined=[NOISY]), table_of(tmp_path / "b", NOISY))
    merge_tables(*(tables if noisy_first else tables[::-1]), tmp_path / "out")
    merged = LatencyTable.read(tmp_path / "out")
    assert set(merged) == {NOISY}
    assert not merged.errors


def test_a_transferred_table_names_it_too_and_does_not_predict_it(tmp_path):
    source, few = table_of(tmp_path / "a", NOISY, SOUND), table_of(tmp_path / "b", NOISY, SOUND, quarantined=[NOISY])
    transfer_table(source, few, tmp_path / "out")
    found = LatencyTable.read(tmp_path / "out")
    assert found.errors == {NOISY: "did not settle: +-40 %"}
    assert set(found) == {SOUND}
