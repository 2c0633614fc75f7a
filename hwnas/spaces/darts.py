"""The cells of DARTS (https://arxiv.org/abs/1806.09055, section 3.1): a normal and a reduction cell, each repeated.

A cell reads the outputs of the two cells before it. Each of its four nodes adds up two operations on earlier nodes, and
the output is the concatenation of the four. The two in a third and two thirds of the depth are reduction cells, which
halve the size and double the channels. What is searched is what is left when the authors' search has come to its end:
of every node the pair of nodes that it reads, and two operations, none of which is zero. Without auxiliary head and
drop path. 8 cells of 16 channels are what the authors search with; `width_mult` 2.25 and 20 layers what they train.
"""

from itertools import combinations

from hwnas.spaces.graph import GraphBuilder
from hwnas.spaces.layers import Shape
from hwnas.spaces.space import OpSpec, Space, make_divisible, op

OPERATIONS = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
)
CHANNELS, LAYERS, NODES = 16, 8, 4
STEM_FACTOR = 3  # channels of the stem, in those of the first cell


def darts(resolution: int = 32, width_mult: float = 1.0, num_classes: int = 10, layers: int = LAYERS) -> Space:
    """The network of `layers` cells for RGB images of resolution x resolution pixels."""
    graph = GraphBuilder("darts", resolution)
    channels = make_divisible(CHANNELS * width_mult, 2)
    stem = graph.fixed("conv_bn", (0,), STEM_FACTOR * channels, k=3)
    before: tuple[int, ...] = (stem,)
    last: tuple[int, ...] = (stem,)
    for layer in range(layers):
        reduces = layer in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduces else 1
        before, last = last, _cell(graph, before, last, channels, reduces)
    graph.fixed("classifier", last, num_classes)
    return graph.space()


def _cell(
    graph: GraphBuilder, before: tuple[int, ...], last: tuple[int, ...], channels: int, reduces: bool
) -> tuple[int, ...]:
    """The four nodes that are the cell's output. `before`, `last`: those of the two cells before, concatenated."""
    halved = graph.shape(before)[1] > graph.shape(last)[1]
    first = (
        graph.fixed("factorized_reduce", before, channels, 2)
        if halved
        else graph.fixed("relu_conv", before, channels, k=1)
    )
    nodes = [first, graph.fixed("relu_conv", last, channels, k=1)]
    kind = "reduce" if reduces else "normal"
    for number in range(NODES):
        nodes.append(_node(graph, nodes, f"{kind}.node{number}", reduces))
    return tuple(nodes[2:])


def _node(graph: GraphBuilder, nodes: list[int], name: str, reduces: bool) -> int:
    """A node of a cell. The first one has no choice of what it reads."""
    pairs = list(combinations(range(len(nodes)), 2))
    inputs = (graph.decision(f"{name}.inputs", [f"{a},{b}" for a, b in pairs]),) if len(pairs) > 1 else ()
    target = None
    for side in (0, 1):
        operation = graph.decision(f"{name}.op{side}", OPERATIONS)
        options = [(nodes[pair[side]], _options(graph, nodes, pair[side], reduces)) for pair in pairs]
        target = graph.chosen(options, (*inputs, operation), target)
    assert target is not None
    return target


def _options(graph: GraphBuilder, nodes: list[int], source: int, reduces: bool) -> tuple[OpSpec, ...]:
    """In the order of OPERATIONS. Only what comes from the two cells before is halved."""
    shape, stride = graph.shape((nodes[source],)), 2 if reduces and source < 2 else 1
    kinds = (("sep_conv", 3), ("sep_conv", 5), ("dil_conv", 3), ("dil_conv", 5), ("max_pool", 3), ("avg_pool", 3))
    return (*(op(kind, shape, shape[0], stride, k=k) for kind, k in kinds), _skip(shape, stride))


def _skip(shape: Shape, stride: int) -> OpSpec:
    return op("factorized_reduce", shape, shape[0], 2) if stride == 2 else op("skip", shape, shape[0])


Node = tuple[tuple[str, int], tuple[str, int]]  # (operation, node that it reads), as the authors write them
Genotype = dict[str, tuple[Node, ...]]  # of a kind of cell

DARTS_V2: Genotype = {  # second order, CIFAR-10: figures 4 and 5 of the paper; 3.3 M parameters with 20 cells of 36
    "normal": (
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        (("sep_conv_3x3", 1), ("skip_connect", 0)),
        (("skip_connect", 0), ("dil_conv_3x3", 2)),
    ),
    "reduce": (
        (("max_pool_3x3", 0), ("max_pool_3x3", 1)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
        (("max_pool_3x3", 0), ("skip_connect", 2)),
        (("skip_connect", 2), ("max_pool_3x3", 1)),
    ),
}


def genotype_arch(space: Space, genotype: Genotype) -> tuple[int, ...]:
    """The architecture that a genotype describes. KeyError where it has not the cells, ValueError not the choices."""
    names: dict[str, str] = {}
    for kind, nodes in genotype.items():
        for number, node in enumerate(nodes):
            (first, low), (second, high) = sorted(node, key=lambda edge: edge[1])
            name = f"{kind}.node{number}"
            names |= {f"{name}.inputs": f"{low},{high}", f"{name}.op0": first, f"{name}.op1": second}
    return space.from_names(tuple(names[decision.name] for decision in space.decisions))
