"""What the export tests export."""

import numpy as np
import torch

from hwnas.datasets import ImageSet
from hwnas.devices import load_profile
from hwnas.export import Preprocessing
from hwnas.nn import Network
from hwnas.spaces import SpaceConfig, build_space, extremes
from hwnas.stages.export_model import settle_batch_norm
from hwnas.stages.shipping import Shipment

CLASSES = ("ape", "bee", "cat", "dog")


def small_shipment(seed: int = 0) -> Shipment:
    """A narrow network of random weights, and pictures of noise."""
    torch.manual_seed(seed)
    space, rng = (
        build_space(SpaceConfig("proxyless_small", 32, len(CLASSES), width_mult=0.25)),
        np.random.default_rng(0),
    )
    images = ImageSet(rng.integers(0, 256, (24, 3, 36, 36), dtype=np.uint8), np.arange(24) % len(CLASSES))
    shipment = Shipment(
        module=Network(space, extremes(space)[0]).eval(),
        model="noise",
        data="noise",
        is_unseen=True,
        classes=CLASSES,
        preprocessing=Preprocessing(32, 36, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
        train=images,
        test=images,
        seed=0,
        profile=load_profile("fake"),  # nothing is measured
    )
    settle_batch_norm(shipment)
    return shipment
