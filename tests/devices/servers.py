"""Devices for the real clients, on this machine: a phone for `adb` and a board for `ssh`.

The clients are those of a user's computer, so that exit statuses, quoting and messages are the true ones.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from adbd import Adbd

MARK = "HWNAS_TEST_DEVICE"  # in the environment of all that a device runs, so that nothing of it outlives the test
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # of daemons, which users may not have on their PATH
START_S = 30
SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
SetEnv {environment}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
PidFile none
"""
SSH = """\
Host board
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


def where(program: str) -> str | None:
    """The program's path. Daemons too, and by their whole path, as sshd demands."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS]))


def needs(*programs: str) -> None:
    """Skips the test where one of them is missing."""
    for program in programs:
        if where(program) is None:
            pytest.skip(f"{program} is not installed: `make test-runtimes` does that")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _parents() -> dict[int, int]:
    """Of every process that lives."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(folder.name)] = int(parent)
    return found


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    return pid in _parents()


def marked(token: str) -> set[int]:
    """The processes in whose environment MARK has this value."""
    entry, found = f"{MARK}={token}".encode(), set()
    for pid in _parents():
        with contextlib.suppress(OSError):
            if entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def family(pid: int) -> set[int]:
    """The process and all that it started."""
    parents = _parents()
    found, grown = set(), {pid} & set(parents)
    while grown:
        found |= grown
        grown = {each for each, parent in parents.items() if parent in grown}
    return found


def tell(pids: Iterable[int], number: signal.Signals) -> None:
    """Sends the signal to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def end(find: Callable[[], set[int]]) -> None:
    """Kills what is found, and what that starts meanwhile, and waits until it is gone."""
    ended, deadline = set[int](), time.monotonic() + START_S
    while (found := find()) or ended & set(_parents()):
        assert time.monotonic() < deadline, f"processes {found | ended} do not end"
        tell(found, signal.SIGKILL)
        ended |= found
        time.sleep(0.01)


class Server:
    """What every device here is: started and ended by `with`."""

    def start(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AdbServer(Server):
    """An adb server of the test's own: no other phones are attached to it, and the user's own server is left alone.

    environment: by which `adb` finds it.
    """

    def __init__(self) -> None:
        self.environment = {"ANDROID_ADB_SERVER_PORT": str(free_port())}
        self.folder = tempfile.TemporaryDirectory(prefix="hwnas_adb_")  # its key is made there, not in the user's home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        home = dict.fromkeys(("HOME", "ANDROID_SDK_HOME", "ANDROID_USER_HOME", "TMPDIR"), self.folder.name)
        alone = {"ADB_USB": "0", "ADB_MDNS": "0", "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553"}  # looks for nothing by itself
        with (Path(self.folder.name) / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["adb", "nodaemon", "server"],
                env={**os.environ, **self.environment, **home, **alone},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        port = int(self.environment["ANDROID_ADB_SERVER_PORT"])
        wait_for_port(port, self.process, Path(self.folder.name) / "log")

    def adb(self, *arguments: str) -> str:
        """What `adb ARGUMENTS` prints, stdout and stderr."""
        return subprocess.run(
            ["adb", *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_S,
            check=False,
        ).stdout.decode()

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the process accepts connections there."""
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, f"it ended with status {process.returncode}: {log.read_text()}"
        assert time.monotonic() < deadline, f"nothing listens on port {port}: {log.read_text()}"
        time.sleep(0.02)


class Phone(Server):
    """A phone that is attached to `server`, or to an adb server of its own.

    folder: where its commands run. environment: all that they get; by default the PATH of /bin/sh, and nothing else.
    is_authorized, hangs_up_like_android: as in Adbd.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        server: AdbServer | None = None,
        is_authorized: bool = True,
        hangs_up_like_android: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.token, self.own_server, self.server = secrets.token_hex(), server is None, server or AdbServer()
        self.folder, self.is_authorized = folder, is_authorized
        given = {"PATH": os.defpath, **(environment or {}), MARK: self.token}
        self.adbd = Adbd(folder, given, is_authorized, hangs_up_like_android)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.adbd.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a test sets, so that a plain `adb` finds the phone's server. ANDROID_SERIAL it must not set."""
        return dict(self.server.environment)

    def start(self) -> None:
        if self.own_server:
            self.server.start()
        self._connect()

    def _connect(self) -> None:
        said = self.server.adb("connect", self.serial)
        if self.is_authorized:
            assert said.startswith("connected to"), said
            self.server.adb("-s", self.serial, "wait-for-device")

    def vanish(self) -> None:
        """As an unplugged phone: every connection ends, and none is taken."""
        self.adbd.vanish()

    def freeze(self) -> None:
        """As a phone that hangs: its connections stay, and nothing answers."""
        self.adbd.awake.clear()
        tell(marked(self.token), signal.SIGSTOP)

    def thaw(self) -> None:
        tell(marked(self.token), signal.SIGCONT)
        self.adbd.awake.set()

    def come_back(self) -> None:
        self.adbd.listen()
        self.server.adb("disconnect", self.serial)  # which the server may still hold for one to wait for
        self._connect()

    def close(self) -> None:
        self.adbd.vanish()
        end(lambda: marked(self.token))
        self.adbd.close()
        if self.own_server:
            self.server.close()
        else:
            self.server.adb("disconnect", self.serial)


class Board(Server):
    """A board that runs sshd. Its commands run in the current user's login shell and home folder, as sshd has it.

    folder: for its keys, settings and log. HOME of its commands is `home` there, which is empty.
    environment: what its commands get besides, as PATH.
    address: what the product is given; only the `ssh` that comes first on PATH, by `environment`, knows it.
    known_hosts, authorized_keys: files that a test may spoil.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.home, self.token = folder, folder / "home", secrets.token_hex()
        self.given = {"HOME": str(self.home), **(environment or {}), MARK: self.token}
        self.address, self.port = f"{getpass.getuser()}@board", free_port()
        self.known_hosts, self.authorized_keys = folder / "known_hosts", folder / "authorized_keys"
        self.log = folder / "sshd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        self._write_files()

    def _write_files(self) -> None:
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.folder / name)]
            subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=START_S)
        shutil.copy(self.folder / "user_key.pub", self.authorized_keys)
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {(self.folder / 'host_key.pub').read_text()}")
        environment = " ".join(f'"{name}={value}"' for name, value in self.given.items())
        settings = {"port": self.port, "folder": self.folder, "environment": environment}
        (self.folder / "sshd_config").write_text(SSHD.format(**settings) + self._programs())
        (self.folder / "ssh_config").write_text(SSH.format(**settings))
        wrapper = self.folder / "bin" / "ssh"
        wrapper.parent.mkdir()
        wrapper.write_text(f'#!/bin/sh\nexec {where("ssh")} -F {self.folder}/ssh_config "$@"\n')
        wrapper.chmod(0o755)

    @staticmethod
    def _programs() -> str:
        """Since 9.8 sshd consists of several, which it looks for where it would be installed."""
        beside = Path(str(where("sshd"))).parents[1] / "lib/openssh"
        named = {"SshdSessionPath": beside / "sshd-session", "SshdAuthPath": beside / "sshd-auth"}
        return "".join(f"{key} {path}\n" for key, path in named.items() if path.exists())

    @property
    def environment(self) -> dict[str, str]:
        """What a test sets, so that a plain `ssh` knows the address."""
        return {"PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)])}

    def start(self) -> None:
        """Also after stop(): at the same address, with the same keys."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's sshd, as root, asks for it
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(where("sshd")), "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_port(self.port, self.process, self.log)

    def _all(self) -> set[int]:
        """sshd, its connections and their commands, and those whose connection has gone."""
        found = marked(self.token)
        if self.process is not None and self.process.poll() is None:
            found |= family(self.process.pid)
        return found

    def freeze(self) -> None:
        """As a board that hangs: its connections stay, and nothing answers."""
        assert self.process is not None, "the board is off"
        stopped = {self.process.pid}  # before it takes one more
        tell(stopped, signal.SIGSTOP)
        while running := self._all() - stopped:  # which may have started others meanwhile
            tell(running, signal.SIGSTOP)
            stopped |= running

    def thaw(self) -> None:
        tell(self._all(), signal.SIGCONT)

    def stop(self) -> None:
        """As a board that is reset: what it ran is gone, and clients see their connections end."""
        if self.process is None:
            return
        self.freeze()
        end(self._all)
        self.process.wait()
        self.process = None

    def close(self) -> None:
        self.stop()
