"""What users write is read as it stands, or refused in one line."""

import pytest

from hwnas.errors import UserError
from hwnas.yaml_files import read_yaml


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\n", "expected ',' or ']'"),
        ("a: 1\na: 2\n", "the key 'a' came twice"),
        ("a: {b: 1, b: 2}\n", "the key 'b' came twice"),
        ("!!map [a]\n", "expected a mapping node"),
        ("a: 2020-13-45\n", "month must be in 1..12"),
        ("!!int foo\n", "invalid literal for int"),
        ("!!timestamp x\n", "NoneType"),
        ("a: " + "[" * 4000 + "\n", "recursion"),
        ("!!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_what_is_no_sound_yaml_is_one_line(tmp_path, text, told):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"thing \S+mine.yaml is not valid YAML: ") as caught:
        read_yaml(path, "thing")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_one_line(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=r"thing .* is not valid YAML: 'utf-8' codec"):
        read_yaml(tmp_path / "mine.yaml", "thing")


@pytest.mark.parametrize(
    ("text", "content"), [("1: a\n'1': b\n", {1: "a", "1": "b"}), ("[a, b]\n", ["a", "b"]), ("", None)]
)
def test_what_is_sound_is_read(tmp_path, text, content):
    (tmp_path / "mine.yaml").write_text(text)
    assert read_yaml(tmp_path / "mine.yaml", "thing") == content
