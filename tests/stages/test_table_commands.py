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
    told = " ".join(done.stdout.split("steadiness")[1].replace("│", " ").split())
    assert "95 % intervals of the rows: +-" in told
    assert "no drift was seen" in told
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
    assert shown.split("steadiness")[1].split("│")[1].strip() == "not told"
    for part in ("Pixel 1", "lut.yaml", "median 33 %", "conv-3x32x32-16-s2-k3"):
        assert part in shown
    again = hwnas(*arguments)
    assert again.returncode == 1
    assert "exists and is not overwritten" in again.stderr


def test_import_help_names_every_format(hwnas):
    text = hwnas("table", "import", "--help").stdout
    assert all(name in text for name in IMPORTERS)


NEW_FILES = ("rows.txt", "few.jsonl", "new.jsonl")
MEASURE = ("table", "measure", "--space", "proxyless_small", "--resolution", 32, "--num-classes", 10)


def of_another_device(path):
    """The table as a device would have it that is slower, by a factor that differs from row to row."""
    return changed(path, "other.jsonl", slower)


@pytest.fixture
def transferred(hwnas, measured, tmp_path):
    """(source, table of a few measured rows, transferred table) as the three commands make them."""
    source, rows, few, new = of_another_device(measured), *(tmp_path / name for name in NEW_FILES)
    chosen = hwnas("table", "choose", source, "--rows", 6, "--out", rows)
    assert chosen.returncode == 0, chosen.stderr
    assert chosen.stdout == rows.read_text()
    done = hwnas(*MEASURE, "--on", "fake", "--rows-of", rows, "--out", few)
    assert done.returncode == 0, done.stderr
    assert "measuring: 12 of 12" in done.stderr
    assert list(LatencyTable.read(few)) != []
    done = hwnas("table", "transfer", source, few, "--out", new)
    assert (done.returncode, done.stdout) == (0, "")
    wrote, left_out = done.stderr.splitlines()
    assert wrote == f"wrote {new}: 6 rows measured, {len(rows_to_measure(SPACE)) - 6} predicted"
    assert left_out.startswith("left out, each measured row is missed on average by ")
    assert left_out.count("which is taken") == left_out.count("one factor") == left_out.count("smooth correction") == 1
    return source, few, new


def test_choose_tells_the_most_telling_rows_first_and_fewer_are_a_prefix(hwnas, measured):
    ten = hwnas("table", "choose", measured).stdout.splitlines()
    assert len(set(ten)) == 10
    assert set(ten) <= set(rows_to_measure(SPACE))
    assert hwnas("table", "choose", measured, "--rows", 3).stdout.splitlines() == ten[:3]


def test_transferred_rows_are_told_from_measured_ones(hwnas, measured, transferred):
    _, few, new = map(LatencyTable.read, transferred)
    true = LatencyTable.read(measured)
    assert list(new.rows())[: len(list(few.rows()))] == list(few.rows())
    assert set(new) == set(rows_to_measure(SPACE))
    predicted = [key for key in new if new.is_predicted(key)]
    assert set(predicted) == set(new) - set(few)
    assert all(len(new[key].times_ms) == 1 and new.summaries[key]["count"] == 0 for key in predicted)
    misses = [abs(new[key].median_ms / true[key].median_ms - 1) for key in predicted if key != FIRST]
    assert max(misses) < 0.1  # of a source that is twice as slow
    origin = new.identity["transferred"]
    assert origin.startswith("other.jsonl (other, fake, fake, fp32) with 6 measured rows; left out, each is missed by ")
    told = hwnas("table", "show", transferred[2]).stdout
    assert f"predicted, not measured │ {len(predicted)} " in told
    assert "transferred" in told
    assert f"{PROFILE.timing.rounds} to {PROFILE.timing.rounds}" in told
    whole = hwnas("table", "check", transferred[2], *CHECK)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert f"there ({len(predicted)} of them predicted), 0 missing" in whole.stdout


def test_a_run_takes_a_transferred_table_and_measures_only_what_it_lacks(hwnas, transferred, tmp_path):
    new, run = transferred[2], tmp_path / "run"
    content = new.read_bytes()
    options = ("--data", "digits", "--on", "fake", "--table", new, "--calibration-networks", 5, "--out", run)
    planned = hwnas("plan", *options)
    assert planned.returncode == 0, planned.stderr
    assert "6 are measured, 46 predicted from another device's table, the other 0 will take about 0 s" in planned.stderr
    for stage in ("profile", "fit"):
        done = hwnas(stage, *options)
        assert done.returncode == 0, done.stderr
    assert new.read_bytes() == content
    predictor = json.loads((run / "predictor.json").read_text())
    assert predictor["identity"]["transferred"].startswith("other.jsonl")
    assert "46 more are predicted from another device's table, not measured" in predictor["steadiness"]
    assert json.loads((run / "plan.json").read_text())["predicted"] == 46


def test_a_predicted_row_starts_anew_when_it_is_measured(hwnas, measured, transferred, tmp_path):
    source, _, new = transferred
    key = next(key for key in LatencyTable.read(new) if LatencyTable.read(new).is_predicted(key))
    assert hwnas(*MEASURE, key, "--on", "fake", "--out", new).returncode == 0
    found = LatencyTable.read(new)
    assert not found.is_predicted(key)
    assert found[key] == LatencyTable.read(measured)[key]
    assert sum(record["op"] == key for record in found.rows()) == PROFILE.timing.rounds
    again = tmp_path / "again.jsonl"
    done = hwnas("table", "transfer", source, new, "--out", again)  # seven measured rows tell more than six
    assert "7 rows measured" in done.stderr
    assert LatencyTable.read(again)[key] == found[key]


@pytest.mark.parametrize("measured_first", [True, False])
def test_merged_with_its_prediction_a_measured_row_stays_measured(hwnas, transferred, tmp_path, measured_first):
    _, _, new = transferred
    more, out = tmp_path / "more.jsonl", tmp_path / "merged.jsonl"
    shutil.copy(new, more)
    key = next(key for key in LatencyTable.read(new) if LatencyTable.read(new).is_predicted(key))
    assert hwnas(*MEASURE, key, "--on", "fake", "--out", more).returncode == 0
    both = (more, new) if measured_first else (new, more)
    done = hwnas("table", "merge", *both, "--out", out)
    assert done.returncode == 0, done.stderr
    merged = LatencyTable.read(out)
    assert not merged.is_predicted(key)
    assert merged[key] == LatencyTable.read(more)[key]


def test_a_predicted_table_and_a_measured_one_do_not_merge(hwnas, transferred, tmp_path):
    _, few, new = transferred
    assert_refused(hwnas("table", "merge", few, new, "--out", tmp_path / "m.jsonl"), "transferred is 'not told' and")


def test_a_row_that_failed_on_the_new_device_is_not_predicted(hwnas, transferred, tmp_path):
    source, few, _ = transferred
    LatencyTable.read(few).add(FIRST, 0, Measurement(error="no kernel"))
    out = tmp_path / "again.jsonl"
    done = hwnas("table", "transfer", source, few, "--out", out)
    assert "1 failed on this device and are not predicted" in done.stderr
    assert LatencyTable.read(out).errors == {FIRST: "no kernel"}


def test_measure_continues_takes_keys_and_without_them_the_whole_space(hwnas, measured, tmp_path):
    out, keys = tmp_path / "few.jsonl", list(rows_to_measure(SPACE))
    assert hwnas(*MEASURE, keys[0], keys[1], keys[0], "--on", "fake", "--out", out).returncode == 0
    before = out.read_bytes()
    assert set(LatencyTable.read(out)) == set(keys[:2])
    assert hwnas(*MEASURE, *keys[:2], "--on", "fake", "--out", out).returncode == 0
    assert out.read_bytes() == before
    assert hwnas(*MEASURE, "--on", "fake", "--out", out).returncode == 0
    assert out.read_bytes().startswith(before)
    found, whole = map(LatencyTable.read, (out, measured))
    assert {key: found[key] for key in keys} == {key: whole[key] for key in keys}


def test_a_row_that_cannot_be_measured_ends_with_its_name(hwnas, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeDevice, "measure", lambda self, model, config: Measurement(error="no kernel"))
    done = hwnas(*MEASURE, FIRST, "--on", "fake", "--out", tmp_path / "few.jsonl")
    assert done.returncode == 1
    assert f"1 operators could not be measured on fake, first {FIRST}: no kernel" in done.stderr
    assert LatencyTable.read(tmp_path / "few.jsonl").errors == {FIRST: "no kernel"}


def test_an_interrupted_measurement_says_how_to_go_on(hwnas, monkeypatch, tmp_path):
    def interrupted(self, model, config):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FakeDevice, "measure", interrupted)
        done = hwnas(*MEASURE, FIRST, "--on", "fake", "--out", tmp_path / "few.jsonl")
    assert done.returncode == 130
    assert "interrupted; run the same command again" in done.stderr
    assert hwnas(*MEASURE, FIRST, "--on", "fake", "--out", tmp_path / "few.jsonl").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((*MEASURE, "ir-1x1x1-1-s1-e3-k3", "--on", "fake"), "first ir-1x1x1-1-s1-e3-k3; leave them out"),
        ((*MEASURE, "nonsense", FIRST, "--on", "fake"), "1 of 2 rows are not of proxyless_small at 32 pixels"),
        ((*MEASURE, FIRST, "--on", "fake", "--num-classes", 1), "at least 2 classes"),
        ((*MEASURE, "--on", "fake", "--rows-of", "nowhere.txt"), "--rows-of nowhere.txt is no text file"),
        ((*MEASURE, FIRST, "--on", "fake", "--rows-of", "nowhere.txt"), "both came; give one of them"),
        ((*MEASURE, FIRST, "--on", "fakes"), "unknown profile 'fakes'; did you mean fake"),
        (("table", "measure", "--space", "proxyles", "--on", "fake"), "unknown space 'proxyles'"),
    ],
)
def test_measure_refuses_what_it_cannot_measure(hwnas, tmp_path, arguments, part):
    done = hwnas(*arguments, "--out", tmp_path / "few.jsonl")
    assert_refused(done, part)
    assert not list(tmp_path.iterdir())


def assert_refused(done, part):
    assert done.returncode == 1
    assert done.stderr.startswith("hwnas: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert part in done.stderr


def test_measure_refuses_an_empty_list_and_a_table_of_something_else(hwnas, measured, tmp_path):
    (tmp_path / "rows.txt").write_text("\n")
    assert_refused(
        hwnas(*MEASURE, "--on", "fake", "--rows-of", tmp_path / "rows.txt", "--out", tmp_path / "t"), "holds no row key"
    )
    other, before = of_another_device(measured), of_another_device(measured).read_bytes()
    assert_refused(hwnas(*MEASURE, FIRST, "--on", "fake", "--out", other), "device is 'other' there and 'fake' here")
    assert other.read_bytes() == before


@pytest.mark.parametrize("rows", [0, -1, 53])
def test_choose_refuses_a_number_of_rows_that_there_is_not(hwnas, measured, rows):
    assert_refused(hwnas("table", "choose", measured, "--rows", rows), "allowed is 1 to 52")


@pytest.mark.parametrize(
    "command",
    [
        ("merge", "A", "A", "--out"),
        ("import", "tunas", "A", "--out"),
        ("choose", "A", "--out"),
        ("transfer", "A", "A", "--out"),
        ("measure", "--on", "fake", "--space", "proxyless_small", "--out"),
        ("compare", "A", "A", "--plot"),
    ],
)
def test_a_folder_is_no_file_to_write(hwnas, measured, tmp_path, command):
    done = hwnas("table", *(measured if part == "A" else part for part in command), tmp_path)
    assert done.returncode == 1
    assert f"hwnas: {command[-1]} {tmp_path} is a folder; give a file in it" in done.stderr


def test_choose_does_not_overwrite(hwnas, measured, tmp_path):
    before = measured.read_bytes()
    assert_refused(hwnas("table", "choose", measured, "--out", measured), "exists and is not overwritten")
    assert measured.read_bytes() == before


def with_time(ms, key=FIRST):
    """A table of differences, in which every time of one row is this."""

    def change(number, record):
        if number == 0:
            return {**record, "values": "differences"}
        return {**record, "times_ms": [ms] * len(record["times_ms"])} if record["op"] == key else record

    return change


def no_operators(number, record):
    return {**record, "op": record["op"] + "!"} if number else record


def told_otherwise(key, value):
    return lambda n, r: {**r, key: value} if n == 0 else r


@pytest.mark.parametrize(
    ("of_source", "of_measured", "part"),
    [
        (with_time(0.0), None, f"{FIRST} of the source latencies has 0.0 ms; allowed is above 0"),
        (with_time(-1.0), None, f"{FIRST} of the source latencies has -1.0 ms"),
        (with_time(float("nan")), None, "is damaged: times_ms is [nan, nan"),
        (None, with_time(0.0), f"{FIRST} of the measured latencies has 0.0 ms"),
        (None, lambda n, r: {**r, "op": "x" + r["op"]} if n else r, "52 measured rows, and none of them is one of"),
        (None, lambda n, r: None if n else r, "0 measured rows, and none of them"),
        (None, told_otherwise("space", "proxyless"), "space is proxyless_small in"),
        (told_otherwise("resolution", "64"), None, "resolution is 64 in"),
        (told_otherwise("transferred", "b.jsonl (a phone)"), None, "is transferred itself, from b.jsonl (a phone)"),
        (lambda n, r: {**({"network": r.pop("op")} if n else {}), **r}, None, "is of whole networks"),
        (no_operators, no_operators, "is no row key"),
    ],
)
def test_transfer_refuses_what_has_no_ratio(hwnas, measured, tmp_path, of_source, of_measured, part):
    source = changed(measured, "a2.jsonl", of_source or (lambda n, r: r))
    few = changed(measured, "b2.jsonl", of_measured or (lambda n, r: r))
    assert_refused(hwnas("table", "transfer", source, few, "--out", tmp_path / "new.jsonl"), part)
    assert not (tmp_path / "new.jsonl").exists()


def test_transfer_does_not_overwrite(hwnas, measured, tmp_path):
    other = of_another_device(measured)
    before = other.read_bytes()
    assert_refused(hwnas("table", "transfer", other, measured, "--out", other), "exists and is not overwritten")
    assert other.read_bytes() == before


def test_a_shipped_table_of_one_runtime_is_transferred_to_another_on_this_host(hwnas, tmp_path):
    source, rows, few, new = "proxyless_small-32-host_cpu1_ort_fp32", *(tmp_path / name for name in NEW_FILES)
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "device: host\nruntime: litert\ndtype: fp32\nthreads: 1\n"
        "timing: {rounds: 2, max_rounds: 2, settle_pct: 100, quarantine_pct: 1000, clock: thread_cpu}\n"
    )
    assert hwnas("table", "choose", source, "--rows", 5, "--out", rows).returncode == 0
    on = ("--space", "proxyless_small", "--on", mine, "--rows-of", rows, "--out", few)
    done = hwnas("table", "measure", *on)
    assert done.returncode == 0, done.stderr
    assert hwnas("table", "transfer", source, few, "--out", new).returncode == 0
    found = LatencyTable.read(new)
    assert sum(not found.is_predicted(key) for key in found) == 5
    assert found.identity["runtime"] == "litert"
    assert found.identity["transferred"].startswith(f"{source}.jsonl (host, ")
    assert min(measurement.median_ms for measurement in found.values()) > 0
    before = set(found)
    done = hwnas("profile", "--on", mine, "--table", new, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert set(LatencyTable.read(new)) - before == {"classifier-512x4x4-10-s1"}  # digits have 10 classes, not 1000


def test_of_one_measured_row_nothing_is_left_out(hwnas, transferred, tmp_path):
    source, few, _ = transferred
    lines = few.read_text().splitlines(keepends=True)
    first = json.loads(lines[1])["op"]
    one, out = tmp_path / "one.jsonl", tmp_path / "from_one.jsonl"
    one.write_text("".join([lines[0], *(line for line in lines[1:] if json.loads(line).get("op") == first)]))
    done = hwnas("table", "transfer", source, one, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "1 rows measured" in done.stderr
    assert "nan" not in done.stderr + out.read_text().splitlines()[0]
