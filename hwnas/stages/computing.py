"""How a run computes: the settings that are fastest on its machine, and who loads its images."""

from dataclasses import asdict
from typing import get_args

import torch

from hwnas.nn import Compute, Precision, fastest, keep_freed_memory
from hwnas.spaces import Space
from hwnas.stages.run import Run, say
from hwnas.storage import read_json

EVALUATION_WORKERS_GPU = 8  # processes that augment images while a GPU trains


def load_compute(run: Run, space: Space) -> Compute:
    """The settings measured as fastest on the first call; the same ever after, so that a run can be repeated."""
    keep_freed_memory()
    file = run.file("compute.json")
    if not file.exists():
        precision: Precision = next(known for known in get_args(Precision) if known == run.config.precision)
        compute, timings_ms = fastest(space, run.config.batch_size, precision)
        run.write("compute.json", {**asdict(compute), "timings_ms": timings_ms})
    record = {k: v for k, v in read_json(file).items() if k != "timings_ms"}
    compute = Compute(**record)
    if compute.device == "cuda" and not torch.cuda.is_available():
        say("this run began on a GPU and goes on without one: numbers may differ in the last digits")
        return Compute("cpu", channels_last=True)
    return compute


def workers(compute: Compute) -> int:
    """Processes that load images: on a CPU the training itself needs the cores."""
    return 0 if compute.device == "cpu" else EVALUATION_WORKERS_GPU
