"""The process that runs one model file on another machine: images in, as a .npy file, logits out, as JSON.

Run as `python -m hwnas.runtimes.logits_worker RUNTIME MODEL IMAGES TIMEOUT_S`; it imports the runtime and numpy alone.
"""

import json
import math
import signal
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.quiet import stdout_kept
from hwnas.runtimes.runtime import NotRun, run_each


def logits_told(said: str) -> NDArray[np.float32]:
    """(n, classes), of what the process said; NotRun where that is none."""
    try:
        logits = np.asarray(json.loads(said), np.float32)
    except (ValueError, TypeError):
        logits = np.zeros(0, np.float32)
    if logits.ndim != 2:
        raise NotRun("wrote no values")
    return logits


def main() -> None:
    runtime, model, images, timeout_s = sys.argv[1:]
    signal.alarm(math.ceil(float(timeout_s)))  # nobody else can end it where the connection is gone
    answers = stdout_kept()
    loaded = RUNTIMES[runtime].load(Path(model), threads=1)
    logits = run_each(loaded, np.load(images, allow_pickle=False))
    print(json.dumps(logits.tolist()), file=answers, flush=True)


if __name__ == "__main__":
    main()
