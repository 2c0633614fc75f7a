"""A file that is something else gives one line: what came, what is allowed."""

import json

import pytest

from hwnas.errors import UserError
from hwnas.latency.importers import IMPORTERS, import_table

CONV = "Conv-input:224x224x3-output:112x112x32"
BLOCK = "expanded_conv-input:8x8x16-output:4x4x16"
FULL_BLOCK = f"{BLOCK}-expand:3-kernel:3-stride:2-idskip:0"
HEADING = "hw,cin,cout,expand,stride,act,kernel,se,pixel4_ms\n"
LAYER = {"cin_cout": "32-16", "ops": {"k3_e1": 1.0}}
MISTAKES = [
    ("proxyless", "- a\n- b\n", "holds list, not keys and values"),
    ("proxyless", "a: [1\n", "not valid YAML"),
    ("proxyless", "", "holds NoneType"),
    ("proxyless", f"{CONV}: {{mean: fast}}\n", "'fast' at mean of Conv-input"),
    ("proxyless", f"{CONV}: {{mean: -1.0}}\n", "a number of 0 or more"),
    ("proxyless", f"{CONV}: {{mean: .nan}}\n", "has nan at mean"),
    ("proxyless", f"{CONV}: 4.0\n", "allowed is mean, and perhaps count"),
    ("proxyless", f"{CONV}: {{mean: 1.0, count: 1.5}}\n", "a whole number"),
    ("proxyless", "Conv 224: {mean: 1.0}\n", "allowed is KIND-input:HxWxC-output:HxWxC"),
    ("proxyless", "Pool-input:8x8x3-output:1x1x3: {mean: 1.0}\n", "allowed is of kind Conv, Conv_1"),
    ("proxyless", f"{BLOCK}-expand:3-kernel:3-stride:2: {{mean: 1.0}}\n", "idskip:NUMBER of 0 or more"),
    ("proxyless", f"{BLOCK}-expand:3-kernel:3-stride:0-idskip:0: {{mean: 1.0}}\n", "stride:NUMBER of 1 or more"),
    ("proxyless", f"{BLOCK}-expand:3-kernel:3-stride:1-idskip:0: {{mean: 1.0}}\n", "an output of 8 pixels"),
    ("proxyless", "!!python/object/apply:os.getcwd []\n", "holds list|not valid YAML"),
    ("proxyless", "a: " + "[" * 4000 + "\n", "not valid YAML"),
    ("once-for-all", f"{FULL_BLOCK}: {{mean: 1.0}}\n", "se:NUMBER of 0 or more"),
    ("tunas", "[1, 2]", "holds list, not keys and values"),
    ("tunas", '{"intercept": 1', "not valid JSON"),
    ("tunas", "[" * 100_000, "not valid JSON"),
    ("tunas", '{"intercept": 1}', "has no list of layers"),
    ("tunas", json.dumps({"layers": [LAYER]}), "has None at intercept"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{**LAYER, "ops": {"a": 1}}]}), "has the option 'a'"),
    ("tunas", json.dumps({"intercept": 1, "layers": [LAYER, LAYER]}), "a layer 32-16 behind 16 channels"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{"ops": {}}]}), "has the layer"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{**LAYER, "ops": {"k0_e1": 1}}]}), "has the option 'k0_e1'"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{**LAYER, "ops": {"k3_e0": 1}}]}), "has the option 'k3_e0'"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{**LAYER, "ops": {"skip": 1}}]}), "has no option but skip"),
    ("tunas", json.dumps({"intercept": 1, "layers": [{**LAYER, "stride": 7}]}), "has the stride 7"),
    ("tunas", json.dumps({"intercept": "1", "layers": [LAYER]}), "a number, not a text"),
    ("tunas", json.dumps({"intercept": -5, "layers": [LAYER]}), "predicts -4 ms for the network of the fastest"),
    (
        "proxyless",
        "op,in_hw,mean_ms\nConv,224,4.4\n",
        "looks like CSV, and a table of proxyless is YAML: of CSV",
    ),
    ("once-for-all", "op,in_hw,mean_ms\nConv,224,4.4\n", "looks like CSV, and a table of once-for-all is YAML"),
    ("proxyless", f"{FULL_BLOCK}-se:1-hs:0: {{mean: x}}\n", "try `hwnas table import once-for-all`"),
    ("once-for-all", f"{CONV}: {{mean: fast}}\n", "try `hwnas table import proxyless`"),
    ("hw-nas-bench-fbnet", json.dumps({"intercept": 1, "layers": [LAYER]}), "no device.*`hwnas table import tunas`"),
    ("tunas", '{"pi": {"base_ms_all_skip": 1, "delta_vs_skip_ms": []}}', "try `hwnas table import hw-nas-bench-fbnet`"),
    ("nn-meter", json.dumps({"intercept": 1, "layers": [LAYER]}), "try `hwnas table import tunas`"),
    ("proxyless", HEADING + "8,16,16,1,1,hard_swish,3,0,1\n", "try `hwnas table import nn-meter`"),
    ("nn-meter", "hw,cin\n8,16\n", "lacks the columns cout, expand"),
    ("nn-meter", HEADING, "has no rows"),
    ("nn-meter", HEADING + "8,16,16,1,1,relu,3,0,1.0\n", "has act 'relu' in line 2; allowed is hard_swish"),
    ("nn-meter", HEADING + "8,16,16,1,1,hard_swish,3,0\n", "None at the milliseconds in line 2"),
    ("nn-meter", HEADING + "8,16,16,1,0,hard_swish,3,0,1.0\n", "'0' at stride in line 2"),
    ("nn-meter", HEADING + 2 * "8,16,16,1,1,hard_swish,3,0,1.0\n", "repeats a block in line 3"),
    (
        "nn-meter",
        HEADING.replace("pixel4_ms", "pixel4") + "8,16,16,1,1,hard_swish,3,0,1\n",
        "has no column of milliseconds",
    ),
    ("hw-nas-bench-fbnet", '{"pi": {"base_ms_all_skip": 1}}', "no --device came; choose one of them"),
]


@pytest.mark.parametrize(("format_name", "text", "message"), MISTAKES)
def test_a_malformed_file_is_refused_in_one_line(tmp_path, format_name, text, message):
    path, out = tmp_path / "theirs", tmp_path / "table.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        import_table(format_name, path, out)
    assert "\n" not in str(error.value)
    assert not out.exists()


@pytest.mark.parametrize("table", [{"base_ms_all_skip": 1}, {"delta_vs_skip_ms": [[1]]}])
def test_an_fbnet_table_of_another_shape_is_refused(tmp_path, table):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({"pi": table}))
    with pytest.raises(UserError, match="allowed is 22 lists of 8 numbers"):
        import_table("hw-nas-bench-fbnet", path, tmp_path / "table.jsonl", "pi")


def test_an_nn_meter_json_without_blocks_is_refused(tmp_path):
    path = tmp_path / "pixel1_lut_ln_v3.json"
    path.write_text('{"transattn_8_96_hard_swish_2_ln": 0.9}')
    with pytest.raises(UserError, match="has no row of a block"):
        import_table("nn-meter", path, tmp_path / "table.jsonl")


@pytest.mark.parametrize("format_name", IMPORTERS)
def test_no_file_and_no_text_are_refused(tmp_path, format_name):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("absent", "is not a file"), ("binary", "is not text")):
        with pytest.raises(UserError, match=message):
            import_table(format_name, tmp_path / name, tmp_path / "table.jsonl")


def test_an_unknown_format_lists_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match="did you mean proxyless"):
        import_table("proxyles", tmp_path / "x", tmp_path / "table.jsonl")
