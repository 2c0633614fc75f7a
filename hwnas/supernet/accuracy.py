"""What one path of a super-network makes of held-out images: batch norm recalibrated for it, then counted."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from hwnas.datasets import ImageSet
from hwnas.nn import Compute, Supernet, statistics_anew
from hwnas.spaces.space import Arch
from hwnas.train import EVAL_BATCH, Judged, StoredBatches, corrupted, eval_batches, judged_on, unchanged


def calibration_batches(
    images: ImageSet, resolution: int, count: int, batch_size: int, compute: Compute
) -> list[Tensor]:
    """`count` batches of training images, normalised and on the device: the same for every candidate.

    Drawn at random, since images are stored class by class in many sources and every batch must see all classes.
    """
    drawn = np.random.default_rng(0).permutation(len(images.labels))[: count * batch_size]
    drawn = drawn[: len(drawn) - (len(drawn) % batch_size == 1)]  # one image alone has no variance
    chosen = ImageSet(images.images[drawn], images.labels[drawn])
    return [batch for batch, _ in eval_batches(chosen, resolution, batch_size, compute)]


def recalibrate(net: Supernet, arch: Arch, batches: Sequence[Tensor], compute: Compute) -> None:
    """Batch-norm statistics become the path's plain mean over the batches; no weight changes.

    The statistics that training left are a mixture over all paths (SPOS, section 3.4). Training images, no labels.
    """
    recalibrate_forward(net, lambda x: net(x, arch), batches, compute)


@torch.no_grad()
def recalibrate_forward(
    net: Supernet, forward: Callable[[Tensor], Tensor], batches: Sequence[Tensor], compute: Compute
) -> None:
    """The same for whatever of the super-network `forward` runs."""
    net.train()
    try:
        with statistics_anew(net), compute.precision():
            for batch in batches:
                forward(batch)
    finally:
        net.eval()


class PathJudge:
    """Architecture -> accuracy and likelihood on the search part with the shared weights.

    robust: on every image twice, as it is and corrupted.
    """

    def __init__(
        self,
        net: Supernet,
        batches: Sequence[Tensor],
        search_images: ImageSet,
        resolution: int,
        compute: Compute,
        robust: bool = False,
    ) -> None:
        self.net, self.batches, self.compute = net, batches, compute
        changes = (unchanged, corrupted) if robust else (unchanged,)
        self.sets = [StoredBatches(search_images, resolution, EVAL_BATCH, compute, change=c) for c in changes]

    def __call__(self, arch: Arch) -> Judged:
        return self.of(lambda x: self.net(x, arch))

    def of(self, forward: Callable[[Tensor], Tensor]) -> Judged:
        """The same of whatever of the super-network `forward` runs."""
        recalibrate_forward(self.net, forward, self.batches, self.compute)
        return self.as_it_is(forward)

    def as_it_is(self, forward: Callable[[Tensor], Tensor]) -> Judged:
        """The same, batch norm not recalibrated."""
        return judged_on(forward, itertools.chain(*self.sets), self.compute)
