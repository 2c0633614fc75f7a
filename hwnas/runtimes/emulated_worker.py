"""The process that runs one model file on an emulated processor: images in, logits out, both as .npy files.

Run as `python -m hwnas.runtimes.emulated_worker RUNTIME MODEL IMAGES LOGITS`; it imports the runtime and numpy alone.
"""

import sys
from pathlib import Path

import numpy as np

from hwnas.runtimes import RUNTIMES
from hwnas.runtimes.runtime import run_each


def main() -> None:
    runtime, model, images, logits = sys.argv[1:]
    loaded = RUNTIMES[runtime].load(Path(model), threads=1)
    np.save(logits, run_each(loaded, np.load(images, allow_pickle=False)))


if __name__ == "__main__":
    main()
