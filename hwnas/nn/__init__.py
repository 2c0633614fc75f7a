"""How it computes: torch modules from the blocks of a space."""

from hwnas.nn.compute import Compute, fastest
from hwnas.nn.network import Gate, Network, Supernet
from hwnas.nn.ops import BlockModule, layer_weights

__all__ = ["BlockModule", "Compute", "Gate", "Network", "Supernet", "fastest", "layer_weights"]
