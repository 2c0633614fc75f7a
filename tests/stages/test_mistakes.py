"""A user's mistake is one clear line, exit status not 0, and nothing half-written."""

import json
import resource
import subprocess
import sys

import pytest
from conftest import QUICK, command

from hwnas.stages.run import RunConfig, open_run

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
        (["--confidence", "1"], ["--confidence is 1.0; allowed is a probability"]),
        (["--resolution", "9", "--space", "proxyless"], ["resolution 9 is smaller than the stride of proxyless, 8"]),
        (["--population", "1"], ["--population is 1; allowed is 2 or more"]),
        (["--optimizer", "lion"], ["--optimizer is 'lion'; allowed are sgd and adamw"]),
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
    assert_one_line(done, "thread: Extra inputs are not permitted", "Keys: device, runtime")


def test_a_stage_before_its_turn_names_the_one_to_run(hwnas, tmp_path):
    done = hwnas("search", *QUICK, "--out", tmp_path / "run")
    assert_one_line(done, "predictor.json is not there; run `hwnas fit")


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
    subprocess.run(["cp", "-r", str(fitted), str(run)], check=True)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"budget_of_median": None, "budget_ms": 1e-6}))
    done = hwnas("feasible", "--out", run)
    assert_one_line(done, "is below the smallest network's", "the nearest feasible budget is")
    assert not (run / "feasible.json").exists()
    nearest = done.stderr.split("nearest feasible budget is ")[1].split(" ms")[0]
    (run / "config.json").write_text(json.dumps(config | {"budget_of_median": None, "budget_ms": float(nearest)}))
    assert hwnas("feasible", "--out", run).returncode == 0


def test_a_mistake_can_be_mended_in_the_same_run(hwnas, fitted, tmp_path):
    assert_one_line(hwnas("plan", *QUICK, "--data", "digit", "--out", tmp_path / "new"), "unknown data set")
    assert hwnas("plan", *QUICK, "--out", tmp_path / "new").returncode == 0
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", str(fitted), str(run)], check=True)
    assert_one_line(hwnas("feasible", "--budget-ms", "1e-6", "--out", run), "nearest feasible budget")
    assert hwnas("feasible", "--budget-of-median", "0.5", "--out", run).returncode == 0
    assert_one_line(hwnas("feasible", "--budget-of-median", "0.7", "--out", run), "choose another --out")


def test_a_budget_is_asked_for_before_anything_runs(hwnas, tmp_path):
    assert_one_line(hwnas("generate", "--on", "fake", "--out", tmp_path / "run"), "no budget came")
    assert not (tmp_path / "run" / "images").exists()


def test_another_option_for_an_existing_run_is_refused(hwnas, fitted):
    done = hwnas("fit", "--seed", "7", "--out", fitted)
    assert_one_line(done, "--seed is 7 now but 0 in", "choose another --out")


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
    subprocess.run(["cp", "-r", str(fitted), str(run)], check=True)
    whole = (run / "table.jsonl").read_bytes()
    (run / "table.jsonl").write_bytes(whole[:-40])
    assert hwnas("profile", "--out", run).returncode == 0
    assert sorted((run / "table.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


def test_two_processes_on_one_run(hwnas, tmp_path):
    run = tmp_path / "run"
    first = subprocess.Popen(command("generate", *QUICK, "--out", run), stderr=subprocess.PIPE, text=True)
    assert "==" in first.stderr.readline()  # it holds the directory from here on
    done = hwnas("plan", "--out", run)
    first.kill()
    first.communicate()
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
