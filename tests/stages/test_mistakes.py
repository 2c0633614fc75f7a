"""A user's mistake is one clear line, exit status not 0, and nothing half-written."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from quick import QUICK, started

from hwnas.devices import FakeDevice, Measurement
from hwnas.stages.config import RunConfig
from hwnas.stages.run import open_run

PROFILES = Path(__file__).parents[2] / "profiles"
PROFILE = "device: fake\nruntime: fake\ndtype: fp32\nthreads: 1\n"


def assert_one_line(done, *parts):
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert last.startswith("hwnas: ") or "Invalid value" in done.stderr or "No such option" in done.stderr, done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--data", "nowhere/images"], ["nowhere/images does not exist"]),
        (["--data", "digit"], ["unknown data set 'digit'", "did you mean", "digits"]),
        (["--on", "host_cpu1_litert"], ["unknown profile", "host_cpu1_litert_fp32"]),
        (["--space", "proxyles"], ["unknown space 'proxyles'", "proxyless"]),
        (["--budget-ms", "0"], ["--budget-ms is 0.0; allowed is a number above 0"]),
        (["--budget-ms", "-3"], ["--budget-ms is -3.0"]),
        (["--budget-ms", "nan"], ["--budget-ms is nan"]),
        (["--max-cost", "3"], ["--cost-table and --max-cost belong together"]),
        (["--seed", "-1"], ["--seed is -1; allowed is 0 or more"]),
        (["--confidence", "1"], ["--confidence is 1.0; allowed is a probability"]),
        (["--resolution", "9", "--space", "proxyless"], ["resolution 9 is smaller than the stride of proxyless, 8"]),
        (["--population", "1"], ["--population is 1; allowed is 2 or more"]),
        (["--optimizer", "lion"], ["--optimizer is 'lion'; allowed are sgd and adamw"]),
        (["--precision", "fp8"], ["--precision is 'fp8'; allowed are auto, fp32, bf16"]),
        (["--baselines", "mobilenet_v2,resnet"], ["--baselines names 'resnet'; allowed are mobilenet_v2, "]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_options(hwnas, tmp_path, options, parts):
    if options[:2] == ["--resolution", "9"]:
        options, parts = ["--resolution", "7"], ["came with resolution 7", "at least 8 pixels"]
    done = hwnas("plan", *options, "--out", tmp_path / "run")
    assert_one_line(done, *parts)
    left = {path.name for path in (tmp_path / "run").rglob("*")} if (tmp_path / "run").exists() else set()
    assert not left & {"images", "plan.json", "table.jsonl"}
    assert not [name for name in left if name.endswith(".tmp")]


def test_a_profile_with_an_unknown_key(hwnas, tmp_path):
    (tmp_path / "mine.yaml").write_text(PROFILE + "thread: 2\n")
    done = hwnas("plan", "--on", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert_one_line(done, "thread: Extra inputs are not permitted", "Keys: device, address, python, folder, runtime")


def test_a_stage_before_its_turn_names_the_one_to_run(hwnas, tmp_path):
    assert hwnas("plan", *QUICK, "--out", tmp_path / "run").returncode == 0
    done = hwnas("feasible", "--out", tmp_path / "run")
    assert_one_line(done, "predictor.json is not there; run `hwnas fit")


@pytest.mark.parametrize("stage", ["fit", "select", "report"])
def test_a_mistyped_run_is_not_made(hwnas, tmp_path, stage):
    assert_one_line(hwnas(stage, "--out", tmp_path / "typo"), "there is no run in", "hwnas plan")
    assert not (tmp_path / "typo").exists()


def test_a_file_is_no_run(hwnas, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_line(hwnas("plan", "--out", tmp_path / "file"), "is a file; choose a folder")


def test_options_that_nothing_came_of_may_change(hwnas, fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    changed = ("--population", "6", "--attempts", "7", "--train-epochs", "3", "--budget-of-median", "0.7")
    assert hwnas("feasible", *changed, "--out", run).returncode == 0
    assert_one_line(hwnas("feasible", "--calibration-networks", "9", "--out", run), "predictor.json came of it")


def test_a_table_is_begun_where_the_path_says(hwnas, tmp_path):
    table = tmp_path / "new.jsonl"
    assert hwnas("profile", *QUICK, "--table", table, "--out", tmp_path / "run").returncode == 0
    assert len(table.read_text().splitlines()) > 50
    assert not (tmp_path / "run" / "table.jsonl").exists()


def test_a_shipped_table_is_copied_and_stays_as_it_is(hwnas, fitted, tmp_path, monkeypatch):
    shelf = tmp_path / "latency_tables"
    shelf.mkdir()
    rows = (fitted / "table.jsonl").read_bytes().splitlines(keepends=True)
    (shelf / "mine.jsonl").write_bytes(b"".join(rows[:20]))
    before = (shelf / "mine.jsonl").read_bytes()
    for module in ("hwnas.resources", "hwnas.stages.networks"):
        monkeypatch.setattr(f"{module}.shipped", lambda kind: tmp_path / kind)
    done = hwnas("profile", *QUICK, "--on", PROFILES / "fake.yaml", "--table", "mine", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (shelf / "mine.jsonl").read_bytes() == before
    assert (tmp_path / "run" / "table.jsonl").read_bytes().startswith(before)


def test_an_unknown_table_is_told_before_images_are_read(hwnas, tmp_path):
    done = hwnas("plan", *QUICK, "--table", "pixel_9", "--out", tmp_path / "run")
    assert_one_line(done, "unknown latency table 'pixel_9'")
    assert not (tmp_path / "run" / "images").exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("[1]", "holds no options but list"),
        ('{"population": "many"}', "population is 'many'"),
        ('{"population": true}', "population is True"),
        ('{"populatoin": 3}', "an option 'populatoin' that this version"),
        ('{"population": 0}', "--population is 0"),
    ],
)
def test_a_config_that_is_none(hwnas, tmp_path, content, part):
    (tmp_path / "config.json").write_text(content)
    assert_one_line(hwnas("plan", "--out", tmp_path), part)


def test_a_profile_whose_device_cannot_run_its_runtime(hwnas, tmp_path):
    (tmp_path / "mine.yaml").write_text(PROFILE.replace("runtime: fake", "runtime: litert"))
    done = hwnas("plan", "--on", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert_one_line(done, "device fake cannot run litert")


def test_networks_that_cannot_be_measured_are_named(hwnas, fitted, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    (run / "networks.jsonl").unlink()
    monkeypatch.setattr(FakeDevice, "measure", lambda self, model, config: Measurement(error="out of memory"))
    assert_one_line(hwnas("fit", "--out", run), "whole networks could not be measured on fake", "out of memory")


def test_an_interruption_says_how_to_go_on(tmp_path):
    with started("generate", *QUICK, "--out", tmp_path / "run") as (process, stderr):
        assert any("training the super-network" in line for line in stderr)
        os.kill(process.pid, signal.SIGINT)
        rest = stderr.read()
    assert rest.strip().splitlines()[-1] == "hwnas: interrupted; run the same command again to continue"
    assert process.exitcode == 130


@pytest.fixture(scope="module")
def fitted(hwnas, tmp_path_factory):
    """A run directory up to the predictor."""
    run = tmp_path_factory.mktemp("fitted") / "run"
    for stage in ("plan", "profile", "fit"):
        done = hwnas(stage, *QUICK, "--out", run)
        assert done.returncode == 0, done.stderr
    return run


def test_an_impossible_budget_brings_the_nearest_feasible_one(hwnas, fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"budget_of_median": None, "budget_ms": 1e-6}))
    done = hwnas("feasible", "--out", run)
    assert_one_line(done, "is below the smallest network's", "the nearest feasible --budget-ms is")
    assert not (run / "feasible.json").exists()
    nearest = done.stderr.split("nearest feasible --budget-ms is ")[1].split(":")[0]
    (run / "config.json").write_text(json.dumps(config | {"budget_of_median": None, "budget_ms": float(nearest)}))
    assert hwnas("feasible", "--out", run).returncode == 0


def test_a_budget_that_no_network_uses_brings_the_largest_that_one_does(hwnas, fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    options = ("--budget-of-median", "10", "--budget-use", "0.9", "--out", run)
    done = hwnas("feasible", *options)
    assert_one_line(done, "--budget-use 0.9 asks for a latency of at least", "choose a --budget-ms of at most")
    most = done.stderr.split("--budget-ms of at most ")[1].split(",")[0]
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"budget_of_median": None, "budget_ms": 0.99 * float(most)}))
    assert hwnas("feasible", "--out", run).returncode == 0


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--max-file-mb", "a file size of"),
        ("--max-peak-memory-mb", "a peak memory of"),
        ("--max-million-macs", "a number of multiply-adds of"),
    ],
)
def test_an_impossible_size_brings_the_nearest_feasible_one(hwnas, fitted, tmp_path, option, words):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    done = hwnas("feasible", option, "0.0001", "--out", run)
    assert_one_line(done, words, f"nearest feasible {option} is")
    nearest = done.stderr.split(f"nearest feasible {option} is ")[1].split(":")[0]
    assert hwnas("feasible", option, nearest, "--out", run).returncode == 0


def test_missing_rows_are_guessed_only_where_that_is_asked_for(hwnas, fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    (run / "predictor.json").unlink()
    lines = (run / "table.jsonl").read_text().splitlines(keepends=True)
    gone = next(json.loads(line)["op"] for line in lines[1:] if json.loads(line).get("op", "").startswith("ir"))
    kept = [lines[0], *(line for line in lines[1:] if json.loads(line).get("op") != gone)]
    (run / "table.jsonl").write_text("".join(kept))
    assert_one_line(hwnas("fit", "--out", run), "lacks 1 of the 46 operators", gone, "run `hwnas profile --out RUN`")
    done = hwnas("fit", "--interpolate", "--out", run)
    assert done.returncode == 0, done.stderr
    assert "1 of 46 operators are guessed from the others" in done.stderr
    assert list(json.loads((run / "predictor.json").read_text())["doubts"]) == [gone]


def test_a_mistake_can_be_mended_in_the_same_run(hwnas, fitted, tmp_path):
    assert_one_line(hwnas("plan", *QUICK, "--data", "digit", "--out", tmp_path / "new"), "unknown data set")
    assert hwnas("plan", *QUICK, "--out", tmp_path / "new").returncode == 0
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    assert_one_line(hwnas("feasible", "--budget-ms", "1e-6", "--out", run), "nearest feasible --budget-ms")
    assert hwnas("feasible", "--budget-of-median", "0.5", "--out", run).returncode == 0
    assert_one_line(hwnas("feasible", "--budget-of-median", "0.7", "--out", run), "choose another --out")


def test_another_option_for_an_existing_run_is_refused(hwnas, fitted):
    done = hwnas("fit", "--seed", "7", "--out", fitted)
    assert_one_line(done, "--seed is 7 now but 0 in", "choose another --out")


def test_a_refused_option_brings_a_place_where_it_is_allowed(hwnas, fitted, tmp_path, monkeypatch):
    run = tmp_path / "default"
    shutil.copytree(fitted, run)
    (run / "supernet.pt").write_bytes(b"begun")
    other = ("plan", "--method", "fairnas")
    assert_one_line(hwnas(*other, "--out", run), f"give all options again, as {tmp_path / 'proxyless_small-fairnas'}")
    assert hwnas(*other, *QUICK, "--out", tmp_path / "proxyless_small-fairnas").returncode == 0
    assert_one_line(hwnas(*other, "--out", run), f"options again, as {tmp_path / 'proxyless_small-fairnas-2'}")
    assert_one_line(hwnas("plan", "--method", "magic", "--out", run), "--method is 'magic'; allowed are")
    monkeypatch.chdir(run)
    assert_one_line(hwnas(*other, "--out", "."), "again, as ../proxyless_small-fairnas-2")


def test_what_a_run_chose_is_taken_back_by_name(hwnas, tmp_path):
    run = ("plan", *QUICK, "--out", tmp_path / "run")
    assert hwnas(*run, "--objective", "latency", "--reward", "tunas-absolute").returncode == 0
    assert_one_line(hwnas(*run, "--reward", "hard"), "give mnasnet-soft or tunas-absolute, or --objective none")
    assert hwnas(*run, "--reward", "hard", "--objective", "none").returncode == 0
    assert hwnas(*run, "--method", "darts", "--latency-loss", "linear").returncode == 0
    assert_one_line(hwnas(*run, "--method", "spos"), "give --latency-loss adaptive, or take one of")
    assert hwnas(*run, "--method", "spos", "--latency-loss", "adaptive").returncode == 0


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--space", "mobilenet_v2"], "space is 'proxyless_small' there and 'mobilenet_v2' here"),
        (["--resolution", "48"], "resolution is '32' there and '48' here"),
        (["--on", "host_cpu1_litert_fp32"], "runtime is 'fake' there and 'litert' here"),
    ],
)
def test_a_table_of_something_else_is_refused(hwnas, fitted, tmp_path, options, difference):
    table = fitted / "table.jsonl"
    before = table.read_bytes()
    done = hwnas("plan", *options, "--width-mult", "0.25", "--table", table, "--out", tmp_path / "run")
    assert_one_line(done, difference)
    assert table.read_bytes() == before


def test_a_cut_off_table_is_completed(hwnas, fitted, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    whole = (run / "table.jsonl").read_bytes()
    last_row = whole.rindex(b'{"op"')  # the sentinel's line comes after it
    (run / "table.jsonl").write_bytes(whole[: last_row + 40])
    assert hwnas("profile", "--out", run).returncode == 0
    assert sorted((run / "table.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


def test_two_processes_on_one_run(hwnas, tmp_path):
    run = tmp_path / "run"
    with started("generate", *QUICK, "--out", run) as (first, stderr):
        assert "==" in stderr.readline()  # it holds the directory from here on
        done = hwnas("plan", "--out", run)
        first.kill()
    assert_one_line(done, "another process is working on")


def test_a_full_disk(tmp_path):
    """A limit on the size of files gives the same kind of error as a disk without space."""
    limit = "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    code = limit + "sys.argv[0] = 'hwnas'\nfrom hwnas.cli import main\nmain()"
    arguments = ["profile", *QUICK, "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20000
    assert_one_line(done)
    assert not list((tmp_path / "run").glob(".*tmp*"))


@pytest.mark.parametrize("place", ["/proc/hwnas", "/dev/null"])
def test_a_place_that_cannot_be_written(hwnas, place):
    done = hwnas("plan", "--out", place)
    assert_one_line(done, place)


def test_a_config_is_checked_as_a_whole(tmp_path):
    run = open_run(tmp_path, {"seed": 3})
    assert run.config == RunConfig(seed=3)
    assert open_run(tmp_path, {}).config.seed == 3
