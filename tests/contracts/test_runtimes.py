"""What every runtime must do: what is measured is what ships, and what ships is what was trained."""

import itertools
import random
import statistics
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch

from hwnas.devices import load_profile
from hwnas.nn import Network, layer_weights
from hwnas.nn.ops import BlockModule
from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.litert_graph import metadata_text, operator_names
from hwnas.runtimes.runtime import ReducedDtype
from hwnas.spaces import Space, SpaceConfig, build_space, op
from hwnas.spaces.darts import darts
from hwnas.spaces.graph import GraphBuilder
from hwnas.spaces.nas_bench_201 import nas_bench_201
from hwnas.spaces.operators import block
from hwnas.spaces.space import sees_image
from hwnas.stages.export import SHIPPED
from hwnas.stages.networks import measure_together

MAX_RELATIVE_ERROR = 1e-4
MAX_LATENCY_DEVIATION = 0.03
# Every kind, one after another. Stride 2 is on odd sizes here, in the network below on even ones: TFLite pads those
# differently.
BLOCKS = [
    op("conv", (3, 17, 17), 16, 2, k=3),
    op("ir", (16, 9, 9), 16, 1, e=1, k=3),
    op("ir", (16, 9, 9), 24, 2, e=6, k=7),
    op("ir", (24, 5, 5), 24, 1, e=3, k=5),
    op("conv", (24, 5, 5), 64, 1, k=1),
    op("classifier", (64, 5, 5), 10),
]
BLOCKS_V3 = [
    op("conv", (3, 17, 17), 16, 2, k=3, hs=1),
    op("ir3", (16, 9, 9), 16, 1, h=16, k=3, hs=0, se=0),
    op("ir3", (16, 9, 9), 24, 2, h=96, k=7, hs=0, se=1),
    op("ir3", (24, 5, 5), 24, 1, h=72, k=5, hs=1, se=1),
    op("ir3", (24, 5, 5), 24, 1, h=72, k=3, hs=1, se=0),
    op("shortcut", (24, 5, 5), 32, 2),
    op("conv", (32, 3, 3), 64, 1, k=1, hs=1),
    op("classifier", (64, 3, 3), 10, h=48),
]
# Those of cells, with stride where they can have one.
BLOCKS_CELLS = [
    op("conv_bn", (3, 128, 128), 8, k=3),
    op("sep_conv", (8, 128, 128), 8, 2, k=5),
    op("dil_conv", (8, 64, 64), 8, 2, k=3),
    op("max_pool", (8, 32, 32), 8, 2, k=3),
    op("avg_pool", (8, 16, 16), 8, 2, k=3),
    op("factorized_reduce", (8, 8, 8), 12, 2),
    op("pooled_shortcut", (12, 4, 4), 16, 2),
    op("relu_conv", (16, 2, 2), 12, k=1),
    op("relu_conv_pair", (12, 2, 2), 16, k=3),
    op("normed_classifier", (16, 2, 2), 10),
]
BLOCKS_WITHOUT_STRIDE = [
    *(op(kind, (8, 9, 9), 8, k=k) for kind in ("sep_conv", "dil_conv") for k in (3, 5)),
    *(op(kind, (8, 9, 9), 8, k=3) for kind in ("max_pool", "avg_pool")),
    op("relu_conv_pair", (8, 8, 8), 16, 2, k=3),
]
# An image of another size; groups, shuffles and branches: FBNet's blocks, MobileNetV4's, ShuffleNetV2's units. Both
# branches of the first xception pad its input, of even size.
BLOCKS_LATER = [
    op("resize", (3, 28, 28), 3, r=19),
    op("conv", (3, 19, 19), 16, 2, k=3, relu=1),
    op("fbnet_ir", (16, 10, 10), 16, e=1, k=3, g=2),
    op("fbnet_ir", (16, 10, 10), 24, e=1, k=5, g=2),
    op("uib", (24, 10, 10), 24, e=3, a=5, k=3),
    op("uib", (24, 10, 10), 24, e=2, a=0, k=0),
    op("xception", (24, 10, 10), 40, 2, h=14),
    op("xception", (40, 5, 5), 40, h=14),
    op("shuffle", (40, 5, 5), 40, h=10, k=7),
    op("shuffle", (40, 5, 5), 64, 2, h=12, k=5),
    op("uib", (64, 3, 3), 32, 2, e=2, a=3, k=0),
    op("classifier", (32, 2, 2), 10, h=48, relu=1),
]
CHAINS = {"v2": BLOCKS, "v3": BLOCKS_V3, "cells": BLOCKS_CELLS, "later": BLOCKS_LATER}


def trained_like(module: torch.nn.Module) -> torch.nn.Module:
    """The module in eval mode with statistics, scales and biases that are not the initial ones."""
    torch.manual_seed(0)
    for child in module.modules():
        if isinstance(child, torch.nn.BatchNorm2d):
            child.running_mean.normal_(0, 0.2)
            child.running_var.uniform_(0.5, 2)
            child.weight.data.uniform_(0.5, 1.5)
            child.bias.data.normal_(0, 0.2)
        elif getattr(child, "bias", None) is not None:
            child.bias.data.normal_()
    return module.eval()


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def numpy_weights(module):
    return [(weight.numpy(), bias.numpy()) for weight, bias in layer_weights(module)]


def executed(name: str, path, tmp_path) -> list[str]:
    """The operators that the runtime executes of a file, after its own optimisation.

    Which of two branches ONNX Runtime puts first differs between equal files: with branches they are sorted.
    """
    if name == "litert":
        return operator_names(path.read_bytes())
    import onnx

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = [f"{n.domain}:{n.op_type}" for n in onnx.load(options.optimized_model_filepath).graph.node]
    return sorted(found) if ":Concat" in found else found


def buffer_alignments(path) -> list[int]:
    """Where each constant of a TFLite file begins, modulo 16 bytes."""
    from ai_edge_litert import schema_py_generated as tfl

    content = path.read_bytes()
    model = tfl.Model.GetRootAs(content, 0)
    constants = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength())]
    start = np.frombuffer(content, np.uint8).ctypes.data
    return [(c.ctypes.data - start) % 16 for c in constants if isinstance(c, np.ndarray) and c.size]


SMALL = [pytest.param((name, "proxyless_small"), id=f"{name}-proxyless_small") for name in SHIPPED]
LARGER = [pytest.param((name, "mobilenet_v3"), id=f"{name}-mobilenet_v3", marks=pytest.mark.slow) for name in SHIPPED]


@pytest.fixture(scope="module", params=[*SMALL, *LARGER])
def network_files(request, tmp_path_factory):
    """(runtime name, module, space, converted file, built file) of one random network."""
    name, space_name = request.param
    runtime, folder = RUNTIMES[name], tmp_path_factory.mktemp(name)
    space = build_space(SpaceConfig(space_name, 32, 10))
    arch = space.sample(random.Random(1))
    network = trained_like(Network(space, arch))
    converted, built = folder / f"converted{runtime.suffix}", folder / f"built{runtime.suffix}"
    runtime.convert(network, space.input_shape, converted)
    runtime.build([block(s) for s in space.ops(arch)], numpy_weights(network), space.input_shape, built)
    return name, network, space, converted, built


# Of a converted and a built file: numbers may be rounded the other way where the fp32 ones differ by 1e-7.
ROUNDING = {"fp16": 0.002, "int8": 0.05}


@pytest.mark.parametrize("dtype", get_args(ReducedDtype))
def test_of_less_precision_they_are_equal_too(network_files, dtype, tmp_path):
    """What such profiles measure is what is shipped: the same operators, the same numbers."""
    name, _, space, *files = network_files
    images = np.random.default_rng(0).standard_normal((4, 1, *space.input_shape), dtype=np.float32)
    converted, built = (tmp_path / f"{i}{RUNTIMES[name].suffix}" for i in range(2))
    for exact, path in zip(files, (converted, built), strict=True):
        RUNTIMES[name].reduce(exact, dtype, list(images), path)
    assert executed(name, converted, tmp_path) == executed(name, built, tmp_path)
    found = [RUNTIMES[name].load(path, 1).run(images[0]) for path in (converted, built)]
    assert relative_error(*found) < ROUNDING[dtype]


def test_fp16_is_half_as_large_and_nearly_exact(network_files, tmp_path):
    name, _, space, exact, _ = network_files
    image = np.random.default_rng(0).standard_normal((1, *space.input_shape), dtype=np.float32)
    path = tmp_path / f"half{RUNTIMES[name].suffix}"
    RUNTIMES[name].reduce(exact, "fp16", [], path)
    expected, found = (RUNTIMES[name].load(p, 1).run(image) for p in (exact, path))
    assert found.dtype == np.float32
    assert relative_error(found, expected) < 0.02
    assert path.stat().st_size < 0.6 * exact.stat().st_size


def test_an_fp16_tflite_file_allows_fp16_arithmetic(tmp_path):
    runtime, specs, exact = RUNTIMES["litert"], [BLOCKS[0], BLOCKS[1]], tmp_path / "exact.tflite"
    module = trained_like(torch.nn.Sequential(*(BlockModule(block(spec)) for spec in specs)))
    runtime.build([block(spec) for spec in specs], numpy_weights(module), specs[0].in_shape, exact)
    runtime.reduce(exact, "fp16", [], exact)
    runtime.write_metadata(exact, {"labels": "[]"})
    assert metadata_text(exact.read_bytes(), "reduced_precision_support") == "fp16accfp16"
    operators = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD"]
    assert [name for name in operator_names(exact.read_bytes()) if name != "DEQUANTIZE"] == operators


def test_an_fp16_onnx_file_is_valid(tmp_path):
    import onnx

    runtime, path = RUNTIMES["ort"], tmp_path / "block.onnx"
    chosen = block(BLOCKS[1])
    runtime.build([chosen], numpy_weights(trained_like(BlockModule(chosen))), BLOCKS[1].in_shape, path)
    runtime.reduce(path, "fp16", [], path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)  # nodes in order among it
    weights = {constant.data_type for constant in model.graph.initializer}
    assert weights == {onnx.TensorProto.FLOAT16}


def test_converted_and_built_files_compute_what_torch_computes(network_files):
    name, network, space, *files = network_files
    x = torch.randn(1, *space.input_shape)
    with torch.no_grad():
        expected = network(x).numpy()
    for path in files:
        assert relative_error(RUNTIMES[name].load(path, 1).run(x.numpy()), expected) < MAX_RELATIVE_ERROR


def test_what_is_measured_is_what_ships(network_files, tmp_path):
    name, _, _, converted, built = network_files
    assert executed(name, converted, tmp_path) == executed(name, built, tmp_path)


def built_and_converted(name, space, arch, folder, number):
    """Both files of a network, and how far their outputs are apart."""
    runtime, network = RUNTIMES[name], trained_like(Network(space, arch))
    built, converted = (folder / f"{stem}{number}{runtime.suffix}" for stem in ("built", "converted"))
    runtime.build([block(s) for s in space.ops(arch)], numpy_weights(network), space.input_shape, built)
    runtime.convert(network, space.input_shape, converted)
    x = np.random.default_rng(number).standard_normal((1, *space.input_shape), dtype=np.float32)
    return built, converted, relative_error(*(runtime.load(path, 1).run(x) for path in (built, converted)))


def latencies_ms(files, profile, sessions=7):
    """Median milliseconds of each file in each session, by name: in a fresh process and another order each.

    Where a process happens to place a model in memory shifts it by some percent for as long as the process lives.
    """
    orders = (random.Random(number).sample(sorted(files), len(files)) for number in range(sessions))
    found = [measure_together({name: files[name] for name in order}, profile, {}) for order in orders]
    return {name: [measured[name].median_ms for measured in found] for name in files}


def deviation(times_ms, others_ms):
    return abs(statistics.median(a / b for a, b in zip(times_ms, others_ms, strict=True)) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_built_networks_compute_and_take_what_converted_ones_do(name, tmp_path):
    """Ten random networks, in turn; on a machine that tells a file from its copy there is nothing to learn."""
    files, rng, space = {}, random.Random(0), build_space(SpaceConfig("proxyless_small", 96, 10))
    for number in range(10):
        built, converted, error = built_and_converted(name, space, space.sample(rng), tmp_path, number)
        assert error < MAX_RELATIVE_ERROR
        copy = converted.with_stem(f"copy{number}")
        copy.write_bytes(converted.read_bytes())
        files |= {path.stem: path for path in (built, converted, copy)}
    found_ms = latencies_ms(files, load_profile(f"host_cpu1_{name}_fp32"))
    deviations, noise = (
        [deviation(found_ms[f"{kind}{number}"], found_ms[f"converted{number}"]) for number in range(10)]
        for kind in ("built", "copy")
    )
    if max(noise) > MAX_LATENCY_DEVIATION:
        pytest.skip(f"this machine is not quiet: a file differs from its copy by {100 * max(noise):.1f} %")
    assert max(deviations) < MAX_LATENCY_DEVIATION


def test_metadata_is_kept_inside_and_the_file_still_runs(network_files, tmp_path):
    name, _, space, converted, _ = network_files
    copy = tmp_path / converted.name
    copy.write_bytes(converted.read_bytes())
    assert RUNTIMES[name].read_metadata(copy) == {}
    for labels in ('["a"]', '["b", "ü"]'):
        RUNTIMES[name].write_metadata(copy, {"labels": labels})
        assert RUNTIMES[name].read_metadata(copy) == {"labels": labels}
    x = np.random.default_rng(0).standard_normal((1, *space.input_shape), dtype=np.float32)
    before, after = (RUNTIMES[name].load(path, 1).run(x) for path in (converted, copy))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("spec", [*itertools.chain(*CHAINS.values()), *BLOCKS_WITHOUT_STRIDE], ids=str)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_kind_of_block_computes_what_torch_computes(name, spec, tmp_path):
    module = trained_like(BlockModule(block(spec)))
    path = tmp_path / f"block{RUNTIMES[name].suffix}"
    RUNTIMES[name].build([block(spec)], numpy_weights(module), spec.in_shape, path)
    x = torch.randn(1, *spec.in_shape)
    with torch.no_grad():
        expected = module(x).numpy()
    found = RUNTIMES[name].load(path, 1).run(x.numpy())
    assert found.shape == expected.shape
    assert relative_error(found, expected) < MAX_RELATIVE_ERROR


@pytest.mark.parametrize("specs", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_kind_of_block_is_built_as_it_is_converted(name, specs, tmp_path):
    runtime, blocks, shape = RUNTIMES[name], [block(spec) for spec in specs], specs[0].in_shape
    module = trained_like(torch.nn.Sequential(*map(BlockModule, blocks)))
    converted, built = (tmp_path / f"{stem}{runtime.suffix}" for stem in ("converted", "built"))
    runtime.convert(module, shape, converted)
    runtime.build(blocks, numpy_weights(module), shape, built)
    assert executed(name, built, tmp_path) == executed(name, converted, tmp_path)
    x = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    expected, found = (runtime.load(path, 1).run(x) for path in (converted, built))
    assert found.shape == expected.shape
    assert relative_error(found, expected) < MAX_RELATIVE_ERROR
    if specs is BLOCKS_LATER:  # of the others' layers are the networks above
        assert_reduced_alike(name, converted, built, x, tmp_path)


def assert_reduced_alike(name, converted, built, x, tmp_path):
    for dtype in get_args(ReducedDtype):
        reduced = [path.with_stem(f"{path.stem}_{dtype}") for path in (converted, built)]
        for exact, path in zip((converted, built), reduced, strict=True):
            RUNTIMES[name].reduce(exact, dtype, [x], path)
        assert executed(name, reduced[0], tmp_path) == executed(name, reduced[1], tmp_path)
        assert relative_error(*(RUNTIMES[name].load(path, 1).run(x) for path in reduced)) < ROUNDING[dtype]


def small_graph() -> Space:
    """A cell whose node is a sum, whose operators share their input, and whose output is a concatenation, shuffled."""
    graph = GraphBuilder("small", 16)
    stem = graph.fixed("conv_bn", (0,), 8, k=3)
    node = graph.fixed("relu_conv", (stem,), 8, k=3)
    graph.fixed("avg_pool", (stem,), 8, k=3, to=node)
    graph.fixed("skip", (stem,), 8, to=node)
    other = graph.fixed("relu_conv", (stem,), 8, k=1)
    graph.fixed("avg_pool", (stem,), 8, k=3, to=other)
    both = graph.fixed("relu_conv", (node, other), 8, k=1)
    graph.fixed("sep_conv", (node,), 8, k=3, to=both)
    shuffled = graph.fixed("shuffle", (both, other), 16, h=8, k=3)
    graph.fixed("normed_classifier", (shuffled,), 10)
    return graph.space()


def built_graph(name, space, arch, path):
    """The network of an architecture, and its file."""
    network, ops = trained_like(Network(space, arch)), space.ops(arch)
    RUNTIMES[name].build([block(s) for s in ops], numpy_weights(network), space.input_shape, path, ops.wires)
    return network


def check_graph(name, space, arch, tmp_path):
    """Both files compute what torch computes; by the same operators, which a converter orders in its own way."""
    converted, built = (tmp_path / f"{stem}{RUNTIMES[name].suffix}" for stem in ("converted", "built"))
    network = built_graph(name, space, arch, built)
    RUNTIMES[name].convert(network, space.input_shape, converted)
    x = torch.randn(1, *space.input_shape)
    with torch.no_grad():
        expected = network(x).numpy()
    for path in (converted, built):
        assert relative_error(RUNTIMES[name].load(path, 1).run(x.numpy()), expected) < MAX_RELATIVE_ERROR
    assert sorted(executed(name, converted, tmp_path)) == sorted(executed(name, built, tmp_path))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_graph_is_built_as_it_is_converted(name, tmp_path):
    check_graph(name, small_graph(), (), tmp_path)


@pytest.mark.parametrize("dtype", get_args(ReducedDtype))
@pytest.mark.parametrize("name", SHIPPED)
def test_a_graph_can_have_less_precision(name, dtype, tmp_path):
    path = tmp_path / f"graph{RUNTIMES[name].suffix}"
    network = built_graph(name, small_graph(), (), path)
    images = np.random.default_rng(0).standard_normal((4, 1, 3, 16, 16), dtype=np.float32)
    RUNTIMES[name].reduce(path, dtype, list(images), path)
    with torch.no_grad():
        expected = network(torch.from_numpy(images[0])).numpy()
    assert relative_error(RUNTIMES[name].load(path, 1).run(images[0]), expected) < 2 * ROUNDING[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("space", [nas_bench_201(16, 0.5, cells=1), darts(16, 0.5, layers=3)], ids=lambda s: s.name)
@pytest.mark.parametrize("name", SHIPPED)
def test_networks_of_cells_are_built_as_they_are_converted(name, space, seed, tmp_path):
    check_graph(name, space, space.sample(random.Random(seed)), tmp_path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_network_that_does_not_look_at_its_image_is_exported(name, tmp_path):
    space = nas_bench_201(16, 0.5, cells=1)
    arch = space.from_names(("none",) * 6)
    assert not sees_image(space.steps(arch))
    network, path = trained_like(Network(space, arch)), tmp_path / f"constant{RUNTIMES[name].suffix}"
    RUNTIMES[name].convert(network, space.input_shape, path)
    x = torch.randn(1, *space.input_shape)
    with torch.no_grad():
        expected = network(x).numpy()
    assert relative_error(RUNTIMES[name].load(path, 1).run(x.numpy()), expected) < MAX_RELATIVE_ERROR


def test_constants_of_a_tflite_file_are_aligned_also_after_metadata(tmp_path):
    runtime, path = RUNTIMES["litert"], tmp_path / "block.tflite"
    chosen = block(BLOCKS[1])
    runtime.build([chosen], numpy_weights(trained_like(BlockModule(chosen))), BLOCKS[1].in_shape, path)
    assert set(buffer_alignments(path)) == {0}
    runtime.write_metadata(path, {"a": "odd"})
    assert set(buffer_alignments(path)) == {0}


@pytest.mark.parametrize("content", [b"", b"this is no model"], ids=["empty", "text"])
@pytest.mark.parametrize("name", RUNTIMES)
def test_a_bad_file_is_refused(name, content, tmp_path):
    path = tmp_path / f"bad{RUNTIMES[name].suffix}"
    path.write_bytes(content)
    with pytest.raises(Exception, match=r".+"):
        RUNTIMES[name].load(path, 1)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_says_which_version_runs(name):
    assert any(character.isdigit() for character in RUNTIMES[name].version())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_failed_conversion_leaves_nothing(name, tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("cannot be traced")

    with pytest.raises(Exception, match="cannot be traced"):
        RUNTIMES[name].convert(Broken(), (3, 8, 8), tmp_path / f"m{RUNTIMES[name].suffix}")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_the_exporting_machine_is_in_the_file(network_files):
    _, _, _, converted, _ = network_files
    assert str(Path(torch.__file__).parent).encode() not in converted.read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in converted.read_bytes()


def test_metadata_can_be_added_where_a_quantiser_put_data_behind_the_flatbuffer(tmp_path):
    from ai_edge_litert import schema_py_generated as tfl

    runtime, space = RUNTIMES["litert"], build_space(SpaceConfig("proxyless_small", 32, 10))
    arch = (5,) * len(space.decisions)
    network = trained_like(Network(space, arch))
    exact, path = tmp_path / "exact.tflite", tmp_path / "int8.tflite"
    runtime.build([block(s) for s in space.ops(arch)], numpy_weights(network), space.input_shape, exact)
    x = np.random.default_rng(0).standard_normal((1, *space.input_shape), dtype=np.float32)
    runtime.reduce(exact, "int8", [x], path)
    model = tfl.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    assert any(buffer.offset > 1 for buffer in model.buffers)
    before = runtime.load(path, 1).run(x)
    runtime.write_metadata(path, {"labels": "[]"})
    np.testing.assert_array_equal(runtime.load(path, 1).run(x), before)
    assert runtime.read_metadata(path) == {"labels": "[]"}
