"""What qemu-user needs, and what is said where it is missing. A script stands in for qemu: the host runs Python."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

from hwnas.errors import UserError
from hwnas.runtimes import RUNTIMES, arm64_linux, emulated
from hwnas.runtimes.arm64_linux import cache, linux, runtimes_for
from hwnas.runtimes.emulated import PROCESSORS, emulator, find_qemu
from hwnas.runtimes.runtime import NotRun
from hwnas.spaces.layers import Block, Conv, GlobalPool

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
HOST = f'shift 5; exec {sys.executable} "$@"'  # after `-cpu NAME -L FOLDER PYTHON`


def nothing_said(line):
    raise AssertionError(f"a download was announced: {line}")


@pytest.fixture
def arm_linux(tmp_path, monkeypatch):
    """A folder that looks like a Linux, and one for what would be downloaded."""
    root = tmp_path / "linux"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3").touch()
    (root / "proc").mkdir()
    monkeypatch.setenv(arm64_linux.FOLDER, str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return root


@pytest.fixture
def stand_in(tmp_path, monkeypatch, arm_linux):
    """Makes an emulator of a shell script, which gets the words that qemu would get."""

    @contextmanager
    def made(script, processors=("cortex-a53",)):
        program = tmp_path / "qemu"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(emulated, "find_qemu", lambda: str(program))
        monkeypatch.setattr(emulated, "runtimes_for", lambda python, versions, say: tmp_path / f"packages{python}")
        with emulator(processors, [], nothing_said) as arm:
            yield arm

    return made


@pytest.fixture
def model(tmp_path):
    """A file of one convolution."""
    weights = [(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32), np.zeros(4, np.float32))]
    path = tmp_path / "model.onnx"
    RUNTIMES["ort"].build([Block((Conv(3, 4, 3), GlobalPool(4)))], weights, (3, 8, 8), path)
    return path


def test_files_are_run_image_by_image_in_the_process_there(stand_in, model):
    here = RUNTIMES["ort"].load(model, 1)
    with stand_in(HOST) as arm:
        found = arm.logits("cortex-a53", "ort", model, IMAGES)
    assert np.ptp(found) > 0
    np.testing.assert_array_equal(found, np.concatenate([here.run(image[None]) for image in IMAGES]))


def test_a_processor_is_asked_for_with_a_linux_that_names_it(stand_in, arm_linux):
    with stand_in(f'cat "$4/proc/cpuinfo" >&2; ls "$4" >&2; echo "$2" >&2; {HOST}', tuple(PROCESSORS)) as arm:
        for name, processor in PROCESSORS.items():
            view = arm.views[name]
            assert f"CPU part\t: {processor.part}\n" in (view / "proc/cpuinfo").read_text()
            assert (view / "usr/bin/python3").exists()
        with pytest.raises(NotRun, match=PROCESSORS["cortex-a76"].cpu):
            arm.run("cortex-a76", ["-c", "raise SystemExit(3)"])
        version = arm.run("cortex-a76", ["-c", "import hwnas.runtimes; print(hwnas.runtimes.__file__)"])
    assert "/hwnas/runtimes/__init__.py" in version
    assert not (arm_linux / "proc/cpuinfo").exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            'case "$*" in *logits_worker*) echo "uncaught target signal 11" >&2; exit 139;; esac',
            "139: uncaught target",
        ),
        ('case "$*" in *logits_worker*) exit 0;; esac', "wrote no values"),
        ('case "$*" in *logits_worker*) exec sleep 60;; esac', "did not end within 1 s"),
    ],
)
def test_a_process_that_ends_without_values_is_named(stand_in, model, monkeypatch, script, why):
    with stand_in(f"{script}\n{HOST}") as arm:
        monkeypatch.setattr(emulated, "TIMEOUT_S", 1)
        with pytest.raises(NotRun, match=why):
            arm.logits("cortex-a53", "ort", model, IMAGES)


@pytest.mark.parametrize(
    ("script", "why"), [("echo 3 10", r"has Python 3\.10; 3\.11 or newer"), ("exit 1", "does not")]
)
def test_a_linux_whose_python_cannot_be_used_is_one_line(stand_in, script, why):
    with pytest.raises(UserError, match=why), stand_in(script):
        pass


def test_without_qemu_the_package_is_named(monkeypatch):
    monkeypatch.setattr(emulated.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"qemu-aarch64 is not installed.*apt install qemu-user-static"):
        find_qemu()


def test_without_a_linux_it_is_said_where_one_may_come_from(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(arm64_linux.shutil, "which", lambda name: None)
    monkeypatch.delenv(arm64_linux.FOLDER, raising=False)
    with pytest.raises(UserError, match=f"no apt-get.*name its root in {arm64_linux.FOLDER}"):
        linux(nothing_said)
    monkeypatch.setenv(arm64_linux.FOLDER, str(tmp_path))
    with pytest.raises(UserError, match=r"has no usr/bin/python3; name the root"):
        linux(nothing_said)


def test_sources_without_arm_packages_leave_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(arm64_linux.FOLDER, raising=False)
    monkeypatch.setattr(arm64_linux.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(arm64_linux, "_run", lambda command: "E: Unable to locate package python3")
    said = []
    with pytest.raises(UserError, match=r"have no python3 .*Unable to locate package python3.*unpack one"):
        linux(said.append)
    assert len(said) == 1
    assert not list(cache().iterdir())


def test_the_runtimes_of_this_host_are_asked_for_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(arm64_linux, "_run", lambda command: asked.append(command) or "")
    said = []
    folder = runtimes_for("3.11", [RUNTIMES["ort"].version()], said.append)
    assert folder == runtimes_for("3.11", [RUNTIMES["ort"].version()], nothing_said)
    assert folder.is_dir()
    assert len(asked) == len(said) == 1
    assert {RUNTIMES["ort"].version().replace(" ", "=="), f"numpy=={np.__version__}"} < set(asked[0])
    assert runtimes_for("3.12", [RUNTIMES["ort"].version()], said.append) != folder
    monkeypatch.setattr(arm64_linux, "_run", lambda command: "ERROR: no matching distribution")
    with pytest.raises(UserError, match=r"and Python 3\.13: ERROR: no matching distribution"):
        runtimes_for("3.13", [], said.append)
    assert len(list(cache().iterdir())) == 2
