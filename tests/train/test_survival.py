"""A training that is killed, that diverges or that several processes share ends as one that was left in peace."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_training import KINDS, in_doubles, interrupted_after_every_step, plain, result_of, training_of

from hwnas.errors import UserError
from hwnas.storage import Journal
from hwnas.train import Diverged, Recipe, load_checkpoint
from hwnas.train.batches import train_batches

SCRIPT = Path(__file__).with_name("shared_training.py")
QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def assert_same(mine, theirs, tolerance=0.0, where=""):
    """All the way down; tensors within a tolerance, relative to their largest number."""
    assert type(mine) is type(theirs), where
    if isinstance(mine, torch.Tensor):
        largest = max(1e-6, float(theirs[theirs.isfinite()].abs().max()) if theirs.isfinite().any() else 0.0)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * largest, msg=lambda m: f"{where}: {m}")
    elif isinstance(mine, dict | list | tuple):
        assert len(mine) == len(theirs), where
        keys = mine.keys() if isinstance(mine, dict) else range(len(mine))
        for key in keys:
            assert_same(mine[key], theirs[key], tolerance, f"{where}/{key}")
    elif isinstance(mine, float):
        assert mine == pytest.approx(theirs, rel=tolerance), where
    else:
        assert mine == theirs, where


def done(folder, kind):
    return torch.load(folder / kind / "done.pt", weights_only=True)


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    kinds = ("sandwich", "two_paths")
    arguments = [sys.executable, SCRIPT, "kill", tmp_path, ",".join(kinds), "0"]
    subprocess.run(arguments, env=QUIET, check=True, timeout=120)
    places = [place for kind in kinds for place in json.loads((tmp_path / f"{kind}.json").read_text())]
    assert any(step for _, step in places), f"no kill came within an epoch: {places}"
    for kind in kinds:
        assert_same(done(tmp_path / "part", kind), done(tmp_path / "whole", kind))
        left = {path.suffix for path in (tmp_path / "part" / kind).iterdir()}
        assert left == {".pt", ".jsonl"}  # and no half-written checkpoint


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_at_any_step_it_ends_with_the_same_bits(tmp_path, kind):
    whole, _ = training_of(kind, tmp_path / "whole")
    whole.run()

    def interrupted(part):
        assert load_checkpoint(part.checkpoint)["step"] in (0, 1, 2, 3)

    part, _ = interrupted_after_every_step(lambda: training_of(kind, tmp_path / "part"), interrupted)
    assert_same(result_of(part), result_of(whole))


def test_a_batch_is_the_same_without_those_before_it_and_in_parts(tmp_path):
    training = plain(tmp_path, Recipe(epochs=1, batch_size=16))
    arguments = (training.images, 16, True, 16, 3, 0)
    whole, later = list(train_batches(*arguments)), list(train_batches(*arguments, start=2))
    assert len(whole) == 4
    assert_same(later, whole[2:])


def prepared(tmp_path, **wrong):
    """A training of 4 steps an epoch whose layer `1` says inf in step 6, in the second epoch, or whose loss is huge."""
    training = plain(tmp_path, Recipe(epochs=3, batch_size=16, flip=False))
    training.checkpoint_every_s, training.lr_option = 1e-9, "--lr"

    def losses(images, labels, loss, step):
        broken = step == 5
        handle = training.module[1].register_forward_hook(
            lambda layer, inputs, output: output * float("inf") if broken and wrong.get("layer") else None,
            prepend=True,
        )
        yield loss(training.module(images), labels) * (1e5 if broken and wrong.get("loss") else 1.0)
        handle.remove()

    training.losses = losses
    return training


def test_divergence_names_step_and_layer_and_leaves_a_sound_checkpoint(tmp_path):
    with pytest.raises(Diverged) as caught:
        prepared(tmp_path, layer=True).run()
    message = str(caught.value)
    assert "diverged in step 2 of epoch 2, at a learning rate of 0.0" in message
    assert "the first output that is not finite is of 1; lower --lr, now 0.1, and run again" in message
    assert "plain.pt is of step 1 of epoch 2, before that" in message
    assert "\n" not in message
    state = load_checkpoint(tmp_path / "plain.pt")
    assert (state["epochs"], state["step"]) == (1, 1)
    assert all(value.isfinite().all() for value in state["module"].values())
    again, whole = prepared(tmp_path), prepared(tmp_path / "whole")
    again.run()
    whole.run()
    assert_same(result_of(again), result_of(whole))


def test_a_loss_that_explodes_ends_the_training_too(tmp_path):
    training = prepared(tmp_path, loss=True)
    training.checkpoint_every_s = 60.0
    with pytest.raises(Diverged, match=r"step 2 of epoch 2.*every layer's output is finite, the largest"):
        training.run()
    assert load_checkpoint(tmp_path / "plain.pt")["epochs"] == 1


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    training = plain(tmp_path, Recipe(epochs=2, batch_size=16, flip=False))
    step = training._step

    def spoilt(images, labels):
        loss = step(images, labels)
        with torch.no_grad():
            training.module[2].bias[0] = -torch.inf
        return loss

    training._step = spoilt
    with pytest.raises(Diverged, match=r"step 1 of epoch 1.*lower the learning rate"):
        training.run()
    assert not training.checkpoint.exists()


def test_an_unknown_number_of_processes_is_refused(tmp_path):
    training = plain(tmp_path, Recipe(epochs=1, batch_size=16))
    training.run()
    state = load_checkpoint(training.checkpoint)
    torch.save({**state, "processes": 2}, training.checkpoint)
    with pytest.raises(UserError, match=r"is of 2 processes, now there is 1; .*--processes-may-change"):
        plain(tmp_path, training.recipe).run()
    allowed = plain(tmp_path, training.recipe)
    allowed.processes_may_change = True
    allowed.run()
    assert len(Journal(training.journal).records) == 1
    torch.save({k: v for k, v in state.items() if k != "processes"}, training.checkpoint)
    with pytest.raises(UserError, match="of another version of hwnas"):
        plain(tmp_path, training.recipe).run()


def test_fewer_images_than_a_batch_are_named(tmp_path):
    with pytest.raises(UserError, match="64 images to train on are fewer than a batch of 65; lower --batch-size"):
        plain(tmp_path, Recipe(batch_size=65)).run()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_two_processes_train_as_one_does(tmp_path):
    """Dropout and weight average; paths, probabilities by gradient and by reward."""
    kinds = ("plain", "two_paths", "reinforce")
    common = {**QUIET, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    arguments = [sys.executable, SCRIPT, "train", tmp_path / "two", ",".join(kinds), "1"]
    ranks = [subprocess.Popen(arguments, env={**common, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(2)]
    assert [process.wait(120) for process in ranks] == [0, 0]
    for kind in kinds:
        one, chosen = training_of(kind, tmp_path / "one", epochs=1)
        in_doubles(one, chosen)
        one.run()
        two, expected = done(tmp_path / "two", kind), result_of(one)
        assert_same(two, expected, 1e-5)  # losses are of float32
        assert_same(two["module"], expected["module"], 1e-5 if kind == "two_paths" else 1e-9)
        for path in (tmp_path / "one").iterdir():
            path.unlink()


def torchrun(*arguments, **environment):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**QUIET, **{name: str(value) for name, value in environment.items()}}
    command += map(str, arguments)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_worker_that_dies_is_started_again(tmp_path):
    lost = torchrun("--max-restarts", 2, SCRIPT, "train", tmp_path / "lost", "sandwich", 2, DIES_AT=5)
    assert lost.returncode == 0, lost.stderr
    assert "-9" in lost.stderr
    whole = torchrun(SCRIPT, "train", tmp_path / "whole", "sandwich", 2)
    assert whole.returncode == 0, whole.stderr
    assert_same(done(tmp_path / "lost", "sandwich"), done(tmp_path / "whole", "sandwich"))


@contextlib.contextmanager
def machines(count, nodes, *arguments, **environment):
    """So many torchruns of a process each, as one starts on every machine; they meet at a store of this process."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{store.port}", "--local-addr", "127.0.0.1"]
    command += ["--rdzv-conf", "is_host=false,last_call_timeout=2", "--max-restarts", "2", *map(str, arguments)]
    environment = {**QUIET, **{name: str(value) for name, value in environment.items()}}
    started = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def first_that_ends(started, timeout_s):
    """The first that ends in peace, of processes of which others may be killed or stopped."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        for process in started:
            if process.poll() not in (None, -signal.SIGKILL):
                return process
        time.sleep(0.1)
    raise TimeoutError(f"none of {len(started)} ended within {timeout_s} s")


@pytest.mark.slow
def test_two_machines_train_as_two_processes_do(tmp_path):
    with machines(2, "2", SCRIPT, "train", tmp_path / "machines", "sandwich", 2) as both:
        assert [machine.wait(120) for machine in both] == [0, 0]
    processes = torchrun(SCRIPT, "train", tmp_path / "processes", "sandwich", 2)
    assert processes.returncode == 0, processes.stderr
    assert_same(done(tmp_path / "machines", "sandwich"), done(tmp_path / "processes", "sandwich"))


@pytest.mark.slow
@pytest.mark.parametrize("silently", [False, True], ids=["killed", "silent"])
def test_the_others_go_on_without_a_machine_that_is_lost(tmp_path, silently):
    lost = {"DIES_AT": 5, "WITH_ITS_MACHINE": 1, "PROCESSES_MAY_CHANGE": 1}
    if silently:
        lost |= {"SILENTLY": tmp_path / "stopped", "LOST_AFTER_S": 15}
    with machines(2, "1:2", SCRIPT, "train", tmp_path / "lost", "sandwich", 2, **lost) as both:
        assert first_that_ends(both, 180).returncode == 0
    if silently:
        os.kill(int((tmp_path / "stopped").read_text()), signal.SIGKILL)
    alone, _ = training_of("sandwich", tmp_path / "alone")
    in_doubles(alone, None)
    alone.run()
    left, whole = done(tmp_path / "lost", "sandwich"), result_of(alone)
    assert_same(left["module"], whole["module"], 1e-9)
    assert [record["epoch"] for record in left["journal"]] == [1, 2]


def test_dropout_and_batches_differ_between_steps(tmp_path):
    """Else equality above would be of no randomness at all."""
    training = plain(tmp_path, Recipe(epochs=1, batch_size=16, flip=False))
    batches = [images for images, _ in train_batches(training.images, 16, False, 16, 3, 0)]
    assert not any(torch.equal(batches[0], other) for other in batches[1:])
    assert len(np.unique([float(batch.float().mean()) for batch in batches])) == 4
