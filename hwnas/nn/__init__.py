"""How it computes: torch modules from the blocks of a space."""

from hwnas.nn.compute import Compute, Precision, fastest
from hwnas.nn.memory import keep_freed_memory
from hwnas.nn.network import Gate, Network, Supernet
from hwnas.nn.ops import BlockModule, layer_weights
from hwnas.nn.statistics import statistics_anew

__all__ = [
    "BlockModule",
    "Compute",
    "Gate",
    "Network",
    "Precision",
    "Supernet",
    "fastest",
    "keep_freed_memory",
    "layer_weights",
    "statistics_anew",
]
