"""Several processes on the command line: one line for what they cannot do, and one run directory for what they can."""

import os
import shutil
import subprocess
import sys

import pytest
from quick import QUICK

from hwnas import cli
from hwnas.errors import UserError
from hwnas.stages.config import RunConfig
from hwnas.stages.run import Run
from hwnas.stages.search import shared
from hwnas.storage import Journal, read_json
from hwnas.train import Judged


def test_stages_of_one_process_say_so(hwnas, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = hwnas("plan", *QUICK, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr == "hwnas: `hwnas plan` is for one process; torchrun is for search and train\n"


def test_of_several_processes_one_says_what_all_find_and_each_what_it_is_alone_with(hwnas, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for own in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", own)
        done = hwnas("plan", *QUICK, "--out", tmp_path / "run")
        assert (done.returncode, done.stderr.count("is for one process")) == (1, 1)
    assert waited == [cli.PATIENCE_S]  # of the second one, which torchrun ends meanwhile


@pytest.mark.slow
def test_a_mistake_is_one_line_for_all_processes(tmp_path):
    done = torchrun("search", *QUICK, "--method", "magic", "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.count("--method is 'magic'") == 1, done.stderr


def test_more_processes_than_gpus_are_named(monkeypatch):
    from hwnas import ranks

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with (
        pytest.raises(UserError, match="process 1 of this machine finds 1 GPUs; start --nproc-per-node 1"),
        ranks.joined(),
    ):
        pass


def test_a_smaller_batch_is_told(hwnas, tmp_path, capsys):
    run = Run(tmp_path, RunConfig(width_mult=0.25, batch_size=2000))
    recipe = run.recipe(1, None, run.splits())
    assert recipe.batch_size < 2000
    told = f"there are {recipe.batch_size} images to train on, fewer than --batch-size 2000: a batch has"
    assert told in capsys.readouterr().err


def test_accuracies_come_in_the_order_of_the_architectures():
    judged = list(shared(lambda arch: Judged(arch[0] / 4, arch[0] / 8))([(3,), (1,), (2,)]))
    assert judged == [Judged(0.75, 0.375), Judged(0.25, 0.125), Judged(0.5, 0.25)]


def test_a_learning_rate_may_be_lowered_until_candidates_are_evaluated(hwnas, tmp_path):
    run = tmp_path / "run"
    assert hwnas("plan", *QUICK, "--out", run).returncode == 0
    (run / "supernet.pt").write_bytes(b"begun")
    assert hwnas("plan", "--supernet-lr", "0.01", "--out", run).returncode == 0
    (run / "trials.jsonl").write_text("")
    done = hwnas("plan", "--supernet-lr", "0.02", "--out", run)
    assert "--supernet-lr is 0.02 now but 0.01" in done.stderr


@pytest.mark.slow
def test_two_processes_search_and_train(hwnas, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for stage in ("plan", "profile", "fit", "feasible"):
        assert hwnas(stage, *QUICK, "--supernet-epochs", "2", "--out", one).returncode == 0
    shutil.copytree(one, two)
    assert hwnas("search", "--out", one).returncode == 0
    done = torchrun("search", "--finalists", "2", "--out", two)
    assert done.returncode == 0, done.stderr
    finalists = read_json(two / "front.json")["finalists"]["networks"]
    assert finalists == sorted(finalists, key=lambda f: f["alone"]["likelihood"], reverse=True)
    assert done.stderr.count("of them by the super-network") == 1
    mine, theirs = (Journal(run / "trials.jsonl").records for run in (two, one))
    assert [t["strategy"] for t in mine] == [t["strategy"] for t in theirs]
    assert [t["arch"] for t in mine[:8]] == [t["arch"] for t in theirs[:8]]  # random ones do not depend on accuracies
    epochs = [Journal(run / "supernet.jsonl").records for run in (two, one)]
    assert [e["epoch"] for e in epochs[0]] == [1, 2]
    # float32 makes them drift apart, as docs/scale_out.md says
    assert [e["loss"] for e in epochs[0]] == pytest.approx([e["loss"] for e in epochs[1]], rel=0.2)
    refused = hwnas("search", "--out", two)
    assert refused.returncode == 1
    assert "supernet.pt is of 2 processes, now there is 1; start as many as before" in refused.stderr
    done = hwnas("trust", "--rank-networks", "3", "--rank-epochs", "1", "--out", two)  # trains nothing of the search
    assert done.returncode == 0, done.stderr
    assert hwnas("search", "--processes-may-change", "--out", two).returncode == 0
    assert hwnas("select", "--out", two).returncode == 0
    done = torchrun("train", "--out", two)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("winner: test accuracy") == 1


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hwnas"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    command += map(str, arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)
