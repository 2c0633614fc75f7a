"""Boards and phones by the real ssh and adb: `make test-runtimes` installs what this needs."""

import sys
import tempfile
import time
from pathlib import Path

import pytest
from servers import AdbServer, Board, Phone, marked, needs

from hwnas.devices import RunConfig, load_profile, open_device
from hwnas.devices.remote import forget_connections
from hwnas.devices.transports import Adb, Ssh, run_there
from hwnas.errors import UserError
from hwnas.latency.profiler import build_model, identity, profile_space, rows_to_measure
from hwnas.latency.table import LatencyTable
from hwnas.spaces import SpaceConfig, build_space

pytestmark = pytest.mark.slow

QUICK = RunConfig(warmup_runs=1, runs=5, min_sample_ms=0.05)
SPACE = build_space(SpaceConfig("proxyless_small", 32, 10))
PROFILE = """
device: {device}
address: {address}
folder: {folder}
python: {python}
runtime: litert
dtype: fp32
threads: 1
timing: {{rounds: 2, max_rounds: 2, settle_pct: 100, quarantine_pct: 1000, sentinel_every: 0, warmup_runs: 1, runs: 3,
  min_sample_ms: 0, clock: thread_cpu, timeout_s: 10}}
"""
NO_PYTHON_OF_ITS_OWN = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.fixture(autouse=True)
def nothing_is_connected(monkeypatch):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    forget_connections()
    with tempfile.TemporaryDirectory() as folder:  # the tests' own is too deep for the name of a socket
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def board(tmp_path, monkeypatch):
    needs("ssh", "sshd", "ssh-keygen")
    with Board(tmp_path / "board", NO_PYTHON_OF_ITS_OWN) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def phone(tmp_path, monkeypatch):
    needs("adb")
    with Phone(tmp_path / "phone", NO_PYTHON_OF_ITS_OWN, hangs_up_like_android=True) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture(params=["ssh", "adb"])
def reached(request, tmp_path):
    """(profile, what it reaches)"""
    there = request.getfixturevalue("board" if request.param == "ssh" else "phone")
    address = there.address if request.param == "ssh" else there.serial
    return load_profile(written(tmp_path, request.param, address)), there


def written(tmp_path, device, address, python=sys.executable):
    path = tmp_path / f"{device}.yaml"
    folder = tmp_path / "kept"
    path.write_text(PROFILE.format(device=device, address=address, folder=folder, python=python))
    return str(path)


def test_a_whole_table_is_measured_there(reached, tmp_path):
    profile, _ = reached
    table = LatencyTable(tmp_path / "table.jsonl", identity(profile, open_device(profile), SPACE))
    profile_space(SPACE, profile, table)
    assert set(table) == set(rows_to_measure(SPACE))
    assert len(list((tmp_path / "kept/models").iterdir())) == len(table)


def test_memory_is_measured_there(reached, tmp_path):
    profile, _ = reached
    model = build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")
    found = open_device(profile).peak_memory(model, timeout_s=60)
    assert found.error == ""
    assert found.peak_mb > 0


def test_a_device_that_goes_and_comes_back(reached, tmp_path):
    profile, there = reached
    model = build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")
    go, come = (there.stop, there.start) if profile.device == "ssh" else (there.vanish, there.come_back)
    with open_device(profile).session() as session:
        assert not session.measure(model, QUICK).error
        go()
        start_s = time.monotonic()
        for _ in range(2):
            with pytest.raises(UserError, match=r"the connection to .* ended before `true` did"):
                session.measure(model, QUICK)
        assert time.monotonic() - start_s < 30
        come()
        assert session.measure(model, QUICK).error == ""


def test_a_device_that_is_gone_ends_the_sweep_and_the_next_one_goes_on(reached, tmp_path):
    profile, there = reached
    go, come = (there.stop, there.start) if profile.device == "ssh" else (there.vanish, there.come_back)
    told = identity(profile, open_device(profile), SPACE)
    table = LatencyTable(tmp_path / "table.jsonl", told)

    def progress(done, total, what):
        if len(table.journal.records) == 11:
            go()

    with pytest.raises(UserError, match=r"the connection to .* ended before `true` did") as caught:
        profile_space(SPACE, profile, table, progress=progress)
    assert "\n" not in str(caught.value)
    come()
    assert not any(map(table.failure, table))
    kept = list(table)
    assert kept
    again = LatencyTable(tmp_path / "table.jsonl", told)
    profile_space(SPACE, profile, again)
    assert set(again) == set(rows_to_measure(SPACE))
    assert all(again.rounds(key)[0] == table.rounds(key)[0] for key in kept if 0 in table.rounds(key))


def test_a_device_that_hangs_is_given_up_in_time(reached, tmp_path):
    profile, there = reached
    model = build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")
    with open_device(profile).session() as session:
        assert not session.measure(model, QUICK).error
        there.freeze()
        start_s = time.monotonic()
        found = session.measure(model, RunConfig(timeout_s=3))
        there.thaw()
        assert found.silence  # ssh ends by itself where nothing comes back
        assert time.monotonic() - start_s < 10
        session.renew()
        assert session.measure(model, QUICK).error == ""


def test_a_process_whose_connection_is_gone_ends_by_itself(reached, tmp_path):
    """It would disturb what is measured next."""
    profile, there = reached
    model = build_model(SPACE.ops((0,) * len(SPACE.decisions)), profile, tmp_path, "net")
    with open_device(profile).session() as session:
        session.measure(model, QUICK)
        assert measuring(there)
    deadline_s = time.monotonic() + 20
    while measuring(there):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def measuring(there):
    return [pid for pid in marked(there.token) if b"hwnas.ondevice.worker" in command_line(pid)]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda board: board.authorized_keys.write_text(""),
            r"Permission denied \(publickey\)\.; `ssh \S+@board true`",
        ),
        (lambda board: board.known_hosts.write_text(""), "Host key verification failed"),
        (lambda board: board.stop(), "Connection refused"),
    ],
)
def test_a_board_that_ssh_does_not_reach_is_one_line(board, spoil, message):
    spoil(board)
    with pytest.raises(UserError, match=message) as caught:
        Ssh(board.address).connect()
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


def test_commands_share_one_connection(board):
    transport = Ssh(board.address)
    transport.connect()
    for _ in range(3):
        assert run_there(transport, ["true"]).returncode == 0
    assert board.log.read_text().count("Accepted publickey") == 1


def test_no_phone_several_phones_and_one_that_does_not_trust_this_machine(tmp_path, monkeypatch):
    needs("adb")
    with AdbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match="no phone is connected"):
            Adb("").connect()
        with Phone(tmp_path / "one", server=server) as one:
            Adb("").connect()
            with Phone(tmp_path / "two", server=server) as two:
                with pytest.raises(UserError, match="2 phones are connected: "):
                    Adb("").connect()
                chosen = Adb(two.serial)
                chosen.connect()
                assert chosen.serial == two.serial
            with pytest.raises(UserError, match=f"the phone nobody is not connected; connected: {one.serial}"):
                Adb("nobody").connect()
        stranger = Phone(tmp_path / "three", server=server, is_authorized=False)
        with stranger, pytest.raises(UserError, match=r"is (unauthorized|offline|connecting|authorizing)"):
            Adb(stranger.serial).connect()
