"""Where names are looked up."""

import pytest

from hwnas.errors import UserError
from hwnas.resources import find, names, shipped


def test_shipped_profiles_are_found_by_name():
    assert {"fake", "host_cpu1_litert_fp32", "host_cpu1_ort_fp32"} <= set(names("profiles", ".yaml"))
    assert find("profiles", "fake", ".yaml").resolve() == shipped("profiles") / "fake.yaml"


def test_a_path_comes_first_then_the_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    mine = tmp_path / "profiles" / "fake.yaml"
    mine.write_text("mine")
    assert find("profiles", "fake", ".yaml").resolve() == mine
    other = tmp_path / "other.yaml"
    other.write_text("other")
    assert find("profiles", str(other), ".yaml") == other


def test_an_unknown_name_brings_the_near_ones():
    with pytest.raises(UserError, match="unknown profile 'fak'; did you mean fake"):
        find("profiles", "fak", ".yaml")
