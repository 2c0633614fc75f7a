"""The phone and the board of the tests do what the real clients, adb and ssh, expect of one."""

import os
import shlex
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from servers import AdbServer, Board, Phone, is_alive, marked, needs

pytestmark = pytest.mark.slow

LIMIT_S = 60
LARGE_BYTES = 20_000_000
LOST = {0, 255}  # of an adb whose phone is gone: up to 29 it says nothing of that, later ones do as ssh
WORDS = ["a b", "it's", '"q"', "$HOME `id` $(id)", "\\n", "", "*", "ä", "two\nlines", "-n", "~", "!"]


@dataclass(frozen=True)
class Remote:
    """A device, and the local command that runs one there but for its text."""

    device: Phone | Board
    client: list[str]

    @property
    def token(self) -> str:
        return self.device.token

    def run(self, text: str, given: bytes = b"") -> subprocess.CompletedProcess:
        return run([*self.client, text], self.device.environment, given)

    @contextmanager
    def started(self, text: str):
        """A client that has its input open."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen([*self.client, text], env={**os.environ, **self.device.environment}, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()


def run(command: list[str], environment: dict[str, str], given: bytes = b"") -> subprocess.CompletedProcess:
    everything = {**os.environ, **environment}
    return subprocess.run(command, env=everything, input=given, capture_output=True, timeout=LIMIT_S, check=False)


def over_ssh(board: Board) -> Remote:
    return Remote(board, ["ssh", "-o", "BatchMode=yes", board.address])


def over_adb(phone: Phone) -> Remote:
    return Remote(phone, ["adb", "-s", phone.serial, "shell", "-T"])


@pytest.fixture(autouse=True)
def unchosen(monkeypatch):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


@pytest.fixture
def phone(tmp_path):
    needs("adb")
    with Phone(tmp_path / "phone") as phone:
        yield phone


@pytest.fixture
def board(tmp_path):
    needs("ssh", "sshd", "ssh-keygen")
    with Board(tmp_path / "board") as board:
        yield board


@pytest.fixture(params=["adb", "ssh"])
def remote(request):
    if request.param == "adb":
        return over_adb(request.getfixturevalue("phone"))
    return over_ssh(request.getfixturevalue("board"))


def wait_until(holds, what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, f"not {what}"
        time.sleep(0.02)


def test_status_and_streams_are_those_of_the_command(remote):
    found = remote.run("echo out; echo err >&2; exit 7")
    assert (found.returncode, found.stdout, found.stderr) == (7, b"out\n", b"err\n")
    assert remote.run("no-such-program").returncode == 127


@pytest.mark.parametrize(("remote", "status"), [("adb", 128 + 9), ("ssh", 255)], indirect=["remote"])
def test_what_a_killed_command_is_to_each_client(remote, status):
    assert remote.run("kill -9 $$").returncode == status


def test_the_end_of_the_input_reaches_the_command(remote):
    found = remote.run("cat; echo ended", b"abc ")
    assert (found.returncode, found.stdout) == (0, b"abc ended\n")


def test_an_answer_comes_before_the_input_ends(remote):
    with remote.started("while read line; do echo got $line; done; exit 3") as client:
        for word in (b"one", b"two"):
            client.stdin.write(word + b"\n")
            client.stdin.flush()
            assert client.stdout.readline() == b"got " + word + b"\n"
        client.stdin.close()
        assert client.wait(LIMIT_S) == 3


def test_quoted_words_arrive_as_they_are(remote):
    found = remote.run(shlex.join(["printf", "%s\\0", *WORDS]))
    assert found.stdout.decode().split("\0") == [*WORDS, ""]


def test_large_data_arrives_as_it_is_both_ways_at_once(remote, tmp_path):
    data, copy = os.urandom(LARGE_BYTES), tmp_path / "the copy"
    assert remote.run(shlex.join(["tee", str(copy)]), data).stdout == data
    assert copy.read_bytes() == data
    assert remote.run(shlex.join(["cat", str(copy)])).stdout == data


def test_a_command_need_not_read_its_input(remote):
    found = remote.run("head -c 3; exit 5", b"abc" + bytes(LARGE_BYTES))
    assert (found.returncode, found.stdout) == (5, b"abc")


def test_several_commands_at_once(remote):
    given = [bytes([number]) * 1_000_000 for number in range(4)]
    with ThreadPoolExecutor() as pool:
        assert [each.stdout for each in pool.map(lambda data: remote.run("cat", data), given)] == given


def test_a_command_ends_with_its_client(remote):
    with remote.started("echo; cat; sleep 0") as client:
        client.stdout.readline()
        assert marked(remote.token)
        client.kill()
        wait_until(lambda: not marked(remote.token), "ended")


def test_without_reading_it_outlives_an_ssh_but_not_the_test(tmp_path):
    needs("ssh", "sshd", "ssh-keygen")
    with Board(tmp_path / "board") as board:
        with over_ssh(board).started("echo $$; exec sleep 1000") as client:
            pid = int(client.stdout.readline())
        time.sleep(0.5)
        assert is_alive(pid)
    assert not is_alive(pid)


@pytest.mark.parametrize("is_like_android", [False, True])
def test_what_a_hung_up_shell_had_started(tmp_path, is_like_android):
    needs("adb")
    with Phone(tmp_path / "phone", hangs_up_like_android=is_like_android) as phone:
        with over_adb(phone).started("sleep 1000 & echo $$ $!; wait") as client:
            shell, started = map(int, client.stdout.readline().split())
        wait_until(lambda: not is_alive(shell), "ended")
        if is_like_android:
            time.sleep(0.1)
            assert is_alive(started)
        else:
            wait_until(lambda: not is_alive(started), "ended")
    assert not is_alive(started)


def test_what_runs_in_the_background_outlives_its_shell_but_not_the_test(tmp_path):
    needs("adb")
    with Phone(tmp_path / "phone") as phone:
        found = over_adb(phone).run("sleep 1000 < /dev/null > /dev/null 2>&1 & echo $!")
        time.sleep(0.7)  # more than a hang-up takes
        assert is_alive(int(found.stdout))
    assert not is_alive(int(found.stdout))


def test_a_phone_has_its_own_programs_and_folder(tmp_path):
    needs("adb")
    program = tmp_path / "bin" / "getprop"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho Pixel $1\n")
    program.chmod(0o755)
    with Phone(tmp_path / "phone", {"PATH": f"{program.parent}:{os.defpath}"}) as phone:
        assert over_adb(phone).run("getprop ro.product.model").stdout == b"Pixel ro.product.model\n"
        assert over_adb(phone).run("pwd").stdout.decode().strip() == str(tmp_path / "phone")
        assert b"No such device" in over_adb(phone).run("cat /dev/stdin").stderr  # a socket, as on Android


def test_no_key_is_left_in_the_users_home(tmp_path, monkeypatch):
    needs("adb")
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    with Phone(tmp_path / "phone") as phone:
        assert over_adb(phone).run("true").returncode == 0
    assert list((tmp_path / "user").iterdir()) == []


@pytest.mark.parametrize("command", ["sleep 1000", "cat /dev/zero > /dev/null", "yes"])
def test_a_client_ends_when_its_phone_vanishes(phone, command):
    with over_adb(phone).started(f"echo; {command}") as client:
        client.stdout.readline()
        phone.vanish()
        client.stdout.read()
        assert client.wait(LIMIT_S) in LOST
    wait_until(lambda: not marked(phone.token), "ended")
    found = over_adb(phone).run("true")
    assert found.returncode == 1
    assert b"offline" in found.stderr or b"not found" in found.stderr
    phone.come_back()
    assert over_adb(phone).run("echo back").stdout == b"back\n"


def test_which_phones_adb_takes(tmp_path, phone):
    without_serial = ["adb", "shell", "-T", "true"]
    assert run(without_serial, phone.environment).returncode == 0
    assert b"device 'x' not found" in run(["adb", "-s", "x", *without_serial[1:]], phone.environment).stderr
    with Phone(tmp_path / "other", server=phone.server) as other:
        assert over_adb(other).run("pwd").stdout.decode().strip() == str(tmp_path / "other")
        assert b"more than one device" in run(without_serial, phone.environment).stderr
    with Phone(tmp_path / "third", server=phone.server, is_authorized=False) as third:
        assert b"device unauthorized" in over_adb(third).run("true").stderr
    with AdbServer() as server:
        assert b"no devices" in run(without_serial, server.environment).stderr


def test_a_board_has_its_own_home_and_environment(tmp_path):
    needs("ssh", "sshd", "ssh-keygen")
    with Board(tmp_path / "board", {"GREETING": "a b"}) as board:
        assert over_ssh(board).run('echo "$HOME $GREETING"').stdout.decode() == f"{board.home} a b\n"


def test_a_board_that_stops_and_starts(board):
    with over_ssh(board).started("echo; sleep 1000") as client:
        client.stdout.readline()
        board.stop()
        assert not marked(board.token)
        assert client.wait(LIMIT_S) == 255
    found = over_ssh(board).run("true")
    assert found.returncode == 255
    assert b"Connection refused" in found.stderr
    board.start()
    assert over_ssh(board).run("echo back").stdout == b"back\n"


def test_a_device_that_freezes_and_thaws(remote):
    with remote.started("cat") as client:
        client.stdin.write(b"a\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"a\n"
        remote.device.freeze()
        client.stdin.write(b"b\n")
        client.stdin.flush()
        with remote.started("echo late") as late:
            time.sleep(0.7)
            assert client.poll() is None
            assert late.poll() is None
            remote.device.thaw()
            assert client.stdout.readline() == b"b\n"
            assert late.stdout.read() == b"late\n"
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0


def test_a_client_waits_for_a_frozen_board_as_long_as_it_is_told(board):
    told = ["-o", "ConnectTimeout=1", "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"]
    remote = Remote(board, ["ssh", "-o", "BatchMode=yes", *told, board.address])
    with remote.started("echo; sleep 1000") as client:
        client.stdout.readline()
        board.freeze()
        late = remote.run("true")
        assert (late.returncode, client.wait(LIMIT_S)) == (255, 255)
        assert b"timed out" in late.stderr
        assert b"not responding" in client.stderr.read()


def test_keys_that_a_board_or_its_client_refuses(board):
    allowed, known = board.authorized_keys.read_text(), board.known_hosts.read_text()
    board.authorized_keys.write_text("")
    assert b"Permission denied (publickey)" in over_ssh(board).run("true").stderr
    board.authorized_keys.write_text(allowed)
    board.known_hosts.write_text("")
    assert b"Host key verification failed" in over_ssh(board).run("true").stderr
    board.known_hosts.write_text(f"{known.split()[0]} {' '.join(allowed.split())}\n")
    assert b"HOST IDENTIFICATION HAS CHANGED" in over_ssh(board).run("true").stderr
    board.known_hosts.write_text(known)
    assert over_ssh(board).run("true").returncode == 0


def test_what_is_missing_is_told():
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed: `make test-runtimes`"):
        needs("sh", "no-such-program")
