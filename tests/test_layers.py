"""Imports go one way."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hwnas

PACKAGE = Path(hwnas.__file__).parent
ORDER = [
    {"errors"},
    {"storage"},
    {"resources"},
    {"yaml_files"},
    {"spaces"},
    {"datasets"},
    {"heartbeat"},
    {"ranks"},
    {"nn"},
    {"runtimes"},
    {"ondevice"},
    {"devices"},
    {"latency"},
    {"footprint"},
    {"objective"},
    {"train"},
    {"search", "supernet"},  # they do not know each other
    {"export"},
    {"report"},
    {"stages"},
    {"table_commands"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Layers that a module imports from, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("hwnas.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_from_earlier_layers_only(path):
    if path == PACKAGE / "__init__.py":
        assert not imported(path)
        return
    own = layer_of(path)
    assert own in LEVEL, f"{own} has no place in the order of layers"
    wrong = {name for name in imported(path) - {own} if LEVEL[name] >= LEVEL[own]}
    assert not wrong, f"{own} may not import {wrong}"


@pytest.mark.parametrize("layer", ["spaces", "search"])
def test_spaces_and_search_do_not_know_torch(layer):
    for path in (PACKAGE / layer).rglob("*.py"):
        assert "torch" not in path.read_text().replace("torchvision", "").replace("No torch", "").replace(
            "no torch", ""
        ).replace("The torch module", ""), path


def test_search_and_training_import_without_export_and_device_packages():
    absent = ["pydantic", "litert_torch", "ai_edge_litert", "onnx", "onnxruntime", "optuna", "plotly"]
    code = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in absent)
    code += "import hwnas.search, hwnas.supernet, hwnas.train, hwnas.cli\n"
    code += "import hwnas.stages.search, hwnas.stages.train, hwnas.stages.trust"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_does_not_wait_for_torch():
    code = "import sys, hwnas.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_only_linux_has_is_asked_for_on_devices_alone():
    """There it is known what to do where it is not."""
    asking = {layer_of(path) for path in MODULES if re.search(r"os\.sched_|\"/(proc|sys)\b", path.read_text())}
    assert asking == {"ondevice"}
