"""Files survive crashes, damage and company."""

import os
import subprocess
import sys
import tempfile
import time

import pytest

from hwnas.errors import UserError
from hwnas.storage import LOCK, Journal, exclusive, read_json, scratch, write_atomically, write_json


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_truncated_last_line_is_dropped_and_written_over(tmp_path):
    path = tmp_path / "j.jsonl"
    Journal(path).append({"n": 1})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "times_ms": [1.0, 2.')
    journal = Journal(path)
    assert journal.records == [{"n": 1}]
    journal.append({"n": 3})
    assert Journal(path).records == [{"n": 1}, {"n": 3}]


def test_a_whole_object_without_its_newline_is_not_trusted(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 22}')  # may have been {"n": 223}
    assert Journal(path).records == [{"n": 1}]


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "j.jsonl"
    mine, theirs = Journal(path), Journal(path)
    mine.append({"n": 1})
    with pytest.raises(UserError, match="another process wrote to"):
        theirs.append({"n": 2})
    mine.append({"n": 3})
    assert Journal(path).records == [{"n": 1}, {"n": 3}]


def test_damage_in_the_middle_names_the_line(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"n": 1}\n{broken\n{"n": 3}\n')
    with pytest.raises(UserError, match="line 2"):
        Journal(path)


def test_damaged_json_names_the_file(tmp_path):
    (tmp_path / "a.json").write_text('{"x":')
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")


def test_two_processes_cannot_hold_one_folder(tmp_path):
    code = (
        "import sys, pathlib\nfrom hwnas.storage import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another process"), exclusive(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(tmp_path):  # a killed holder lets go
        pass


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(folder, days, *files):
    """A folder that was last written to so many days ago."""
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    at = time.time() - days * 86_400
    os.utime(folder, (at, at))
    return folder


def test_what_killed_processes_left_a_day_ago_is_removed(temporary):
    old = left(temporary / "hwnas-old", 2, LOCK, "model0.tflite")
    kept = [
        left(temporary / "hwnas-new", 0.5, LOCK),
        left(temporary / "hwnas-of-others", 2, "notes"),  # without a lock: not one of ours
        left(temporary / "other-old", 2, LOCK),
        left(temporary / "hwnas-held", 2, LOCK),
    ]
    (temporary / "hwnas-link").symlink_to(kept[2])
    with exclusive(kept[-1]), scratch() as folder:
        assert not old.exists()
        assert {*kept, folder, temporary / "hwnas-link"} == set(temporary.iterdir())
    assert not folder.exists()


def test_a_killed_process_lets_go_of_its_folder(temporary):
    code = "import os, hwnas.storage\nwith hwnas.storage.scratch(): os.abort()"
    command, system = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(temporary)}
    assert subprocess.run(command, capture_output=True, check=False, env=system).returncode < 0
    (folder,) = temporary.glob("hwnas-*")
    at = time.time() - 2 * 86_400
    os.utime(folder, (at, at))
    with scratch():
        assert not folder.exists()
