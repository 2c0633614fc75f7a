"""ProxylessNAS's table: YAML, one row an operator with count, mean and variance in milliseconds.

https://github.com/mit-han-lab/proxylessnas, search/utils/latency_estimator.py: `Conv` is the first 3x3 convolution of
stride 2, `Conv_1` the 1x1 convolution before pooling, `Logits` everything behind that, `expanded_conv` the inverted
residual. A skipped layer costs nothing, and a key that is not there is an error in the original too.
"""

from pathlib import Path

from hwnas.errors import UserError
from hwnas.latency.importers.imported import Imported, foreign_identity, read_yaml
from hwnas.latency.importers.layer_keys import Layer, from_variance, our_block, resolution_of, rows_of
from hwnas.spaces import OpSpec, op


def spec_of(layer: Layer) -> OpSpec:
    """The operator of a row."""
    match layer.kind:
        case "Conv":
            return op("conv", layer.in_shape, layer.out_channels, layer.stride, k=3)
        case "Conv_1":
            return op("conv", layer.in_shape, layer.out_channels, k=1)
        case "Logits":
            return op("classifier", layer.in_shape, layer.out_channels)
        case "expanded_conv":
            expand, kernel = layer.arg("expand", 1), layer.arg("kernel", 1)
            args = {"e": expand, "k": kernel, "residual": layer.arg("idskip")}
            foreign = op("proxyless_ir", layer.in_shape, layer.out_channels, layer.arg("stride", 1), **args)
            return our_block(layer, expand) or foreign
    raise UserError("of kind Conv, Conv_1, Logits or expanded_conv; other kinds may be of format once-for-all")


def read(path: Path, device: str | None) -> Imported:
    """The table; the file does not name its device."""
    content = read_yaml(path)
    rows = rows_of(path, content, spec_of, from_variance)
    told = {"device": device or "unknown", "resolution": resolution_of(content)}
    return Imported(foreign_identity("ProxylessNAS, https://arxiv.org/abs/1812.00332", path, **told), rows)
