"""What of the Android and iOS kits can be checked without building them: names, values and paths."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from hwnas.export import load_target, target_names
from hwnas.export.kit import BESIDE
from hwnas.resources import shipped
from hwnas.runtimes import RUNTIMES

KITS = shipped("export")
SOURCES = {
    "android": "app/src/main/kotlin/org/example/classifier/Classifier.kt",
    "ios": "Sources/Classifier/Classifier.swift",
    "linux": "classify.py",
    "web": "classify.js",
}
KEYS = {
    "preprocessing.json": {"resize_shorter_side_px", "center_crop_px", "mean", "std"},
    "golden.json": {"image", "model", "max_relative_error", "logits"},
}


def test_every_target_has_a_source_to_check():
    assert set(SOURCES) == set(target_names())


@pytest.mark.parametrize("target", SOURCES)
def test_a_kit_reads_every_file_and_key_that_it_is_filled_with(target):
    text = (KITS / target / SOURCES[target]).read_text()
    for name, keys in KEYS.items():
        assert name in text
        assert not [key for key in keys if not re.search(rf"\b{key}\b", text)]
    assert "labels.txt" in text
    assert "labels.txt" in BESIDE


@pytest.mark.parametrize("target", SOURCES)
def test_brackets_are_balanced(target):
    for path in (KITS / target).rglob("*"):
        if path.suffix in {".kt", ".kts", ".swift", ".js"}:
            text = re.sub(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/', "", path.read_text(), flags=re.DOTALL)
            for opened, closed in ("()", "[]", "{}"):
                assert text.count(opened) == text.count(closed), (path, opened)


def test_the_android_names_agree():
    app = KITS / "android" / "app"
    build = (app / "build.gradle.kts").read_text()
    namespace = re.search(r'namespace = "([\w.]+)"', build)[1]
    sources = app / "src/main/kotlin" / namespace.replace(".", "/")
    assert {path.name for path in sources.iterdir()} == {"Classifier.kt", "MainActivity.kt"}
    assert all(path.read_text().startswith(f"package {namespace}\n") for path in sources.iterdir())
    manifest = ElementTree.parse(app / "src/main/AndroidManifest.xml").getroot()
    (activity,) = manifest.iter("activity")
    assert activity.get("{http://schemas.android.com/apk/res/android}name") == ".MainActivity"
    assert load_target("android").assets == "app/src/main/assets"
    assert f'noCompress += "{RUNTIMES["litert"].suffix.lstrip(".")}"' in build
    assert 'include(":app")' in (KITS / "android" / "settings.gradle.kts").read_text()


def test_the_swift_package_finds_its_resources():
    package = (KITS / "ios" / "Package.swift").read_text()
    target = re.search(r'\.target\(\s*name: "(\w+)"', package)[1]
    assert load_target("ios").assets == f"Sources/{target}/Resources"
    assert '.copy("Resources")' in package
    assert 'subdirectory: "Resources"' in (KITS / "ios" / SOURCES["ios"]).read_text()
    assert (KITS / "ios" / "Tests" / f"{target}Tests").is_dir()


def test_no_swift_classifier_is_made_without_its_golden_picture():
    text = (KITS / "ios" / SOURCES["ios"]).read_text()
    # an initialiser hands over to the other one, or checks
    bodies = re.findall(r"\n    [a-z ]*init\(.*?\n    }\n", text, re.DOTALL)
    assert len(bodies) == text.count("init(") - text.count("self.init(")
    assert [("try self.init(" in body) != ("try checkGolden()\n    }" in body) for body in bodies] == [True, True]


def test_the_android_licences_name_every_library():
    libraries = re.findall(r'implementation\("([^:]+:[^:]+):', (KITS / "android/app/build.gradle.kts").read_text())
    assert libraries
    readme = (KITS / "android" / "README.md").read_text()
    assert [name for name in libraries if not re.search(rf"^\| `{re.escape(name)}` \| \S", readme, re.MULTILINE)] == []


def test_a_picture_can_be_chosen_as_well_as_taken():
    page = (KITS / "web" / "index.html").read_text()
    inputs = re.findall(r'<input id="(\w+)" type="file"([^>]*)>', page)
    assert {name: "capture" in rest for name, rest in inputs} == {"stored": False, "taken": True}


def test_the_scripts_of_the_page_are_javascript():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    for name in ("classify.js", "offline.js"):
        text = (KITS / "web" / name).read_text()
        command = [node, "--input-type=module", "--check"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
