"""Operators that XNNPACK does not run: the same values by those that it runs."""

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as tfl

from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.litert_graph import Graph, operator_names
from hwnas.runtimes.litert_rewriting import in_integers, with_finite_padding

LITERT = RUNTIMES["litert"]
CHANNELS = 4


def slow(*values):
    """One more of a kind: each converts a module, which takes seconds."""
    return pytest.param(*values, marks=pytest.mark.slow)


def image(size: int) -> torch.Tensor:
    return torch.randn(1, CHANNELS, size, size, generator=torch.Generator().manual_seed(size))


def converted(module, size, path):
    torch.manual_seed(0)
    LITERT.convert(module.eval(), (CHANNELS, size, size), path)
    return path


def check(path, module, x):
    with torch.no_grad():
        expected = module(x).numpy()
    np.testing.assert_allclose(LITERT.load(path, 1).run(x.numpy()), expected, rtol=1e-5, atol=1e-5)


def negative(module):
    """Behind a convolution, whose values may all be negative."""
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(CHANNELS, CHANNELS, 1)
    torch.nn.init.constant_(convolution.bias, -20)
    return torch.nn.Sequential(convolution, module).eval()


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 8), slow(3, 2, 9), slow(5, 3, 9)])
def test_max_pooling_repeats_the_edge_of_an_image(kernel, stride, size, tmp_path, parts_in_xnnpack):
    module = negative(torch.nn.MaxPool2d(kernel, stride, kernel // 2))
    path = converted(module, size, tmp_path / "pool.tflite")
    assert "PADV2" not in operator_names(path.read_bytes())
    assert parts_in_xnnpack(path) == 1
    check(path, module, image(size))


def test_max_pooling_of_nothing_negative_pads_with_zeros(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(CHANNELS, 6, 1), torch.nn.ReLU6(), torch.nn.MaxPool2d(3, 2, 1)).eval()
    path = converted(module, 8, tmp_path / "pool.tflite")
    assert operator_names(path.read_bytes()) == ["CONV_2D", "PAD", "MAX_POOL_2D"]
    check(path, module, image(8))


def linear(activation):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(CHANNELS * 8 * 8, 5), activation)


class PaddedForPooling(torch.nn.Module):
    """Padded by hand, as networks that come from TensorFlow are, and pooled."""

    def __init__(self, amounts, kernel, stride, padding=0, is_shared=False):
        super().__init__()
        self.before, self.after = torch.nn.Conv2d(CHANNELS, CHANNELS, 1), torch.nn.Conv2d(CHANNELS, CHANNELS, 3)
        self.amounts, self.pooling, self.is_shared = amounts, (kernel, stride, padding), is_shared

    def forward(self, x):
        y = self.before(x) - 20  # all is negative
        pooled = torch.nn.functional.max_pool2d(
            torch.nn.functional.pad(y, self.amounts, value=-torch.inf), *self.pooling
        )
        return pooled.mean((2, 3)) + (self.after(y) * y[:, :, 1:-1, 1:-1]).mean((2, 3)) if self.is_shared else pooled


@pytest.mark.parametrize(
    ("module", "is_rewritten"),
    [
        slow(PaddedForPooling((0, 1, 0, 1), 3, 2), True),
        (PaddedForPooling((0, 1, 0, 1), 3, 2, is_shared=True), True),  # a TRANSPOSE stands between the two
        (PaddedForPooling((1, 1, 1, 1), 3, 1, padding=1), False),  # some windows see nothing but padding
        slow(PaddedForPooling((3, 3, 3, 3), 3, 1), False),
    ],
)
def test_what_is_padded_by_hand_is_pooled_the_same(module, is_rewritten, tmp_path, parts_in_xnnpack):
    path = converted(module, 8, tmp_path / "pool.tflite")
    assert ("PADV2" not in operator_names(path.read_bytes())) == is_rewritten
    check(path, module, image(8))
    if is_rewritten:
        LITERT.reduce(path, "int8", [image(8).numpy()], tmp_path / "int8.tflite")
        assert parts_in_xnnpack(tmp_path / "int8.tflite") == 1
    else:
        with pytest.raises(ValueError, match="pads with infinity"):
            LITERT.reduce(path, "int8", [image(8).numpy()], tmp_path / "int8.tflite")


def test_other_padding_is_left_as_it_is(tmp_path):
    module = torch.nn.ConstantPad2d(1, 5.0)
    path = converted(module, 8, tmp_path / "pad.tflite")
    assert operator_names(path.read_bytes()) == ["PADV2"]
    check(path, module, image(8))
    assert with_finite_padding(path.read_bytes()) == path.read_bytes()


@pytest.mark.parametrize(
    ("module", "operators"),
    [
        (torch.nn.Hardswish(), ("ADD", "MUL")),
        slow(linear(torch.nn.Hardswish()), ("ADD", "MUL")),
        (torch.nn.ReLU(), ("MUL",)),
        slow(torch.nn.AvgPool2d(2), ("DEPTHWISE_CONV_2D",)),
        (torch.nn.AvgPool2d(3, 1, 1, count_include_pad=False), ("DEPTHWISE_CONV_2D", "MUL")),
        slow(torch.nn.AvgPool2d(8), ("MEAN",)),
    ],
)
def test_what_int8_lacks_computes_the_same_in_floats_and_runs_in_int8(module, operators, tmp_path, parts_in_xnnpack):
    path, integers, small = (tmp_path / f"{name}.tflite" for name in ("exact", "integers", "int8"))
    converted(module, 8, path)
    integers.write_bytes(in_integers(path.read_bytes()))
    found = set(operator_names(integers.read_bytes()))
    assert found.issuperset(operators)
    assert not {"HARD_SWISH", "RELU", "AVERAGE_POOL_2D"} & found
    x = 4 * image(8)
    check(integers, module, x)
    LITERT.reduce(path, "int8", [x.numpy()], small)
    assert parts_in_xnnpack(small) == 1
    with torch.no_grad():
        expected = module(x).numpy()
    steps = np.abs(LITERT.load(small, 1).run(x.numpy()) - expected) / (np.ptp(expected) / 255)
    assert steps.max() < 5


def pooled_and_clamped():
    """Average pooling of stride 2 over the border that ends with a ReLU, as other converters write it."""
    graph = Graph((1, 7, 7, 2))
    options = tfl.Pool2DOptionsT()
    options.filterHeight = options.filterWidth = 3
    options.strideH = options.strideW = 2
    options.padding, options.fusedActivationFunction = tfl.Padding.SAME, tfl.ActivationFunctionType.RELU
    pooled = graph.operator("AVERAGE_POOL_2D", [graph.graph.inputs[0]], (1, 4, 4, 2), options)
    graph.graph.outputs = [graph.operator("ADD", [pooled, pooled], (1, 4, 4, 2), tfl.AddOptionsT())]
    return graph.serialise()


def test_the_activation_that_pooling_ends_with_is_kept(tmp_path):
    files = {name: tmp_path / f"{name}.tflite" for name in ("exact", "integers")}
    content = pooled_and_clamped()
    files["exact"].write_bytes(content)
    files["integers"].write_bytes(in_integers(content))
    x = np.random.default_rng(0).standard_normal((1, 2, 7, 7), dtype=np.float32)
    exact, integers = (LITERT.load(path, 1).run(x) for path in files.values())
    assert exact.min() == 0
    np.testing.assert_allclose(integers, exact, rtol=1e-5, atol=1e-6)


def test_a_file_of_operators_that_all_run_is_left_as_it_is(tmp_path):
    module = torch.nn.Conv2d(CHANNELS, 4, 3)
    content = converted(module, 8, tmp_path / "conv.tflite").read_bytes()
    assert in_integers(content) == content


def test_names_of_tensors_stay_unique(tmp_path):
    """Quantisers know tensors by them."""
    module = torch.nn.Sequential(torch.nn.Hardswish(), negative(torch.nn.MaxPool2d(3, 2, 1)), torch.nn.Hardswish())
    content = in_integers(converted(module, 8, tmp_path / "two.tflite").read_bytes())
    tensors = tfl.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors
    assert len({tensor.name for tensor in tensors}) == len(tensors)
