"""once-for-all's table: YAML, one file per resolution, rows with count, mean and standard deviation in milliseconds.

https://github.com/mit-han-lab/once-for-all, tutorial/latency_table.py and tutorial/checkpoints/latency_table@note10.
`expand` is the number of channels inside; `se` and `hs` tell squeeze-and-excitation and hard-swish. The first and the
last convolutions use hard-swish, so they are not our `conv`; `Logits` is the linear layer alone, not our classifier.
A block without both clamps its activations as ours does and counts as the same operator.
"""

from pathlib import Path

from hwnas.errors import UserError
from hwnas.latency.importers.imported import Imported, foreign_identity, read_yaml
from hwnas.latency.importers.layer_keys import Layer, our_block, resolution_of, rows_of
from hwnas.spaces import OpSpec, op

KERNELS = {"Conv": 3, "Conv_1": 1, "Conv_2": 1}


def _block(layer: Layer) -> OpSpec:
    inside, channels = layer.arg("expand", 1), layer.in_shape[0]
    args = {name: layer.arg(name) for name in ("se", "hs")}
    plain = not any(args.values()) and inside % channels == 0
    ours = our_block(layer, inside // channels) if plain else None
    args |= {"mid": inside, "k": layer.arg("kernel", 1), "residual": layer.arg("idskip")}
    return ours or op("ofa_ir", layer.in_shape, layer.out_channels, layer.arg("stride", 1), **args)


def spec_of(layer: Layer) -> OpSpec:
    """The operator of a row."""
    if layer.kind == "expanded_conv":
        return _block(layer)
    if layer.kind in KERNELS:
        return op("ofa_conv", layer.in_shape, layer.out_channels, layer.stride, k=KERNELS[layer.kind])
    if layer.kind in ("AvgPool2D", "Logits"):
        return op(f"ofa_{layer.kind.lower()}", layer.in_shape, layer.out_channels, layer.stride)
    raise UserError(f"of kind {', '.join(KERNELS)}, expanded_conv, AvgPool2D or Logits")


def read(path: Path, device: str | None) -> Imported:
    """The table of one resolution; the file does not name its device, its folder does."""
    content = read_yaml(path)
    rows = rows_of(path, content, spec_of, lambda std_ms: std_ms)
    folder_device = path.resolve().parent.name.partition("@")[2]
    told = {"device": device or folder_device or "unknown", "resolution": resolution_of(content)}
    return Imported(foreign_identity("once-for-all, https://arxiv.org/abs/1908.09791", path, **told), rows)
