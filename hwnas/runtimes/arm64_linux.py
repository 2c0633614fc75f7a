"""A folder with an Arm Linux that has Python, and the runtimes for it: what runs model files in qemu and on phones.

Nothing is installed into the system: packages are unpacked below the user's cache folder, once.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from hwnas.errors import UserError, last_line

FOLDER = "HWNAS_ARM64_LINUX"  # the variable that names an Arm Linux of the user's own
PYTHON = Path("usr/bin/python3")
OLDEST_PYTHON = (3, 11)  # that runs what measures
ANOTHER = f"unpack one with Python 3.11 or newer (a container image, a board's card) and name its root in {FOLDER}"
PACKAGES = ("python3", "libstdc++6")  # of Debian; with what they need 16 MB
BESIDE_RUNTIMES = ("numpy", "pyyaml")  # what hwnas.runtimes imports
WHEELS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)))  # by glibc
TIMEOUT_S = 1800.0  # of a download
Say = Callable[[str], None]


def cache() -> Path:
    """Where the Linux and the runtimes are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas" / "arm64"


def linux(say: Say) -> Path:
    """The folder, downloaded where there is none yet. UserError where that is not possible."""
    own = os.environ.get(FOLDER, "")
    root = Path(own).resolve() if own else cache() / "linux"
    if (root / PYTHON).exists():
        return root
    if own:
        raise UserError(f"{FOLDER} is {own}, which has no {PYTHON}; name the root of an arm64 Linux with Python")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UserError(f"an arm64 Linux is not there, and this system has no apt-get to get one with; {ANOTHER}")
    say(f"downloading Debian's Python for arm64 (16 MB) to {root}")
    _whole(root, _unpack_debian)
    return root


def _unpack_debian(folder: Path) -> None:
    """Fills the folder with what the system's own package sources have for arm64; its list of packages stays as is."""
    with tempfile.TemporaryDirectory() as temporary:
        apt = Path(temporary)
        (apt / "state/lists/partial").mkdir(parents=True)
        (apt / "cache/archives/partial").mkdir(parents=True)
        (apt / "state/status").touch()
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures::": "arm64",
            "APT::Sandbox::User": "root",  # else root's downloads are made by a user who may not write here
            "Dir::State": apt / "state",
            "Dir::State::status": apt / "state/status",
            "Dir::Cache": apt / "cache",
        }
        command = [
            "apt-get",
            "-q",
            "-y",
            *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")),
        ]
        _run([*command, "update"])  # a source without arm64 may fail; whether the packages are there is seen next
        failed = _run([*command, "--download-only", "--no-install-recommends", "install", *PACKAGES])
        archives = sorted((apt / "cache/archives").glob("*.deb"))
        if failed or not archives:
            raise UserError(f"apt-get's sources have no {' and '.join(PACKAGES)} for arm64 ({failed}); {ANOTHER}")
        for archive in archives:
            if failed := _run(["dpkg-deb", "-x", str(archive), str(folder)]):
                raise UserError(f"{archive.name} cannot be unpacked: {failed}")


def runtimes_for(python: str, versions: Sequence[str], say: Say) -> Path:
    """A folder of `PYTHONPATH` with the packages, downloaded where it is not there yet.

    python: the version in the Arm Linux, "3.11". versions: as `Converter.version` tells them, so that both machines
    run the same. UserError where pip has none of them for it.
    """
    beside = [f"{name} {metadata.version(name)}" for name in BESIDE_RUNTIMES]
    wanted = [version.replace(" ", "==") for version in sorted([*versions, *beside])]
    folder = cache() / "_".join([f"python{python}", *wanted])
    if folder.is_dir():
        return folder
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"pip is missing, which downloads {', '.join(wanted)} for arm64; `{sys.executable} -m ensurepip`"
        )
    say(f"downloading {', '.join(wanted)} for arm64 (52 MB)")
    _whole(folder, lambda temporary: _install(temporary, python, wanted))
    return folder


def _install(folder: Path, python: str, wanted: Sequence[str]) -> None:
    where = ["--target", str(folder), "--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]
    platforms = [word for wheel in WHEELS for word in ("--platform", wheel)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if failed := _run([*pip, *where, *platforms, *wanted]):
        raise UserError(f"pip has not got {', '.join(wanted)} for arm64 and Python {python}: {failed}")


def _whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """The folder with all that `fill` puts into it, or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:20]}.", dir=folder.parent))
    try:
        fill(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run(command: Sequence[str]) -> str:
    """The last line of what a command says that failed; empty where it did not."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {TIMEOUT_S:g} s"
    if done.returncode == 0:
        return ""
    return last_line(done.stderr or done.stdout) or f"{command[0]} ended with status {done.returncode}"
