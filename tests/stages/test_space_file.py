"""A space in a file is kept in the run directory, and every stage uses that copy."""

import shutil
from pathlib import Path

import pytest
from quick import QUICK

from hwnas.storage import Journal, read_json

EXAMPLE = Path(__file__).parents[2] / "docs" / "example_space.yaml"


@pytest.fixture(scope="module")
def searched(hwnas, tmp_path_factory):
    """A run of the example, whose file went away and which moved after its first stage."""
    folder = tmp_path_factory.mktemp("space_file")
    mine, run = folder / "mine.yaml", folder / "moved"
    mine.write_bytes(EXAMPLE.read_bytes())
    done = hwnas("plan", *QUICK, "--space", mine, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    assert "example at 32 pixels needs" in done.stderr
    mine.unlink()
    shutil.move(folder / "run", run)
    for stage in ("profile", "fit", "feasible", "search", "select", "report"):
        done = hwnas(stage, "--out", run)
        assert done.returncode == 0, done.stderr
    return run


def test_a_run_needs_only_its_copy(searched):
    assert (searched / "space.yaml").read_bytes() == EXAMPLE.read_bytes()
    winner = read_json(searched / "selection.json")["winner"]
    assert winner["space"] == "example"
    assert set(winner["choices"]) <= {"small", "large", "narrow", "wide", "convnext", "none"}
    assert len(Journal(searched / "trials.jsonl").records) == 16
    assert "stage1.layer0" in (searched / "report.html").read_text()


@pytest.mark.slow
def test_what_is_found_in_it_is_trained_and_exported(hwnas, searched, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    done = hwnas("generate", "--out", run)
    assert done.returncode == 0, done.stderr
    assert read_json(run / "measure.json")["within_budget"]
    assert {"ort", "litert"} <= set(read_json(run / "export.json")["files"])


def test_a_changed_file_does_not_change_a_run(hwnas, searched, tmp_path):
    run, changed = tmp_path / "run", tmp_path / "mine.yaml"
    shutil.copytree(searched, run)
    changed.write_text(EXAMPLE.read_text().replace("e: 6", "e: 4"))
    done = hwnas("plan", "--space", changed, "--out", run)
    assert done.returncode == 1
    assert "choose another --out" in done.stderr
    assert (run / "space.yaml").read_bytes() == EXAMPLE.read_bytes()


def test_until_something_came_of_it_the_file_may_change(hwnas, tmp_path):
    run, mine = tmp_path / "run", tmp_path / "mine.yaml"
    mine.write_bytes(EXAMPLE.read_bytes())
    assert hwnas("plan", *QUICK, "--space", mine, "--out", run).returncode == 0
    mine.write_text(EXAMPLE.read_text().replace("e: 6", "e: 4"))
    assert hwnas("plan", "--space", mine, "--out", run).returncode == 0
    assert (run / "space.yaml").read_bytes() == mine.read_bytes()
    assert hwnas("profile", "--out", run).returncode == 0
    mine.write_bytes(EXAMPLE.read_bytes())
    done = hwnas("plan", "--space", mine, "--out", run)
    assert done.returncode == 1
    assert "of other content, kept as space.yaml, in" in done.stderr


def test_a_bad_file_is_one_line_and_no_run(hwnas, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n")
    done = hwnas("plan", "--space", mine, "--out", tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr.strip() == f"hwnas: space {mine}: stem is missing; see docs/spaces.md"
    assert not (tmp_path / "run" / "config.json").exists()
