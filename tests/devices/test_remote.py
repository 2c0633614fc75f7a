"""Boards and phones: what is sent there, what they say they are, and what a lost connection leaves."""

import json
import os
import subprocess
import sys
import threading
import time
from importlib import metadata

import pytest

from hwnas.devices import RunConfig, load_profile, open_device
from hwnas.devices.carried import CODE
from hwnas.devices.remote import RECONNECT_S, forget_connections
from hwnas.devices.transports import Adb, Ssh, chosen_phone, phones, run_there
from hwnas.errors import UserError
from hwnas.latency.profiler import build_model, identity
from hwnas.ondevice import worker
from hwnas.ondevice.facts import conditions_of, cores, facts, usable_cpus
from hwnas.spaces import SpaceConfig, build_space

QUICK = RunConfig(warmup_runs=1, runs=5, min_sample_ms=0.05)
SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
KINDS = ["ssh", "adb"]


@pytest.fixture(params=KINDS)
def device(request, elsewhere):
    return open_device(load_profile(elsewhere.profile(request.param)))


@pytest.fixture
def model(tmp_path):
    profile = load_profile("host_cpu1_litert_fp32")
    return build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")


def models_there(elsewhere):
    return sorted(path.name for path in elsewhere.home.rglob("*.tflite"))


def test_a_phone_says_what_it_is(elsewhere):
    profile = load_profile(elsewhere.profile("adb"))
    told = identity(profile, open_device(profile), SPACE)
    assert (told["device"], told["soc"], told["os"]) == ("Fairphone FP5", "QTI QCM6490", "Android 14")
    assert told["runtime_version"].startswith("ai-edge-litert ")
    usable = usable_cpus()
    assert told["cpus"] == (f"core {usable[-1]}" if usable else "not pinned")


def test_a_board_says_what_it_is(elsewhere):
    told = open_device(load_profile(elsewhere.profile("ssh"))).describe()
    assert told["os"].startswith("Linux ")
    assert told["device"] != "host"


def test_a_device_that_does_not_pin_has_cores_all_the_same(device, monkeypatch):
    assert device.most_threads() == cores()
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on a Mac; what is asked is this host itself
    assert facts("litert") | {"cpus": [], "cores": os.cpu_count()} == facts("litert")


def test_a_model_is_sent_once_and_measured_by_another_process_each_round(device, model, elsewhere):
    with device.session() as session:
        first = session.measure(model, QUICK)
        sent = next(elsewhere.home.rglob("*.tflite"))
        inode = sent.stat().st_ino
        session.renew()
        second = session.measure(model, QUICK)
    assert (first.error, second.error) == ("", "")
    assert len(first.times_ms) == QUICK.runs
    assert sent.read_bytes() == model.read_bytes()
    assert models_there(elsewhere) == [f"{worker.digest(model.read_bytes())}.tflite"]
    assert sent.stat().st_ino == inode


def test_another_content_under_the_same_name_is_another_file(device, model, elsewhere):
    with device.session() as session:
        assert not session.measure(model, QUICK).error
        build_model(SPACE.ops((1,) * len(SPACE.decisions)), device.profile, model.parent, model.stem)
        assert not session.measure(model, QUICK).error
    assert len(models_there(elsewhere)) == 2


def test_the_code_is_sent_once_and_is_enough(device, elsewhere):
    """Python there runs in another folder, with no hwnas of its own: an import that is missing would end it."""
    device.describe()
    [code] = elsewhere.home.rglob("code-*")
    assert {path.name for path in (code / "hwnas").iterdir()} - {"__pycache__"} == set(CODE)
    inode = code.stat().st_ino
    forget_connections()
    device.describe()
    assert [path.stat().st_ino for path in elsewhere.home.rglob("code-*")] == [inode]


@pytest.mark.parametrize("module", ["worker", "memory", "facts", "timing"])
def test_what_runs_there_imports_nothing_but_numpy_yaml_and_the_runtime(elsewhere, module):
    open_device(load_profile(elsewhere.profile("ssh"))).describe()
    [code] = elsewhere.home.rglob("code-*")
    absent = ["pydantic", "torch", "typer", "rich", "onnx", "sklearn", "optuna"]
    lines = [f"sys.modules[{name!r}] = None" for name in absent]
    text = "\n".join(
        ["import sys", *lines, f"import hwnas.ondevice.{module} as m", f"assert {str(code)!r} in m.__file__"]
    )
    environment = {**os.environ, "PYTHONPATH": str(code)}
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=elsewhere.home)
    assert done.returncode == 0, done.stderr


def test_a_transfer_that_was_cut_leaves_nothing_that_counts(elsewhere, model):
    device = open_device(load_profile(elsewhere.profile("ssh")))
    elsewhere.program(
        "ssh",
        (elsewhere.programs / "ssh")
        .read_text()
        .replace("exec sh", 'case "$last" in *tar*) head -c 9999 >/dev/null; exit 255;; esac\nexec sh'),
    )
    with pytest.raises(UserError, match=r"the connection to ssh pi@board ended before `tar -x -f` did: "):
        device.describe()
    assert [path.suffix for path in elsewhere.home.rglob("code-*")] == [".part"]


def test_a_connection_that_is_lost_for_a_moment_costs_nothing(device, model, elsewhere):
    with device.session() as session:
        elsewhere.cut()
        threading.Timer(RECONNECT_S / 2, elsewhere.restore).start()
        assert session.measure(model, QUICK).error == ""


def test_a_connection_that_is_lost_is_no_fault_of_the_model_and_the_next_one_measures(
    device, model, elsewhere, monkeypatch
):
    monkeypatch.setattr("hwnas.devices.remote.RECONNECT_S", 0)
    with device.session() as session:
        assert not session.measure(model, QUICK).error
        elsewhere.cut()
        session.renew()
        with pytest.raises(
            UserError, match=r"ended before `true` did: .*(No route to host|not found).*; see to the device"
        ):
            session.measure(model, QUICK)
        elsewhere.restore()
        assert not session.measure(model, QUICK).error


def test_a_model_that_ends_the_process_there_is_a_value(elsewhere, model, monkeypatch):
    monkeypatch.setattr("hwnas.devices.remote.RECONNECT_S", 0)
    device = open_device(load_profile(elsewhere.profile("ssh")))
    device.describe()
    ends = [sys.executable, "-c", "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"]
    command = Ssh.command
    monkeypatch.setattr(Ssh, "command", lambda self, a: ends if "hwnas.ondevice.worker" in a else command(self, a))
    with device.session() as session:
        found = session.measure(model, QUICK)
    assert (found.times_ms, found.silence) == ((), "ended the measuring process")
    assert "ended with status -9 on net.tflite" in found.error


def test_a_device_that_takes_no_bytes_is_given_up_in_time(elsewhere, model, monkeypatch):
    """As one that froze: what is sent to it fills the pipe, and then waits."""
    device = open_device(load_profile(elsewhere.profile("ssh")))
    device.describe()
    answers = "import sys, time\nsys.stdin.readline()\nprint('{\"there\": false}', flush=True)\ntime.sleep(60)"
    monkeypatch.setattr("hwnas.devices.remote.MODEL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(Ssh, "command", lambda self, arguments: [sys.executable, "-c", answers])
    start_s = time.monotonic()
    with device.session() as session:
        found = session.measure(model, QUICK)
    assert "net.tflite did not answer within 0.5 s while it was sent" in found.error
    assert found.silence == "did not answer in time"
    assert time.monotonic() - start_s < 10


def test_a_full_device_is_no_fault_of_the_model(elsewhere, model):
    device = open_device(load_profile(elsewhere.profile("ssh")))
    device.describe()
    (elsewhere.home / ".cache/hwnas/models").write_text("no folder")
    with device.session() as session, pytest.raises(UserError, match=r"ssh pi@board could not keep net\.tflite: "):
        session.measure(model, QUICK)


def test_memory_is_measured_there(device, model, elsewhere):
    found = device.peak_memory(model, timeout_s=60)
    assert found.error == ""
    assert found.peak_mb > 0
    assert found.load_ms > 0
    elsewhere.cut()  # which says nothing of the model
    with pytest.raises(UserError, match=r"net\.tflite could not be sent to .*: the connection ended with status"):
        device.peak_memory(model, timeout_s=60)


def test_conditions_are_asked_anew(elsewhere):
    profile = load_profile(elsewhere.profile("ssh", more="timing: {max_temperature_c: 70}\n"))
    assert set(open_device(profile).conditions()) <= {"temperature_c", "frequency_share"}
    assert profile.timing.gates() == ["max_temperature_c"]


def test_cores_that_the_device_lacks_are_an_error(elsewhere):
    profile = load_profile(elsewhere.profile("ssh", more="affinity: [4711]\n"))
    with pytest.raises(UserError, match=r"pins to cores \[4711\], this process may use"):
        open_device(profile).describe()


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("python0", r"python0 does not run on ssh pi@board: .*not found; hwnas needs Python 3\.11 or newer there"),
        ("OLD", r"is Python 3\.8; hwnas needs Python 3\.11"),
        ("BARE", r"does not run what measures: ModuleNotFoundError: .*numpy.*; it needs numpy, PyYAML"),
        ("STRANGE", r"answered 'hello\\n' when it was asked what it is"),
        ("carried", r"ssh pi@board is \w+, and the Python that hwnas brings is for arm64; name one"),
    ],
)
def test_a_python_that_does_not_do_is_one_line(elsewhere, python, message):
    if python.isupper():
        does = {
            "OLD": "echo 3 8",
            "BARE": f'case "$1" in -c) echo 3 11;; *) exec {sys.executable} -S "$@";; esac',
            "STRANGE": 'case "$1" in -c) echo 3 11;; *) echo hello;; esac',
        }
        elsewhere.there(python, f"#!/bin/sh\n{does[python]}\n")
        python = f"{elsewhere.home}/bin/{python}"
    if python == "carried" and os.uname().machine in ("aarch64", "arm64"):
        pytest.skip("this machine is arm64")
    with pytest.raises(UserError, match=message) as caught:
        open_device(load_profile(elsewhere.profile("ssh", python=python))).describe()
    assert "\n" not in str(caught.value)


def test_a_runtime_that_the_device_lacks_is_told(elsewhere, monkeypatch):
    def lacking(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", lacking)
    found = facts("ort")
    assert found["runtime_version"] == ""
    monkeypatch.setattr("hwnas.devices.remote.asked", lambda *arguments: found)
    with pytest.raises(UserError, match="ssh pi@board: ONNX Runtime is not installed; `pip install onnxruntime"):
        open_device(load_profile(elsewhere.profile("ssh", runtime="ort"))).runtime_version()


def test_an_address_that_does_not_answer_is_one_line(elsewhere):
    elsewhere.cut()
    with pytest.raises(UserError, match=r"ssh pi@board could not be reached: .*No route to host; `ssh pi@"):
        open_device(load_profile(elsewhere.profile("ssh"))).describe()


@pytest.mark.parametrize("program", KINDS)
def test_a_program_that_is_not_installed_is_named(elsewhere, monkeypatch, program):
    monkeypatch.setenv("PATH", str(elsewhere.home))
    with pytest.raises(UserError, match=f"`{program}` is not installed"):
        open_device(load_profile(elsewhere.profile(program))).describe()


@pytest.mark.parametrize(
    ("states", "wanted", "found"),
    [
        ({"a": "device"}, "", "a"),
        ({"a": "offline", "b": "device"}, "", "b"),
        ({"a": "device", "b": "device"}, "b", "b"),
        ({}, "", "no phone is connected"),
        ({}, "a", "no phone is connected"),
        ({"a": "device"}, "c", r"the phone c is not connected; connected: a \(device\)"),
        ({"a": "device", "b": "device"}, "", r"2 phones are connected: a \(device\), b \(device\); name one"),
        ({"a": "unauthorized"}, "", "the phone a is unauthorized: unlock it and allow USB debugging"),
        ({"a": "no permissions (user in plugdev group)"}, "", "a is no permissions .*udev"),
        ({"a": "offline", "b": "device"}, "a", "the phone a is offline: plug it in anew"),
        ({"a": "recovery"}, "a", "the phone a is recovery: see `adb devices`"),
    ],
)
def test_which_phone_is_meant(states, wanted, found):
    if found in states:
        assert chosen_phone(states, wanted) == found
        return
    with pytest.raises(UserError, match=found):
        chosen_phone(states, wanted)


def test_the_list_of_phones_is_read_as_adb_prints_it():
    listed = (
        "* daemon started successfully\nList of devices attached\nFP5\tdevice\n10.0.0.2:5555\tno permissions; see\n\n"
    )
    assert phones(listed) == {"FP5": "device", "10.0.0.2:5555": "no permissions; see"}


def test_the_serial_number_of_the_environment_counts(elsewhere, monkeypatch):
    elsewhere.phones(A="device", B="device")
    monkeypatch.setenv("ANDROID_SERIAL", "B")
    adb = Adb("")
    adb.connect()
    assert adb.command(["true"])[:3] == ["adb", "-s", "B"]


@pytest.mark.parametrize("transport", [Ssh("pi@board"), Adb("FP5")], ids=KINDS)
def test_arguments_arrive_as_they_are(elsewhere, transport):
    given = ["a b", "it's", '"', "$HOME", "`id`", "*", "", "-x", "ä\\n"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    done = run_there(transport, [sys.executable, "-c", code, *given])
    assert json.loads(done.stdout) == given


def test_a_command_that_does_not_end_is_one_line(elsewhere):
    with pytest.raises(UserError, match=r"ssh pi@board did not end `sleep 60` within 0\.2 s"):
        run_there(Ssh("pi@board"), ["sleep", "60"], timeout_s=0.2)


def test_files_that_were_not_used_for_longest_make_room(tmp_path, monkeypatch):
    contents = [bytes([number]) * 100 for number in range(4)]
    paths = [tmp_path / f"{worker.digest(content)}.tflite" for content in contents]
    monkeypatch.setattr(worker, "MOST_KEPT_BYTES", 350)
    for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
        worker._filed({"file": str(path)}, content)
        os.utime(path, (number, number))
        if number == 2:
            assert worker._filed({"file": str(paths[0])}, None) == {"there": True}  # the first is used again
    assert set(tmp_path.iterdir()) == {paths[0], paths[2], paths[3]}


def test_bytes_that_are_not_what_the_name_says_are_refused(tmp_path):
    with pytest.raises(ValueError, match="5 bytes came for"):
        worker._filed({"file": str(tmp_path / f"{worker.digest(b'other')}.tflite")}, b"these")
    assert list(tmp_path.iterdir()) == []


def test_a_hanging_model_ends_its_process_where_nobody_can_reach_it(tmp_path, monkeypatch):
    """The connection may be gone, and with it whoever would kill it; it would disturb all that is measured later."""
    code = (
        "import io, sys, time\nfrom hwnas.ondevice import worker\nworker.GRACE_S = 0.1\n"
        "class Hangs:\n  def load(self, path, threads): time.sleep(60)\n"
        "worker.RUNTIMES['litert'] = Hangs()\n"
        "config = '{\"timeout_s\": 0.1}'\n"
        "worker.serve('litert', 1, io.BytesIO(b'{\"model\": \"m\", \"config\": ' + config.encode() + b'}'), sys.stdout)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    assert done.returncode == -14  # SIGALRM


def test_files_that_hwnas_did_not_bring_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "MOST_KEPT_BYTES", 10)
    own = tmp_path / "thesis.bin"
    own.write_bytes(bytes(100))
    content = b"twelve bytes"
    worker._filed({"file": str(tmp_path / f"{worker.digest(content)}.tflite")}, content)
    assert own.exists()


def test_several_that_send_at_once_do_not_mix(elsewhere):
    """And those that were killed while they sent are in nobody's way."""
    path = elsewhere.profile("ssh")
    device = open_device(load_profile(path))
    code = f"from hwnas.devices import *; print(open_device(load_profile({path!r})).runtime_version())"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    told = {process.communicate(timeout=60)[0].decode().strip() for process in started}
    assert told == {device.runtime_version()}
    [found] = [path for path in elsewhere.home.rglob("code-*") if path.suffix != ".part"]
    assert (found / "hwnas/ondevice/worker.py").exists()
    assert not (found / found.name).exists()


def test_a_shell_that_prints_is_told(elsewhere):
    elsewhere.program("ssh", (elsewhere.programs / "ssh").read_text().replace("exec sh", "echo Welcome\nexec sh"))
    with pytest.raises(UserError, match="the shell of ssh pi@board prints 'Welcome' before anything else"):
        open_device(load_profile(elsewhere.profile("ssh"))).describe()


def test_both_runtimes_are_measured_on_the_same_phone(elsewhere):
    """Of several that were plugged in one after the other."""
    open_device(load_profile(elsewhere.profile("adb"))).describe()
    elsewhere.phones(OTHER="device")
    assert open_device(load_profile(elsewhere.profile("adb", runtime="ort")))._connection.transport.name == "adb FP5"


@pytest.mark.parametrize("module", ["hwnas.ondevice.memory", "hwnas.runtimes.logits_worker"])
def test_what_hangs_there_ends_by_itself(tmp_path, module):
    (tmp_path / "x.npy").touch()
    hangs = "import sys, runpy, time\nfrom hwnas.runtimes.litert import LiteRT\n"
    hangs += "LiteRT.load = lambda *arguments, **named: time.sleep(60)"
    arguments = [
        "litert",
        *(["1"] if "memory" in module else []),
        "model",
        *([] if "memory" in module else ["x"]),
        "0.2",
    ]
    hangs += f"\nsys.argv = ['x', *{arguments}]\nrunpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", hangs], capture_output=True, timeout=30, check=False)
    assert done.returncode == -14  # SIGALRM


def test_conditions_that_are_no_numbers_are_none(tmp_path):
    folder = tmp_path / "devices/system/cpu/cpu0/cpufreq"
    folder.mkdir(parents=True)
    for now, highest in (("<unknown>", "2000000"), ("1000", "0")):
        (folder / "scaling_cur_freq").write_text(now)
        (folder / "cpuinfo_max_freq").write_text(highest)
        assert conditions_of(tmp_path, [0]) == {}


def test_what_a_killed_process_left_yesterday_goes_and_nothing_else(elsewhere):
    folder = elsewhere.home / ".cache/hwnas"
    left, sending = (folder / f"code-{12 * '0'}.{8 * letter}.part" for letter in "ab")
    own = folder / "film.part"
    for each in (left, sending, own):
        each.mkdir(parents=True)
        (each / "file").touch()
    for each in (left, own):
        os.utime(each, (0, 0))
    open_device(load_profile(elsewhere.profile("ssh"))).describe()
    assert [each.exists() for each in (left, sending, own)] == [False, True, True]
