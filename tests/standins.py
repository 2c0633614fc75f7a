"""Programs that stand in for `ssh` and `adb`: what is to run on another machine runs in a folder of this one.

Tests with the real programs and servers are in tests/devices/test_real_connections.py.
"""

import sys
from pathlib import Path

import pytest

from hwnas.devices.remote import forget_connections

# A connection is cut where the file `cut` is; the command is the last argument, for a shell, as with the real ones.
SSH = """#!/bin/sh
for last; do :; done
cd HOME || exit 255
if [ -e cut ]; then echo "ssh: connect to host board port 22: No route to host" >&2; exit 255; fi
exec sh -c "$last"
"""
ADB = """#!/bin/sh
cd HOME || exit 255
if [ "$1" = devices ]; then cat devices; exit 0; fi
if [ -e cut ]; then echo "adb: device '$2' not found" >&2; exit 1; fi
for last; do :; done
PATH=HOME/bin:$PATH exec sh -c "$last"
"""
GETPROP = """#!/bin/sh
echo "[ro.product.manufacturer]: [Fairphone]"
echo "[ro.product.model]: [FP5]"
echo "[ro.soc.manufacturer]: [QTI]"
echo "[ro.soc.model]: [QCM6490]"
echo "[ro.build.version.release]: [14]"
"""
PROFILE = "device: {device}\n{more}runtime: {runtime}\ndtype: fp32\nthreads: 1\npython: {python}\n"


class Elsewhere:
    """The folder that stands for another machine, and the programs that reach it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.programs = folder / "home", folder / "programs"
        for each in (self.home / "bin", self.programs):
            each.mkdir(parents=True)
        self.program("ssh", SSH)
        self.program("adb", ADB)
        self.there("getprop", GETPROP)
        self.phones(FP5="device")
        monkeypatch.setenv("PATH", f"{self.programs}:{Path(sys.executable).parent}:/usr/bin:/bin")
        monkeypatch.delenv("ANDROID_SERIAL", raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))  # not the user's own, for what connections leave
        forget_connections()

    def program(self, name: str, text: str) -> None:
        """A program on this machine."""
        _write(self.programs / name, text.replace("HOME", str(self.home)))

    def there(self, name: str, text: str) -> None:
        """A program on the phone."""
        _write(self.home / "bin" / name, text)

    def phones(self, **states: str) -> None:
        """What `adb devices` lists."""
        lines = "".join(f"{serial}\t{state}\n" for serial, state in states.items())
        (self.home / "devices").write_text(f"List of devices attached\n{lines}\n")

    def cut(self) -> None:
        """From now on there is no connection."""
        (self.home / "cut").touch()

    def restore(self) -> None:
        (self.home / "cut").unlink()

    def profile(self, device: str, runtime: str = "litert", more: str = "", python: str = sys.executable) -> str:
        """The path of a profile that measures there."""
        own = "address: pi@board\n" if device == "ssh" else f"folder: {self.home}/tmp\n"
        path = self.home.parent / f"{device}_{runtime}.yaml"
        path.write_text(PROFILE.format(device=device, runtime=runtime, python=python, more=own) + more)
        return str(path)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
