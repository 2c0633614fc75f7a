"""What a device needs that hwnas brings there: its own code, and for arm64 a Linux with Python and the runtime.

Android has neither Python nor the C library that Linux programs want; but its kernel runs them where they are started
by their own loader. So a phone needs no app and no root: everything is unpacked into a folder, and stays there.
"""

import hashlib
import secrets
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hwnas.devices.transports import CARRIED, TIMEOUT_S, Transport, last_words, run_there
from hwnas.errors import UserError
from hwnas.runtimes import RUNTIMES, arm64_linux
from hwnas.runtimes.arm64_linux import OLDEST_PYTHON, Say

PACKAGE = Path(__file__).resolve().parents[1]
CODE = ("__init__.py", "errors.py", "storage.py", "yaml_files.py", "spaces", "runtimes", "ondevice")
VERSION = "import sys; print(*sys.version_info[:2])"
LOADER = "ld-linux-aarch64.so.1"
LIBRARIES = ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")
PYTHON_THERE = "usr/bin/python3"
LINUX_PARTS = ("lib", "usr/lib", PYTHON_THERE)  # documents, settings and tools stay here
UNUSED = {"gconv", "__pycache__", "tests", "test", "idlelib", "lib2to3", "ensurepip", "pydoc_data"}
ARM64 = ("aarch64", "arm64")
SEND_TIMEOUT_S = 1800.0
HEX = "[0-9a-f]"
PART = f"-{12 * HEX}.{8 * HEX}.part"  # what is being sent, behind its kind; anything else in the folder is the user's
YESTERDAYS = ("-mtime", "+0", "-exec", "rm", "-rf", "{}", ";")
TAKE_NAME = 'sync; if [ -d "$2" ]; then rm -rf "$1"; else mv "$1" "$2"; fi'  # else another process was faster
ENVIRONMENT = ("LC_ALL=C.UTF-8",)
Files = Iterable[tuple[str, Path]]  # name there, file here


@dataclass(frozen=True, slots=True)
class Kit:
    """Ready on a device: what every command there begins with, Python included."""

    start: tuple[str, ...]

    def module(self, name: str, *arguments: str) -> list[str]:
        """The command that runs a module of hwnas there."""
        return [*self.start, "-m", name, *arguments]


def tell(message: str) -> None:
    """Downloading and sending take their time, and say so."""
    print(message, file=sys.stderr, flush=True)


def kit(transport: Transport, runtime: str, python: str, say: Say = tell) -> Kit:
    """What a connected device lacks is sent there. python: a program there, or CARRIED.

    UserError where that is not possible, or the device has another processor than what is brought is for.
    """
    files = [(f"hwnas/{name}", path) for part in CODE for name, path in _files(PACKAGE, part)]
    code = _sent(transport, f"code-{_digest(files)}", files, "the measuring program", say)
    if python != CARRIED:
        _check_python(transport, python)
        return Kit(("env", *ENVIRONMENT, f"PYTHONPATH={code}", python))
    _check_arm64(transport)
    linux = arm64_linux.linux(say)
    packages = arm64_linux.runtimes_for(_python_version(linux), [RUNTIMES[runtime].version()], say)
    files = [file for part in LINUX_PARTS for file in _files(linux, part)]
    loader = next((name for name, _ in files if name.endswith(LOADER)), "")
    if not loader:
        raise UserError(f"{linux} has no {LOADER}; {arm64_linux.ANOTHER}")
    there = _sent(transport, f"linux-{_digest(files)}", files, "a Linux with Python", say)
    files = list(_files(packages))
    modules = _sent(transport, f"packages-{_digest(files)}", files, RUNTIMES[runtime].version(), say)
    libraries = ":".join(f"{there}/{library}" for library in LIBRARIES)
    environment = (*ENVIRONMENT, "PYTHONNOUSERSITE=1", f"PYTHONHOME={there}/usr", f"PYTHONPATH={code}:{modules}")
    # by its loader: a phone has none where the program's file says that it is
    started = (f"{there}/{loader}", "--library-path", libraries, f"{there}/{PYTHON_THERE}")
    return Kit(("env", *environment, *started))


def _files(root: Path, part: str = "") -> Iterator[tuple[str, Path]]:
    """Every file at or below a place, with its name from the root on; of links what they lead to, within the root.

    A folder that is a link is none: what it leads to has a name of its own.
    """
    top, inside = root / part, root.resolve()
    if top.is_symlink() and top.is_dir():
        return
    for path in [top] if top.is_file() else sorted(top.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not UNUSED.intersection(name.parts) and path.resolve().is_relative_to(inside):
            yield name.as_posix(), path


def _digest(files: Files) -> str:
    found = hashlib.sha256()
    for name, path in files:
        found.update(f"{name} {path.stat().st_size} ".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _sent(transport: Transport, name: str, files: list[tuple[str, Path]], what: str, say: Say) -> str:
    """The folder on the device that holds the files: sent where it is not there yet, whole or not at all."""
    there = f"{transport.folder}/{name}"
    if run_there(transport, ["test", "-d", there]).returncode == 0:
        return there
    size_mb = sum(path.stat().st_size for _, path in files) / 1e6
    say(f"sending {what} to {transport.name}: {size_mb:.1f} MB")
    part = f"{there}.{secrets.token_hex(4)}.part"  # another process, or one that was killed, may be sending the same
    left = ("-name", name.partition("-")[0] + PART)  # by those that were killed
    run_there(transport, ["find", transport.folder, "-maxdepth", "1", *left, *YESTERDAYS])
    _do(transport, ["mkdir", "-p", part])
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
            for inside, path in files:
                tar.add(path, inside, recursive=False, filter=_plain)
        archive.seek(0)
        _do(transport, ["tar", "-x", "-f", "-", "-C", part], SEND_TIMEOUT_S, archive)
    _do(transport, ["sh", "-c", TAKE_NAME, "sh", part, there])
    return there


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """As whoever unpacks it may own it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.mode & 0o111 else 0o644
    return member


def _do(
    transport: Transport, arguments: list[str], timeout_s: float = TIMEOUT_S, source: IO[bytes] | None = None
) -> str:
    """What a command on the device says; UserError where it fails."""
    done = run_there(transport, arguments, timeout_s, source)
    if done.returncode != 0:
        first = next(iter(done.stderr.strip().splitlines()), "") or last_words(done)  # what follows, follows from it
        raise UserError(f"`{arguments[0]}` failed on {transport.name}: {first.strip()[:300]}; see to space and rights")
    return done.stdout


def _check_python(transport: Transport, python: str) -> None:
    oldest = ".".join(map(str, OLDEST_PYTHON))
    needed = f"hwnas needs Python {oldest} or newer there, or `python: {CARRIED}` in the profile, where it is arm64"
    done = run_there(transport, [python, "-c", VERSION])
    if done.returncode != 0:
        raise UserError(f"{python} does not run on {transport.name}: {last_words(done)}; {needed}")
    told = done.stdout.split()
    if not all(number.isdigit() for number in told) or tuple(map(int, told)) < OLDEST_PYTHON:
        raise UserError(f"{python} on {transport.name} is Python {'.'.join(told)[:80]}; {needed}")


def _check_arm64(transport: Transport) -> None:
    machine = _do(transport, ["uname", "-m"]).strip()
    if machine not in ARM64:
        raise UserError(
            f"{transport.name} is {machine[:80]}, and the Python that hwnas brings is for arm64; name "
            "one that is there as `python` in the profile"
        )


def _python_version(linux: Path) -> str:
    """ "3.11", as its folder of libraries is called."""
    names = (path.name.removeprefix("python") for path in linux.glob("usr/lib/python3.*"))
    found = max((tuple(map(int, name.split("."))) for name in names if name.replace(".", "").isdigit()), default=())
    told = ".".join(map(str, found))
    if found < OLDEST_PYTHON:
        raise UserError(f"{linux} has Python {told or 'in no usr/lib/python3.*'}; {arm64_linux.ANOTHER}")
    return told
