"""The house's rules that a program can check."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import hwnas

PACKAGE = Path(hwnas.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
FORBIDDEN = [r"except:", r"import \*", r"\bimport pickle\b", r"shell=True", r"yaml\.load\(", r"os\.system"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_lengths_docstrings_and_forbidden_ways(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= MAX_FILE_LINES
    assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < MAX_FUNCTION_LINES, node.name
    for pattern in FORBIDDEN:
        assert not re.search(pattern, text), pattern
    assert text.count("torch.load(") == text.count("weights_only=True")
    assert not re.search(r"allow_pickle=True", text)


def test_no_path_of_a_machine_and_no_registry_in_tracked_files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".png", ".jsonl"} or path == Path(__file__) or not path.exists():
            continue
        assert not re.search(r"(^|[\s\"'=(])/(home|root|work)/", path.read_text()), name
