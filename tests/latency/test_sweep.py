"""The protocol: settled rows rest, drifting spans are measured again, what does not settle is named, all resumable."""

import math
import random
from contextlib import contextmanager

import pytest

from hwnas.devices import FakeDevice, Measurement, Timing, load_profile
from hwnas.latency import profiler
from hwnas.latency import sweep as sweeping
from hwnas.latency.profiler import identity, measure_rows, middling, profile_space, rows_to_measure, unfinished
from hwnas.latency.table import LatencyTable
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import macs

SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
ROWS = rows_to_measure(SPACE)
AT_ONCE = {"sentinel_every": 10, "drift_pct": 5.0, "drift_wait_s": 0.0}
TIMING = Timing(rounds=3, max_rounds=8, settle_pct=3.0, quarantine_pct=40.0, **AT_ONCE)
PROFILE = load_profile("fake").model_copy(update={"timing": TIMING})


def table_at(path):
    return LatencyTable(path, identity(PROFILE, FakeDevice(PROFILE), SPACE))


def a_device_telling(told):
    """A device that tells `told(row number, what the fake device measures)`."""

    class Device(FakeDevice):
        @contextmanager
        def session(self):
            yield self

        def measure(self, model, config):
            number = int(model.name.partition(".")[0].removeprefix("model"))
            return told(number, super().measure(model, config))

    return Device


def a_device(table, factor):
    """A device whose times are multiplied by `factor(row number, records so far)`: what the table holds decides."""

    def told(number, measured):
        times = factor(number, len(table.journal.records))
        if math.isnan(times):
            return Measurement(error="out of memory")
        return Measurement(tuple(times * t for t in measured.times_ms))

    return a_device_telling(told)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Profiles the space with such a device; `name` tells apart the tables of one test."""

    def run(factor, name="t", profile=PROFILE, **options):
        table = table_at(tmp_path / f"{name}.jsonl")
        monkeypatch.setattr(profiler, "open_device", a_device(table, factor))
        profile_space(SPACE, profile, table, **options)
        return table

    return run


def quiet(number, records):
    return 1.0


def noisy_first_row(number, records):
    return random.Random(f"{number}/{records}").choice([0.9, 1.0, 1.1]) if number == 0 else 1.0


def noisy(number, records):
    return random.Random(f"{number}/{records}").uniform(0.96, 1.04)


def test_quiet_rows_get_the_least_number_of_rounds(sweep):
    table = sweep(quiet)
    assert {len(table.rounds(key)) for key in ROWS} == {TIMING.rounds}
    assert unfinished(ROWS, PROFILE, table) == []


def test_a_noisy_row_gets_more_rounds_and_the_others_do_not(sweep):
    table, (first, *others) = sweep(noisy_first_row), ROWS
    assert TIMING.rounds < len(table.rounds(first)) <= TIMING.max_rounds
    assert {len(table.rounds(key)) for key in others} == {TIMING.rounds}


def test_a_drifting_span_is_measured_again(sweep):
    slow = range(85, 92)  # records: the end of the third span of the second round, and its sentinel
    table = sweep(lambda number, records: 1.3 if records in slow else 1.0)
    again = [r for r in table.journal.records[1:] if r.get("attempt", 0) > 0 and "op" in r]
    assert len(again) == TIMING.sentinel_every
    assert max(table.drifts_pct()) == pytest.approx(30, abs=0.1)
    assert all(len({round(m.median_ms, 9) for m in table.rounds(key).values()}) == 1 for key in ROWS)


def test_a_device_that_stays_slow_is_not_measured_for_ever(sweep):
    table = sweep(lambda number, records: 1.3 if records > 80 else 1.0)
    attempts = {r.get("attempt", 0) for r in table.journal.records[1:]}
    assert attempts == set(range(1 + TIMING.remeasure))


def test_the_sentinel_of_another_sweep_is_no_judge(tmp_path, monkeypatch):
    """It is another row, where the rows are others: that it takes another time is no drift."""
    table = table_at(tmp_path / "t.jsonl")
    monkeypatch.setattr(profiler, "open_device", a_device(table, quiet))
    by_work = sorted(ROWS, key=lambda key: macs((ROWS[key],)))
    for keys in (by_work[:20], by_work):
        measure_rows({key: (ROWS[key],) for key in keys}, PROFILE, table)
    assert len({record["sentinel"] for record in table.journal.records[1:] if "sentinel" in record}) == 2
    assert max(table.drifts_pct()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_rows_that_get_no_answer_do_not_end_a_sweep_while_others_do(tmp_path, monkeypatch, first):
    """Their models are at fault, not the device: even where only they are left to measure."""
    silent = set(list(ROWS)[:20])

    def told(number, measured):
        no_answer = Measurement(error="no answer", silence="did not answer in time")
        return no_answer if list(ROWS)[number] in silent else measured

    monkeypatch.setattr(profiler, "open_device", a_device_telling(told))
    table = table_at(tmp_path / "t.jsonl")
    for _ in range(1 if first else 2):
        profile_space(SPACE, PROFILE, table)
    assert set(table.errors) == silent
    assert set(table) == set(ROWS) - silent


@pytest.mark.parametrize(("told", "part"), [({}, "max_temperature_c has no effect"), ({"temperature_c": 30.0}, "")])
def test_a_gate_that_has_no_effect_is_told_once(tmp_path, monkeypatch, told, part):
    class Device(FakeDevice):
        def conditions(self):
            return told

    monkeypatch.setattr(profiler, "open_device", Device)
    said, table = list[str](), table_at(tmp_path / "t.jsonl")
    profile = PROFILE.model_copy(update={"timing": TIMING.model_copy(update={"max_temperature_c": 60.0})})
    profile_space(SPACE, profile, table, progress=lambda done, total, what: said.append(what))
    assert sum("has no effect" in what for what in said) == bool(part)
    assert ("has no effect" in profiler.steadiness_told(ROWS, profile, table)) == bool(part)
    assert said[0].startswith(part)


class Clock:
    """Stands still but for sleeping."""

    now_s = 0.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.mark.parametrize(("wait_s", "attempts"), [(0.0, {0, 1, 2}), (60.0, {0, 1})])
def test_a_drifting_span_waits_for_the_end_of_a_burst(sweep, monkeypatch, wait_s, attempts):
    clock, began_s = Clock(), []
    monkeypatch.setattr(sweeping, "time", clock)

    def burst(number, records):
        if records == 85:
            began_s.append(clock.now_s)
        return 1.3 if began_s and clock.now_s < began_s[0] + 10 else 1.0

    timing = TIMING.model_copy(update={"drift_wait_s": wait_s})
    table = sweep(burst, profile=PROFILE.model_copy(update={"timing": timing}))
    assert {r.get("attempt", 0) for r in table.journal.records[1:] if "op" in r} == attempts
    assert clock.now_s == pytest.approx(10 * bool(wait_s))


def test_a_sweep_waits_for_a_while_in_all(sweep, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(sweeping, "time", clock)
    timing = TIMING.model_copy(update={"drift_wait_s": 7.0})
    sweep(lambda number, records: 1.3 if records > 80 else 1.0, profile=PROFILE.model_copy(update={"timing": timing}))
    assert clock.now_s == pytest.approx(7)


def noisy_until(sweeps, table):
    """The first row while fewer sweeps than that have left it in quarantine."""

    def factor(number, records):
        quarantines = sum("quarantine" in record for record in table().journal.records)
        return 1.0 + (number == 0 and quarantines < sweeps) * (records % 7)

    return factor


def test_what_did_not_settle_is_swept_again(sweep, tmp_path):
    first = next(iter(ROWS))
    table = sweep(noisy_until(profiler.SWEEPS - 1, lambda: table_at(tmp_path / "t.jsonl")))
    assert set(table) == set(ROWS)
    assert sum("quarantine" in record for record in table.journal.records) == profiler.SWEEPS - 1
    assert len(table.rounds(first)) == TIMING.rounds


def test_what_never_settles_is_swept_a_few_times(sweep):
    table = sweep(lambda number, records: 1.0 + (number == 0) * (records % 7))
    assert sum("quarantine" in record for record in table.journal.records) == profiler.SWEEPS


def test_what_failed_is_not_tried_again(sweep):
    calls = []

    def fails(number, records):
        calls.append(number)
        return math.nan if number == 0 else 1.0

    table = sweep(fails)
    assert calls.count(0) == 1
    assert set(table.errors) == {next(iter(ROWS))}


def test_what_does_not_settle_is_quarantined_by_name_and_measured_anew(sweep):
    first = next(iter(ROWS))
    table = sweep(lambda number, records: 1.0 + (number == 0) * (records % 7))
    assert set(ROWS) - set(table) == {first}
    assert "did not settle: +-" in table.errors[first]
    assert "after 8 rounds" in table.errors[first]
    again = sweep(quiet)
    assert set(again) == set(ROWS)
    assert len(again.rounds(first)) == TIMING.rounds


@pytest.mark.parametrize("stop", random.Random(0).sample(range(1, 160), 6))
def test_an_interrupted_sweep_goes_on_as_if_it_had_not_been(sweep, stop):
    whole = sweep(noisy, "whole")

    def interrupt(done, total, what):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(noisy, "part", progress=interrupt)
    assert sweep(noisy, "part").journal.records[1:] == whole.journal.records[1:]


def spans_of(table, rows, every):
    """How many rows stand before each sentinel of a sweep of the first `rows`, and after the last one."""
    timing = TIMING.model_copy(update={"sentinel_every": every})
    some = {key: (spec,) for key, spec in list(ROWS.items())[:rows]}
    profiler.measure_rows(some, PROFILE.model_copy(update={"timing": timing}), table)
    assert len(table) == rows
    kinds = "".join("s" if "sentinel" in record else "r" for record in table.journal.records[1:])
    return list(map(len, kinds.split("s")))


@pytest.mark.parametrize(
    ("rows", "every", "of_a_round"),
    [(6, 24, [2, 2, 2]), (20, 24, [7, 7, 6]), (20, 4, [4, 4, 4, 4, 4]), (7, 24, [3, 3, 1])],
)
def test_few_rows_are_watched_in_three_spans(tmp_path, monkeypatch, rows, every, of_a_round):
    table = table_at(tmp_path / "t.jsonl")
    monkeypatch.setattr(profiler, "open_device", a_device(table, quiet))
    assert spans_of(table, rows, every) == [*TIMING.rounds * of_a_round, 0]


@pytest.mark.parametrize(("rows", "every"), [(5, 24), (5, 2), (20, 0)])
def test_very_few_rows_need_no_sentinel(tmp_path, monkeypatch, rows, every):
    table = table_at(tmp_path / "t.jsonl")
    monkeypatch.setattr(profiler, "open_device", a_device(table, quiet))
    assert spans_of(table, rows, every) == [TIMING.rounds * rows]


def test_the_sentinel_is_of_middling_work():
    rows = {key: (spec,) for key, spec in ROWS.items()}
    sentinel_macs = macs(rows[middling(rows)])
    heavier = sum(macs(ops) > sentinel_macs for ops in rows.values())
    assert abs(heavier - len(rows) / 2) <= 2


@pytest.mark.parametrize(
    ("conditions", "admitted"),
    [
        ({}, True),
        ({"temperature_c": 59.0, "frequency_share": 0.95}, True),
        ({"temperature_c": 61.0}, False),
        ({"frequency_share": 0.5}, False),
    ],
)
def test_a_hot_or_throttled_device_is_not_measured(conditions, admitted):
    timing = Timing(max_temperature_c=60, min_frequency_share=0.9)
    assert timing.admits(conditions) == admitted


def test_a_hot_device_is_waited_for_within_bounds(sweep, monkeypatch):
    slept, clock = [], iter(range(10**6))
    monkeypatch.setattr("hwnas.latency.sweep.time.sleep", slept.append)
    monkeypatch.setattr("hwnas.latency.sweep.time.monotonic", lambda: float(next(clock)))
    hot = iter([80.0, 80.0, 80.0])  # looked at once before, to see whether it tells a temperature
    monkeypatch.setattr(FakeDevice, "conditions", lambda self: {"temperature_c": next(hot, 40.0)})
    timing = TIMING.model_copy(update={"max_temperature_c": 60.0, "cooldown_s": 0.5})
    profile, said = PROFILE.model_copy(update={"timing": timing}), []
    sweep(quiet, profile=profile, progress=lambda done, total, what: said.append((done, what)))
    assert [told for told in said if "waiting" in told[1]] == 2 * [(0, "waiting until the device is cool and at speed")]
    assert slept[:3] == [0.5, 1.0, 1.0]
    assert set(slept[3:]) == {0.5}
    monkeypatch.setattr(FakeDevice, "conditions", lambda self: {"temperature_c": 99.0})
    assert set(sweep(quiet, "always_hot", profile)) == set(ROWS)  # each wait ends after gate_timeout_s


@pytest.fixture
def files(tmp_path):
    """Three networks as files that are to be compared."""
    rng = random.Random(0)
    ops = {f"network{number}": SPACE.ops(SPACE.sample(rng)) for number in range(3)}
    return {
        key: profiler.build_model(some, PROFILE, tmp_path, f"model{number}")
        for number, (key, some) in enumerate(ops.items())
    }


def a_device_whose_speed_changes(change):
    """The n-th measurement takes `change(n)` times as long, whatever is measured."""
    calls = []

    def told(number, measured):
        calls.append(number)
        return Measurement(tuple(change(len(calls)) * t for t in measured.times_ms))

    return a_device_telling(told), calls


def test_files_are_compared_until_they_are_settled(files, monkeypatch):
    quiet_device, calls = a_device_whose_speed_changes(lambda n: 1.0)
    monkeypatch.setattr(profiler, "open_device", quiet_device)
    alone = profiler.measure_files(files, PROFILE)
    assert len(calls) == len(files) * TIMING.rounds
    noise = random.Random(1)
    noisy_device, calls = a_device_whose_speed_changes(lambda n: noise.choice([1.0, 1.0, 1.3]))
    monkeypatch.setattr(profiler, "open_device", noisy_device)
    assert set(profiler.measure_files(files, PROFILE)) == set(alone)
    assert len(calls) > len(files) * TIMING.rounds


def test_of_files_that_are_compared_the_changing_speed_of_the_machine_is_taken_out(files, monkeypatch):
    def ratios(device):
        monkeypatch.setattr(profiler, "open_device", device)
        table = profiler.measure_files(files, PROFILE)
        return [table[key].median_ms / table["network0"].median_ms for key in files]

    slowly = a_device_whose_speed_changes(lambda n: 1 + 0.4 * math.sin(n / 4))[0]
    assert ratios(slowly) == pytest.approx(ratios(FakeDevice), rel=0.1)


def test_of_files_that_are_compared_one_that_fails_is_named(files, monkeypatch):
    def told(number, measured):
        return Measurement(error="out of memory") if number == 1 else measured

    monkeypatch.setattr(profiler, "open_device", a_device_telling(told))
    table = profiler.measure_files(files, PROFILE)
    assert profiler.failures(files, PROFILE, table) == {"network1": "out of memory"}
    assert sorted(table) == ["network0", "network2"]
