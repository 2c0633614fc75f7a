"""NAS-Bench-201 (https://arxiv.org/abs/2001.00326, section 2): 15,625 cells, all of them trained by its authors.

A cell has four nodes; each of the six edges from an earlier node to a later one is one of five operations, and a node
is the sum of its edges. Three stages of five equal cells, a residual block that halves the size between them.
Published for 32 x 32 pixels and 10 classes. Cells no path of which leads from input to output are part of it, as
published: such a network says the same of every image.
"""

from hwnas.spaces.graph import GraphBuilder
from hwnas.spaces.layers import Shape
from hwnas.spaces.space import ZERO, OpSpec, Space, make_divisible, op

OPERATIONS = ("nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect", "none")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (from, to), in the order of the published strings
STAGES = (16, 32, 64)  # channels
CELLS_PER_STAGE = 5


def nas_bench_201(
    resolution: int = 32, width_mult: float = 1.0, num_classes: int = 10, cells: int = CELLS_PER_STAGE
) -> Space:
    """The network of cells for RGB images of resolution x resolution pixels; `cells` in each stage."""
    graph = GraphBuilder("nas_bench_201", resolution)
    edges = [graph.decision(f"edge{start}{end}", OPERATIONS) for start, end in EDGES]
    for number, width in enumerate(STAGES):
        channels = make_divisible(width * width_mult)
        if number == 0:
            node = graph.fixed("conv_bn", (0,), channels, k=3)
        else:
            halved = graph.fixed("relu_conv_pair", (node,), channels, 2, k=3)
            node = graph.fixed("pooled_shortcut", (node,), channels, 2, to=halved)
        for _ in range(cells):
            node = _cell(graph, node, edges)
    graph.fixed("normed_classifier", (node,), num_classes)
    return graph.space()


def _cell(graph: GraphBuilder, node: int, edges: list[int]) -> int:
    """The node of the cell's output."""
    options, nodes = _options(graph.shape((node,))), {0: node}
    for (start, end), decision in zip(EDGES, edges, strict=True):
        nodes[end] = graph.chosen([(nodes[start], options)], (decision,), nodes.get(end))
    return nodes[len(nodes) - 1]


def _options(shape: Shape) -> tuple[OpSpec, ...]:
    """In the order of OPERATIONS."""
    channels = shape[0]
    convs = tuple(op("relu_conv", shape, channels, k=k) for k in (3, 1))
    return (*convs, op("avg_pool", shape, channels, k=3), op("skip", shape, channels), op(ZERO, shape, channels))


def from_string(space: Space, text: str) -> tuple[int, ...]:
    """The architecture of a published string, `|none~0|+|skip_connect~0|none~1|+|...|`. ValueError where it is none."""
    names = [edge.split("~")[0] for node in text.split("+") for edge in node.strip("|").split("|")]
    return space.from_names(tuple(names))
