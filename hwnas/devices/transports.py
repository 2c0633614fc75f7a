"""How a command gets to another machine: its argument list there becomes one for here."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar, Protocol

from hwnas.errors import UserError, last_line

CARRIED = "carried"  # for `python` in a profile: the one that hwnas brings
TIMEOUT_S = 60.0  # of a command that does nothing of weight
SHARED_S = 300  # how long a connection that nobody uses stays open for the next command
LONGEST_SOCKET_FOLDER = 48  # bytes: with a hash of 40 letters, and what ssh appends, the system's limit is 108
ENDED = "\nhwnas: ended with status "
TOLD_STATUS = f"\"$@\"; status=$?; echo; echo '{ENDED.strip()}' $status"  # the command stands behind, word by word
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")  # what needs no quotes in ssh's settings
READY = "device"  # how adb tells a phone that is there and trusts this machine
REASONS = {  # of what else adb tells
    "unauthorized": "unlock it and allow USB debugging",
    "offline": "plug it in anew",
    "no permissions": "this user may not use it: see adb's udev rules",
}


class Transport(Protocol):
    """A way to run commands on one device; standard input and output reach as far, and the exit status comes back."""

    python: ClassVar[str]  # what runs hwnas there, where a profile names none: a program, or CARRIED
    name: str  # "ssh pi@board", as complaints tell it
    folder: str  # where files of hwnas may be there

    def connect(self) -> None:
        """UserError where the device is not there, or there is no saying which one is meant."""
        ...

    def command(self, arguments: Sequence[str]) -> list[str]:
        """What to run here, so that this runs there. A shell is in between: each argument is quoted for it."""
        ...


def run_there(
    transport: Transport, arguments: Sequence[str], timeout_s: float = TIMEOUT_S, source: IO[bytes] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command on the device, to its end; UserError where it does not end in time, or the connection does before.

    The device says how it ended: adb's own status is 0 where the phone was unplugged meanwhile, and 1 for mistakes too.
    """
    try:
        done = subprocess.run(
            transport.command(["sh", "-c", TOLD_STATUS, "sh", *arguments]),
            stdin=source or subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{transport.name} did not end {shown_command(arguments)} within {timeout_s:g} s; see to the device, then "
            "run the same command again"
        ) from None
    said, _, status = done.stdout.rstrip("\n").rpartition(ENDED)
    if not status.isdigit():
        raise UserError(
            f"the connection to {transport.name} ended before {shown_command(arguments)} did: {last_words(done)}; see "
            "to the device, then run the same command again"
        )
    return subprocess.CompletedProcess(arguments, int(status), said, done.stderr)


def shown_command(arguments: Sequence[str]) -> str:
    """Its first words; of Python the module that it runs."""
    begin = list(arguments).index("-m") if "-m" in arguments else 0
    return f"`{' '.join(arguments[begin : begin + 3])}`"


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a command said, or how it ended."""
    return last_line(done.stderr) or last_line(done.stdout) or f"it ended with status {done.returncode}"


class Ssh:
    """A board or computer that `ssh ADDRESS` reaches without asking for anything."""

    python: ClassVar[str] = "python3"

    def __init__(self, address: str, folder: str = "") -> None:
        """address: `host`, `user@host` or `ssh://user@host:port`, or a name of the user's ssh configuration."""
        self.name, self.address = f"ssh {address}", address
        self.folder = folder or ".cache/hwnas"  # of the home folder, in which commands begin
        self._options = [
            *("-o", "BatchMode=yes"),
            *("-o", "ConnectTimeout=15"),
            *("-o", "ServerAliveInterval=5"),  # a board that lost its power is missed after 15 s
            *("-o", "ServerAliveCountMax=3"),
            *_socket(),
        ]

    def connect(self) -> None:
        if shutil.which("ssh") is None:
            raise UserError("`ssh` is not installed, which reaches the device; `apt install openssh-client`")
        if failed := self._open():
            raise UserError(
                f"{self.name} could not be reached: {failed}; `{self.name} true` must end without a question: see to "
                "address, network and key (`ssh-copy-id`)"
            )

    def _open(self) -> str:
        """Opens a connection that later commands share; what ssh says where it cannot."""
        sharing = ["-o", "ControlMaster=auto", "-o", f"ControlPersist={SHARED_S}"]
        command = ["ssh", *sharing, *self._options, "-T", "--", self.address, "true"]
        with tempfile.TemporaryFile() as log:  # no pipe: the connection outlives this, and would keep it open
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired:
                return f"no answer within {TIMEOUT_S:g} s"
            log.seek(0)
            said = log.read().decode(errors="replace")
        return last_line(said) or f"status {done.returncode}" if done.returncode else ""

    def command(self, arguments: Sequence[str]) -> list[str]:
        return ["ssh", "-o", "ControlMaster=no", *self._options, "-T", "--", self.address, shlex.join(arguments)]


def _socket() -> list[str]:
    """The option by which commands share a connection; none where the system could not name its socket."""
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or Path.home() / ".cache") / "hwnas-ssh"
    if len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER or not PLAIN.fullmatch(str(folder)):
        return []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # another user's, after su
        return []
    return ["-o", f"ControlPath={folder}/%C"]


class Adb:
    """An Android phone with USB debugging; no root is needed on it."""

    python: ClassVar[str] = CARRIED

    def __init__(self, address: str, folder: str = "") -> None:
        """address: the serial number, as `adb devices` tells it; empty for the only phone that is connected."""
        self.name, self.serial = f"adb {address}".strip(), address
        self.folder = folder or "/data/local/tmp/hwnas"  # where programs may be run without root

    def connect(self) -> None:
        if shutil.which("adb") is None:
            raise UserError("`adb` is not installed, which reaches Android phones; `apt install adb`")
        try:
            done = subprocess.run(
                ["adb", "devices"], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise UserError("`adb devices` does not end; `adb kill-server`, then run the same command again") from None
        if done.returncode != 0:
            raise UserError(f"`adb devices` failed: {last_words(done)}")
        self.serial = chosen_phone(phones(done.stdout), self.serial or os.environ.get("ANDROID_SERIAL", ""))
        self.name = f"adb {self.serial}"

    def command(self, arguments: Sequence[str]) -> list[str]:
        return ["adb", "-s", self.serial, "shell", "-T", shlex.join(arguments)]


def phones(listed: str) -> dict[str, str]:
    """Serial number -> state, of what `adb devices` prints."""
    pairs = (line.split("\t", 1) for line in listed.splitlines() if "\t" in line)
    return {serial: state.strip() for serial, state in pairs}


def chosen_phone(states: dict[str, str], wanted: str) -> str:
    """The serial number of the phone that is meant; UserError where it is not ready, or there are several."""
    if not states:
        raise UserError("no phone is connected; plug one in and allow USB debugging, then see `adb devices`")
    told = ", ".join(f"{serial} ({state})" for serial, state in states.items())
    if wanted and wanted not in states:
        raise UserError(f"the phone {wanted} is not connected; connected: {told}. Change `address` in the profile")
    ready = [serial for serial, state in states.items() if state == READY]
    meant = [wanted] if wanted else ready or list(states)
    if len(meant) > 1:
        raise UserError(f"{len(meant)} phones are connected: {told}; name one as `address` in the profile")
    if meant[0] not in ready:
        state = states[meant[0]]
        hint = next((hint for start, hint in REASONS.items() if state.startswith(start)), "see `adb devices`")
        raise UserError(f"the phone {meant[0]} is {state}: {hint}")
    return meant[0]


TRANSPORTS: Mapping[str, type[Ssh] | type[Adb]] = {"ssh": Ssh, "adb": Adb}  # by `device` in a profile
