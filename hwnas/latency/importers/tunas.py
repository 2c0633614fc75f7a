"""TuNAS's linear model of the ProxylessNAS space on a Pixel 1: JSON of its decoded coefficients.

https://github.com/google-research/google-research, tunas/cost_model_data.py: the original is an array of coefficients
inside a program, one per layer and option, and a bias. The JSON names them: `{"intercept", "device", "layers":
[{"cin_cout": "16-24", "stride": 2, "ops": {"k3_e3": -4.03, "skip": ...}}]}`. They are for 224 pixels and 1000 classes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.latency.importers.additive import SKIPPING, constant_rows, difference_rows, values_told
from hwnas.latency.importers.imported import Imported, foreign_identity, malformed, number, read_json_mapping, whole
from hwnas.spaces import OpSpec, op

KERNELS, STRIDES = (1, 3, 5, 7, 9), (1, 2)
RESOLUTION, NUM_CLASSES, HEAD_CHANNELS = 224, 1000, 1280
SKIP = "skip"
LAYER = 'a layer like {"cin_cout": "16-24", "stride": 2, "ops": {"k3_e3": 1.5, "skip": 0.5}}'
CHANNELS, OPTION = re.compile(r"([1-9]\d{0,4})-([1-9]\d{0,4})"), re.compile(r"k(\d)_e([1-9])")
Shape = tuple[int, int, int]


def _layers(path: Path, content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    layers = content.get("layers")
    if not isinstance(layers, list) or not layers:
        raise malformed(path, "has no list of layers", f'{{"intercept": 92.1, "layers": [...]}} with {LAYER}')
    for layer in layers:
        sound = isinstance(layer, dict) and isinstance(layer.get("ops"), dict) and layer["ops"]
        if not sound or not CHANNELS.fullmatch(str(layer.get("cin_cout"))):
            raise malformed(path, f"has the layer {layer!r}", LAYER)
    return layers


def _options(path: Path, layer: Mapping[str, Any], shape: Shape) -> tuple[dict[OpSpec, float], float, Shape]:
    """(milliseconds of every option above skip or the fastest, the milliseconds of that, shape behind the layer)."""
    channels_in, channels = map(int, layer["cin_cout"].split("-"))
    if channels_in != shape[0]:
        raise malformed(path, f"has a layer {layer['cin_cout']} behind {shape[0]} channels", "a chain")
    stride = whole(path, f"stride of {layer['cin_cout']}", layer.get("stride", 1), 1)
    if stride not in STRIDES:
        raise malformed(path, f"has the stride {stride} of {layer['cin_cout']}", "1 or 2")
    ms = {name: _coefficient(path, f"{name} of {layer['cin_cout']}", value) for name, value in layer["ops"].items()}
    base_ms = ms.pop(SKIP) if SKIP in ms else min(ms.values())
    options = {}
    for name, option_ms in ms.items():
        if not (match := OPTION.fullmatch(name)) or int(match[1]) not in KERNELS:
            raise malformed(path, f"has the option {name!r}", "skip, or an odd kernel and an expansion like k3_e6")
        options[op("ir", shape, channels, stride, e=int(match[2]), k=int(match[1]))] = option_ms - base_ms
    if not options:
        raise malformed(path, f"has no option but {SKIP} in {layer['cin_cout']}", LAYER)
    return options, base_ms, op("ir", shape, channels, stride).out_shape


def _coefficient(path: Path, where: str, value: object) -> float:
    """A number: the text of one comes of another program."""
    if isinstance(value, str):
        raise malformed(path, f"has {value!r} at {where}", "a number, not a text")
    return number(path, where, value)


def read(path: Path, device: str | None) -> Imported:
    """The model as rows whose sums are its predictions."""
    content = read_json_mapping(path)
    layers = _layers(path, content)
    constant_ms = _coefficient(path, "intercept", content.get("intercept"))
    stem = op("conv", (3, RESOLUTION, RESOLUTION), int(layers[0]["cin_cout"].split("-")[0]), 2, k=3)
    shape, options = stem.out_shape, []
    for layer in layers:
        layer_options, base_ms, shape = _options(path, layer, shape)
        options.append(layer_options)
        constant_ms += base_ms
    if constant_ms <= 0:
        raise malformed(path, f"predicts {constant_ms:g} ms for the network of the fastest options", "more than 0")
    head = op("conv", shape, HEAD_CHANNELS, k=1)
    fixed = constant_rows(constant_ms, stem, head, op("classifier", head.out_shape, NUM_CLASSES))
    told = {"device": device or str(content.get("device", "unknown")), "resolution": str(RESOLUTION)}
    told["values"] = values_told(f"{SKIPPING}, or to its fastest option where it cannot be skipped")
    identity = foreign_identity("TuNAS, https://arxiv.org/abs/2008.06120", path, **told)
    return Imported(identity, [*fixed, *difference_rows(options)])
