"""What of an Arm Linux is brought to a device."""

import pytest

from hwnas.devices.carried import LINUX_PARTS, _files, _python_version
from hwnas.errors import UserError


def test_a_linux_is_brought_whatever_its_lib_is(tmp_path):
    """Since Debian 13 `lib` is a link, if it is there at all; links out of the folder lead to this machine."""
    root = tmp_path / "root"
    (root / "usr/lib/aarch64-linux-gnu").mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1").write_text("loader")
    (root / "usr/bin/python3.13").write_text("python")
    (root / "usr/bin/python3").symlink_to("python3.13")
    (root / "usr/lib/out").symlink_to("/etc/hostname")
    (root / "lib").symlink_to("usr/lib")
    found = dict(file for part in LINUX_PARTS for file in _files(root, part))
    assert set(found) == {"usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", "usr/bin/python3"}
    assert found["usr/bin/python3"].read_text() == "python"
    (root / "lib").unlink()
    (root / "lib").symlink_to("/usr/lib")
    assert set(dict(file for part in LINUX_PARTS for file in _files(root, part))) == set(found)


def test_the_newest_python_counts_and_an_old_one_is_refused(tmp_path):
    for version in ("3.9", "3.11"):
        (tmp_path / f"usr/lib/python{version}").mkdir(parents=True)
    assert _python_version(tmp_path) == "3.11"
    (tmp_path / "usr/lib/python3.11").rmdir()
    with pytest.raises(UserError, match=r"has Python 3\.9; unpack one with Python 3\.11"):
        _python_version(tmp_path)
