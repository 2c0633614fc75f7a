"""A space in a YAML file: what it builds, and what is said of a file that is not right."""

from pathlib import Path

import pytest
import yaml

from hwnas.errors import UserError
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.user import is_file

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "example_space.yaml"
SMALL = {
    "name": "mine",
    "stem": [{"kind": "conv", "channels": 16, "stride": 2, "k": 3}],
    "stages": [
        {
            "channels": 24,
            "layers": 2,
            "stride": 2,
            "choices": {"a": {"kind": "ir", "e": 3, "k": 3}, "b": {"kind": "ir", "e": 6, "k": 5}},
        }
    ],
}


def built(tmp_path, content, **options):
    file = tmp_path / "mine.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return build_space(SpaceConfig(str(file), **{"resolution": 32, "num_classes": 10, **options}))


def stage(**changes):
    return {**SMALL, "stages": [{**SMALL["stages"][0], **changes}]}


def choice(**operator):
    return stage(choices={"a": operator, "b": {"kind": "ir", "e": 6, "k": 5}})


def test_the_example_of_the_documentation():
    space = build_space(SpaceConfig(str(EXAMPLE), 64, 10))
    assert space.name == "example"
    assert [len(d.choices) for d in space.decisions] == [2, 3, 3, 4, 4, 3, 4]  # no skip where a stage begins
    assert space.stride == 8
    keys = [str(slot.options[0]) for slot in space.slots]
    assert keys[0] == "conv-3x64x64-16-s2-k3"
    assert keys[3] == "ir3-24x16x16-40-s2-h72-hs1-k3-se1"  # 3 times the 24 channels that come in
    assert keys[-1] == "classifier-256x8x8-10-s1-h320"


def test_the_page_shows_a_part_of_the_example():
    shown = (DOCS / "spaces.md").read_text().split("```yaml\n")[1].split("```")[0]
    part, whole = yaml.safe_load(shown), yaml.safe_load(EXAMPLE.read_text())
    assert part["stages"] == whole["stages"][:1]
    assert {**whole, "stages": 0} == {**part, "stages": 0}


def test_the_width_multiplies_channels_inside_too(tmp_path):
    content = {**choice(kind="ir3", h=64, k=3, hs=0, se=0), "classifier": {"h": 64, "relu": True}}
    keys = [str(slot.options[0]) for slot in built(tmp_path, content, width_mult=0.5).slots]
    assert keys[1:] == [
        "ir3-8x16x16-16-s2-h32-hs0-k3-se0",
        "ir3-16x8x8-16-s1-h32-hs0-k3-se0",
        "classifier-16x8x8-10-s1-h32-relu1",
    ]


def test_resolutions_are_shares_of_the_largest(tmp_path):
    content = {**SMALL, "resolutions": [0.75, 0.5]}
    space = built(tmp_path, content)
    assert space.decisions[0].choices == ("r32", "r24", "r16")
    assert [len(d.choices) for d in space.decisions] == [3, 2, 2]
    keys = [str(spec) for spec in space.ops((2, 0, 1))]
    assert keys[:3] == ["resize-3x32x32-3-s1-r16", "conv-3x16x16-16-s2-k3", "ir-16x8x8-24-s2-e3-k3"]
    assert [str(spec) for spec in space.ops((0, 0, 1))][1:] == [
        str(spec) for spec in built(tmp_path, SMALL).ops((0, 1))
    ]


def test_one_choice_alone_is_fixed(tmp_path):
    content = stage(choices={"a": {"kind": "ir", "e": 3, "k": 3}, "none": {"kind": "skip"}})
    assert [d.name for d in built(tmp_path, content).decisions] == ["stage0.layer1"]


def test_what_is_a_file():
    assert is_file("a/b.yaml")
    assert is_file("b.yml")
    assert not is_file("proxyless")


BAD = {
    "no YAML": ("name: [", "is not valid YAML"),
    "a key twice": ("name: mine\nname: yours\n", "not valid YAML: the key 'name' came twice"),
    "no mapping": ("- 1", "keys and values are needed"),
    "empty": ("", "keys and values are needed"),
    "no name": ({k: v for k, v in SMALL.items() if k != "name"}, "name is missing"),
    "no stages": ({k: v for k, v in SMALL.items() if k != "stages"}, "stages is missing"),
    "bad name": ({**SMALL, "name": "my space"}, "name is 'my space', not a letter and then"),
    "a name that is taken": ({**SMALL, "name": "fbnet"}, "is called fbnet, as one of `hwnas spaces` is"),
    "unknown key": ({**SMALL, "stage": []}, "unknown key 'stage'; did you mean stages"),
    "unknown key of a stage": (stage(chanels=3), "stages 1: unknown key 'chanels'; did you mean channels"),
    "stages of text": ({**SMALL, "stages": "x"}, "stages is 'x', not a list of 1 to 50 entries"),
    "no channels": ({**SMALL, "stem": [{"kind": "conv", "k": 3}]}, "stem 1: channels is missing"),
    "channels of text": (stage(channels="many"), "channels is 'many', not a whole number from 1 to 16384"),
    "a fraction": (stage(layers=1.5), "layers is 1.5, not a whole number from 1 to 100"),
    "too many layers": (stage(layers=10**9), "layers is 1000000000, not a whole number"),
    "truth for a number": (stage(stride=True), "stride is True, not a whole number from 1 to 4"),
    "choices of text": (stage(choices="all"), "stages 1, choices: keys and values are needed"),
    "no choice": (stage(choices={}), "a choice that is no skip is needed"),
    "only a skip": (stage(choices={"a": {"kind": "skip"}}), "a choice that is no skip is needed"),
    "unknown kind": (choice(kind="irr", e=3, k=3), "choices, a: unknown kind 'irr'; did you mean ir"),
    "no kind": (choice(e=3, k=3), "choices, a: kind is missing"),
    "a list for a kind": (choice(kind=["ir"], e=3, k=3), "unknown kind"),
    "missing argument": (choice(kind="ir", e=3), "choices, a: k is missing"),
    "unknown argument": (choice(kind="ir", e=3, k=3, g=2), "unknown key 'g'"),
    "even kernel": (choice(kind="ir", e=3, k=4), "k is 4, not an odd number"),
    "no flag": (choice(kind="ir3", h=64, k=3, hs=2, se=0), "hs is 2, not a whole number from 0 to 1"),
    "groups that do not fit": (choice(kind="fbnet_ir", e=1, k=3, g=7), "are no multiple of 7"),
    "a stride for nothing": (choice(kind="uib", e=4, a=0, k=0), "a stride of 2 needs a depthwise convolution"),
    "nothing where something is needed": (choice(kind="zero"), "unknown kind 'zero'"),
    "a pooling to other channels": (choice(kind="max_pool", k=3), "makes 16x8x8, and 24x8x8 are needed here"),
    "a classifier in the middle": (choice(kind="classifier"), "makes 24x1x1, and 24x8x8 are needed here"),
    "halves of what cannot be halved": (choice(kind="factorized_reduce"), "it needs a stride of 2 and sides that"),
    "twins": (choice(kind="ir", e=6, k=5), "a and b are the same operator"),
    "channels and stride in a choice": (choice(kind="ir", e=3, k=3, stride=2), "unknown key 'stride'"),
    "nothing to choose": (stage(choices={"a": {"kind": "ir", "e": 3, "k": 3}}), "nothing is to be chosen"),
    "a resolution in pixels": ({**SMALL, "resolutions": [24]}, "resolutions is [24], not a list of 1 to 25 shares"),
    "resolutions that grow": ({**SMALL, "resolutions": [0.5, 0.75]}, "each below the one before"),
    "a resolution above 1": ({**SMALL, "resolutions": [1.5]}, "each below the one before, from below 1 to 0.25"),
    "resolutions too near": ({**SMALL, "resolutions": [0.99]}, "gives mine images of 32, 32 pixels"),
    "a resize of one's own": (choice(kind="resize", r=16), "unknown kind 'resize'"),
    "a number as a choice's name": (stage(choices={3: {"kind": "skip"}}), "keys and values are needed"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_told_where_and_why(tmp_path, case):
    content, told = BAD[case]
    with pytest.raises(UserError) as error:
        built(tmp_path, content)
    assert told in str(error.value)
    assert "mine" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"there is no space at .*nowhere\.yaml"):
        build_space(SpaceConfig(str(tmp_path / "nowhere.yaml"), 32, 10))


def test_a_resolution_that_is_too_small(tmp_path):
    content = stage(stride=4)
    content["stem"] = content["stem"] * 2
    with pytest.raises(UserError, match="resolution 8 is smaller than the stride of mine, 16"):
        built(tmp_path, content, resolution=8)
