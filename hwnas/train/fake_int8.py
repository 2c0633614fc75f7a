"""A module that computes in floats what its int8 file computes, and can be trained so.

As "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" simulates it
(https://arxiv.org/abs/1712.05877, section 3): batch norm folded, every tensor between two operators rounded, gradients
passed straight through the rounding. What is rounded how follows the files: weights per output channel, symmetric;
activations per tensor, 256 steps between the least and the largest value of the calibration images, zero included.

Not by torchao's `prepare_qat_pt2e`: of the quantisers that there are for it, XNNPACK's, among torchao's tests, does not
round all that the files round, and that of the TFLite converter fails with torch 2.14 (docs/export.md, "Accuracy that
int8 loses"). Nor does this module need any package beside torch.
"""

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

LEAST, MOST = -128, 127  # of an activation; a weight keeps to -127 for symmetry
SMALLEST_STEP = 1e-8  # of a channel of zeros
WEIGHTED = ("conv1d", "conv2d", "linear")
FOLDING = ("conv1d", "conv2d")  # convolutions that take in the batch norm after them
FUSED = ("relu", "relu6", "hardtanh")  # part of the operator before, whose own output is never rounded
OF_WEIGHTS, OF_BIASES = "steps_of_weights", "steps_of_biases"
# Operators whose output has the steps of their input: TFLite's kernels demand it, and most only move values.
SAME_STEPS = (
    *("reshape", "view", "flatten", "squeeze", "unsqueeze", "permute", "transpose", "contiguous", "clone", "dropout"),
    *("slice", "select", "split", "split_with_sizes", "chunk", "getitem", "expand", "pad", "constant_pad_nd"),
    *("max_pool2d", "avg_pool2d", "upsample_bilinear2d"),
)
ROUNDING = ("avg_pool2d", "upsample_bilinear2d")  # of these, those whose values are new


class Rounding(nn.Module):
    """What int8 leaves of something. Watching, it lets all pass."""

    is_watching = False


class ActivationSteps(Rounding):
    """Of one activation. Watching, it notes the range."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.low: Tensor
        self.high: Tensor
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros((), device=device))

    def forward(self, x: Tensor) -> Tensor:  # any shape -> the same
        if self.is_watching:
            self.low, self.high = torch.minimum(self.low, x.amin()), torch.maximum(self.high, x.amax())
            return x
        steps = MOST - LEAST
        span = (self.high - self.low).clamp_min(steps * SMALLEST_STEP)
        zero = torch.round(LEAST - self.low * steps / span).to(torch.int32)  # in this order: -1 to 1 has its zero at 0
        return torch.fake_quantize_per_tensor_affine(x, span / steps, zero, LEAST, MOST)


class WeightSteps(Rounding):
    """Of a weight, outputs first: one for all weights."""

    def forward(self, weight: Tensor) -> Tensor:  # (outputs, ...) -> the same
        if self.is_watching:
            return weight
        step = _weight_step(weight)
        zero = torch.zeros_like(step, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, step, zero, 0, -MOST, MOST)


class BiasSteps(Rounding):
    """Of a bias, which is int32 in steps of a product of input and weight: one for all biases.

    A step is far below one of the output; still it turns some roundings of the output the other way.
    """

    def forward(self, bias: Tensor, weight: Tensor, low: Tensor, high: Tensor) -> Tensor:  # (outputs,) -> the same
        if self.is_watching:
            return bias
        step = _weight_step(weight).double() * ((high - low) / (MOST - LEAST)).double().clamp_min(SMALLEST_STEP)
        return bias + (torch.round(bias.detach() / step) * step - bias.detach()).float()


def _weight_step(weight: Tensor) -> Tensor:
    return (weight.detach().abs().flatten(1).amax(1) / MOST).clamp_min(SMALLEST_STEP)


def folded_weight(weight: Tensor, scale: Tensor | None, var: Tensor, eps: float) -> Tensor:
    """A convolution's weight with the batch norm after it taken in."""
    return weight * _factor(scale, var, eps).view(-1, *[1] * (weight.ndim - 1))


def folded_bias(
    bias: Tensor | None, scale: Tensor | None, shift: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    """Its bias: (channels,)."""
    moved = (-mean if bias is None else bias - mean) * _factor(scale, var, eps)
    return moved if shift is None else moved + shift


def _factor(scale: Tensor | None, var: Tensor, eps: float) -> Tensor:
    factor = torch.rsqrt(var + eps)
    return factor if scale is None else factor * scale


class FakeInt8(nn.Module):
    """The module as its int8 file computes it. It shares the module's parameters: training one trains the other.

    example: (N, C, H, W) on the module's device. Only batches of this size can be computed. Dropout and batch norm are
    as at inference, also while training.
    """

    def __init__(self, module: nn.Module, example: Tensor) -> None:
        super().__init__()
        traced = torch.export.export(module.eval(), (example,)).module(check_guards=False)
        assert isinstance(traced, fx.GraphModule)
        self.batch_size, graph = len(example), traced.graph
        _fold_batch_norms(graph)
        _round(traced, example.device)
        self.graph = fx.GraphModule(traced, graph)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes)
        y: Tensor = self.graph(x)
        return y

    @torch.no_grad()
    def watch(self, images: Tensor) -> None:
        """Takes the range of every activation from images, computed without any rounding, as the exporters do.

        (n, C, H, W) on the device; the last batch is filled up with the first images.
        """
        self._set_watching(True)
        for batch in self.batches(images):
            self(batch)
        self._set_watching(False)

    def _set_watching(self, is_watching: bool) -> None:
        for module in self.modules():
            if isinstance(module, Rounding):
                module.is_watching = is_watching
            if isinstance(module, ActivationSteps) and is_watching:
                module.low.zero_()
                module.high.zero_()

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, classes), whatever n is."""
        return torch.cat([self(batch) for batch in self.batches(images)])[: len(images)]

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """Images in batches of the size that can be computed; the last one is filled up with the first images."""
        for start in range(0, len(images), self.batch_size):
            yield images[torch.arange(start, start + self.batch_size, device=images.device) % len(images)]


def _name(node: fx.Node) -> str:
    """`conv2d` of aten.conv2d.default, `relu` of aten.relu_.default; of what is no operator, nothing."""
    if node.target is operator.getitem:
        return "getitem"
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name).partition("::")[2].rstrip("_")


def _fold_batch_norms(graph: fx.Graph) -> None:
    """Those that follow a convolution which nothing else reads, as the exporters do."""
    for node in list(graph.nodes):
        if _name(node) != "batch_norm" or _name(node.args[0]) not in FOLDING or len(node.args[0].users) > 1:
            continue
        conv, scale, shift, mean, var, *_, eps, _ = node.args
        weight, bias = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        with graph.inserting_before(node):
            folded = graph.call_function(folded_weight, (weight, scale, var, eps))
            moved = graph.call_function(folded_bias, (bias, scale, shift, mean, var, eps))
            whole = graph.call_function(conv.target, (conv.args[0], folded, moved, *conv.args[3:]))
        whole.meta = node.meta
        node.replace_all_uses_with(whole)
        graph.erase_node(node)
        graph.erase_node(conv)


def _round(module: fx.GraphModule, device: torch.device) -> None:
    """Puts a rounding behind every activation and weight that a file holds as int8."""
    of_image: set[fx.Node] = set()  # others are weights, or made of weights alone
    steps: dict[fx.Node, str] = {}  # by which rounding an activation has its steps
    rounded: dict[fx.Node, str] = {}
    for node in module.graph.nodes:
        if node.op != "placeholder" and not of_image.intersection(node.all_input_nodes):
            continue
        of_image.add(node)
        source = next((n for n in node.all_input_nodes if n in steps), None)
        if _name(node) in SAME_STEPS and source is not None:
            steps[node] = steps[source]
            if _name(node) in ROUNDING:
                rounded[node] = steps[node]
        elif _is_rounded(node):
            steps[node] = rounded[node] = f"steps_of_{node.name}"
            module.add_submodule(steps[node], ActivationSteps(device))
    module.add_submodule(OF_WEIGHTS, WeightSteps())
    module.add_submodule(OF_BIASES, BiasSteps())
    for node in of_image:
        if _name(node) in WEIGHTED and node.args[1] not in of_image:
            _round_weight(module.graph, node, steps[node.all_input_nodes[0]])
    for node, name in rounded.items():
        _insert(module.graph, node, name)


def _is_rounded(node: fx.Node) -> bool:
    """Whether the file holds this tensor: not what its only reader is fused with, or concatenates in its own steps."""
    value: Any = node.meta.get("val")
    if node.op == "output" or not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    readers = {_name(reader) for reader in node.users}
    return not (readers <= {*FUSED} or (readers == {"cat"} and len(node.users) == 1))


def _round_weight(graph: fx.Graph, node: fx.Node, of_input: str) -> None:
    """And the bias, where there is one."""
    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    with graph.inserting_before(node):
        node.update_arg(1, graph.call_module(OF_WEIGHTS, (weight,)))
        if bias is not None:
            low, high = (graph.get_attr(f"{of_input}.{end}") for end in ("low", "high"))
            node.update_arg(2, graph.call_module(OF_BIASES, (bias, weight, low, high)))


def _insert(graph: fx.Graph, node: fx.Node, name: str) -> None:
    """A rounding between a node and what reads it."""
    with graph.inserting_after(node):
        rounded = graph.call_module(name, (node,))
    readers: Iterable[fx.Node] = [user for user in node.users if user is not rounded]
    for reader in readers:
        reader.replace_input_with(node, rounded)
