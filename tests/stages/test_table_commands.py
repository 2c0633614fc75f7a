"""`hwnas table` on tables of the fake device, as a user runs it."""

import json
import random
import shutil

import pytest

from hwnas.devices import FakeDevice, Measurement, load_profile
from hwnas.latency.importers import IMPORTERS
from hwnas.latency.profiler import identity, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import SpaceConfig, build_space

SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
PROFILE = load_profile("fake")
CHECK = ("--space", "proxyless_small", "--num-classes", "10")
FIRST = next(iter(rows_to_measure(SPACE)))


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A table of the whole small space."""
    path = tmp_path_factory.mktemp("profiled") / "a.jsonl"
    profile_space(SPACE, PROFILE, LatencyTable(path, identity(PROFILE, FakeDevice(PROFILE), SPACE)))
    return path


@pytest.fixture
def measured(profiled, tmp_path):
    """A copy of it to work on."""
    return shutil.copy(profiled, tmp_path / "a.jsonl")


def changed(path, name, change):
    """A copy whose records, but for sentinels, went through `change(number, record)`; None leaves one out."""
    before = [r for r in map(json.loads, path.read_text().splitlines()) if "sentinel" not in r]
    records = [change(i, record) for i, record in enumerate(before)]
    copy = path.with_name(name)
    copy.write_text("".join(json.dumps(r) + "\n" for r in records if r is not None))
    return copy


def slower(number, record):
    """Twice as slow, rows differing a little; of another device."""
    if number == 0:
        return {**record, "device": "other"}
    factor = 2 * (1 + 0.1 * random.Random(record["op"]).random()) * (3 if record["op"] == FIRST else 1)
    return {**record, "times_ms": [factor * t for t in record["times_ms"]]}


def test_show_tells_identity_rows_failures_and_the_slowest(hwnas, measured):
    LatencyTable.read(measured).add("ir-1x1x1-1-s1-e3-k3", 0, Measurement(error="no kernel [x]"))
    before = measured.read_bytes()
    done = hwnas("table", "show", measured)
    assert done.returncode == 0, done.stderr
    table = LatencyTable.read(measured)
    slowest = max(table, key=lambda key: table[key].median_ms)
    rows = len(rows_to_measure(SPACE))
    for part in ("proxyless_small", f"rows            │ {rows}", slowest, "no kernel [x]", "failed rows     │ 1"):
        assert part in done.stdout
    assert f"1 to {PROFILE.timing.rounds}" in done.stdout
    assert measured.read_bytes() == before


def test_show_finds_a_name_in_latency_tables(hwnas, measured, monkeypatch, tmp_path):
    (tmp_path / "latency_tables").mkdir()
    measured.rename(tmp_path / "latency_tables" / "mine.jsonl")
    monkeypatch.chdir(tmp_path)
    assert hwnas("table", "show", "mine").returncode == 0
    done = hwnas("table", "show", "mime")
    assert done.returncode == 1
    assert "did you mean mine" in done.stderr


@pytest.mark.parametrize("text", ["", "\x00\x01", '{"epoch": 1}\n', "[1]\n", '{"device": "a"}\n{"op": "x"}\n'])
@pytest.mark.parametrize("command", ["show", "check"])
def test_a_file_that_is_no_table_is_refused_and_left_as_it_is(hwnas, tmp_path, command, text):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    done = hwnas("table", command, path, *(CHECK if command == "check" else ()))
    assert done.returncode == 1
    assert done.stderr.startswith(f"hwnas: {path}")
    assert len(done.stderr.strip().splitlines()) == 1
    assert path.read_text() == text


def test_an_identity_alone_is_an_empty_table(hwnas, measured):
    empty = changed(measured, "empty.jsonl", lambda number, record: None if number else record)
    assert hwnas("table", "show", empty).returncode == 0
    assert hwnas("table", "check", empty, *CHECK).returncode == 1


def test_check_names_what_is_missing_and_what_failed(hwnas, measured):
    whole = hwnas("table", "check", measured, *CHECK)
    assert (whole.returncode, whole.stderr) == (0, "")
    count = len(rows_to_measure(SPACE))
    assert whole.stdout.startswith(f"proxyless_small at 32 pixels, 10 classes, width 1: {count} operators are needed")
    part = changed(measured, "part.jsonl", lambda number, r: None if r.get("op") == FIRST else r)
    done = hwnas("table", "check", part, *CHECK)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [f"missing {FIRST}"]
    LatencyTable.read(part).add(FIRST, 0, Measurement(error="no kernel"))
    assert hwnas("table", "check", part, *CHECK).stdout.splitlines()[1:] == [f"missing {FIRST}: failed, no kernel"]


def test_check_at_another_size_and_of_no_space(hwnas, measured):
    for options in (("--resolution", 64), ("--width-mult", 0.5), ("--num-classes", 7)):
        assert hwnas("table", "check", measured, *CHECK, *options).returncode == 1
    done = hwnas("table", "check", measured, "--space", "proxyles")
    assert done.returncode == 1
    assert "unknown space 'proxyles'" in done.stderr


def test_compare_tells_ratio_ranks_and_the_farthest_rows(hwnas, measured, tmp_path):
    other = changed(measured, "b.jsonl", slower)
    page = tmp_path / "page.html"
    done = hwnas("table", "compare", measured, other, "--plot", page)
    assert done.returncode == 0, done.stderr
    farthest = done.stdout.split("farthest from the median")[1]
    assert farthest.count(" │ ") == 10 * 3
    assert FIRST in farthest.splitlines()[2]
    ratio = float(done.stdout.split("median of B / A")[1].split("│")[1])
    assert 2.0 < ratio < 2.2
    assert "device   │ fake" in done.stdout
    text = page.read_text()
    assert FIRST in text
    assert "plotly" in text
    assert "<script src" not in text


def test_compare_with_itself_is_all_equal(hwnas, measured):
    done = hwnas("table", "compare", measured, measured)
    for part in ("median of B / A                  │ 1 ", "│ 0 ", "Spearman                         │ 1.0000"):
        assert part in done.stdout


def test_compare_without_common_rows_says_so(hwnas, measured):
    renamed = changed(measured, "b.jsonl", lambda n, r: {**r, "op": "x" + r["op"]} if n else r)
    done = hwnas("table", "compare", measured, renamed)
    assert done.returncode == 1
    assert "have 0 rows in common" in done.stderr


def test_merge_keeps_every_round(hwnas, measured, tmp_path):
    again = changed(measured, "b.jsonl", lambda n, r: r if n else {**r, "utc": "later"})
    out = tmp_path / "merged.jsonl"
    done = hwnas("table", "merge", measured, again, "--out", out)
    assert done.returncode == 0, done.stderr
    single, merged = LatencyTable.read(measured), LatencyTable.read(out)
    rounds = PROFILE.timing.rounds
    assert set(merged.rounds(FIRST)) == set(range(2 * rounds))
    assert merged[FIRST].times_ms == 2 * single[FIRST].times_ms
    assert len(out.read_text().splitlines()) == 2 * len(list(single.rows())) + 1
    assert merged.identity["utc"].endswith("; later")
    LatencyTable(out, identity(PROFILE, FakeDevice(PROFILE), SPACE))  # a run may extend it


def test_merge_of_two_parts_is_the_whole(hwnas, measured, tmp_path):
    halves = [
        changed(measured, f"{half}.jsonl", lambda n, r, half=half: r if n == 0 or n % 2 == half else None)
        for half in (0, 1)
    ]
    out = tmp_path / "merged.jsonl"
    assert hwnas("table", "merge", *halves, "--out", out).returncode == 0
    whole, merged = LatencyTable.read(measured), LatencyTable.read(out)
    assert {key: dict(merged.rounds(key)) for key in merged} == {key: dict(whole.rounds(key)) for key in whole}


def test_merge_refuses_other_identities_the_same_file_and_to_overwrite(hwnas, measured, tmp_path):
    out = tmp_path / "merged.jsonl"
    other = changed(measured, "b.jsonl", slower)
    shorter = changed(measured, "c.jsonl", lambda n, r: r if n else {k: v for k, v in r.items() if k != "dtype"})
    for second, message in (
        (other, "device is 'fake' and 'other'"),
        (shorter, "dtype is 'fp32' and 'not told'"),
        (measured, "came twice"),
    ):
        done = hwnas("table", "merge", measured, second, "--out", out)
        assert done.returncode == 1
        assert message in done.stderr
        assert not out.exists()
    again = changed(measured, "d.jsonl", lambda n, r: r)
    before = other.read_bytes()
    done = hwnas("table", "merge", measured, again, "--out", other)
    assert "exists and is not overwritten" in done.stderr
    assert other.read_bytes() == before


def test_import_writes_a_table_and_never_overwrites(hwnas, tmp_path):
    theirs, out = tmp_path / "lut.yaml", tmp_path / "table.jsonl"
    theirs.write_text("Conv-input:32x32x3-output:16x16x16:\n  count: 9\n  mean: 1.5\n  var: 0.25\n")
    arguments = ("table", "import", "proxyless", theirs, "--device", "Pixel 1", "--out", out)
    done = hwnas(*arguments)
    assert (done.returncode, done.stderr) == (0, f"wrote {out}: 1 rows\n")
    row = {"op": "conv-3x32x32-16-s2-k3", "round": 0, "times_ms": [1.5]}
    assert json.loads(out.read_text().splitlines()[1]) == {
        **row,
        "summary": {"mean_ms": 1.5, "std_ms": 0.5, "count": 9},
    }
    shown = hwnas("table", "show", out).stdout
    for part in ("Pixel 1", "lut.yaml", "median 33 %", "conv-3x32x32-16-s2-k3"):
        assert part in shown
    again = hwnas(*arguments)
    assert again.returncode == 1
    assert "exists and is not overwritten" in again.stderr


def test_import_help_names_every_format(hwnas):
    text = hwnas("table", "import", "--help").stdout
    assert all(name in text for name in IMPORTERS)
