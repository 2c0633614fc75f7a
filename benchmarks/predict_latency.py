"""Predicted latencies per second: the vectorised table sum against one dictionary look-up per layer.

python benchmarks/predict_latency.py [--archs 200000]
"""

import argparse
import random
import time

import numpy as np

from hwnas.latency import RelativeErrors, TablePredictor
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.operators import is_free


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archs", type=int, default=500_000)
    count = parser.parse_args().archs
    space, rng = build_space(SpaceConfig("proxyless", 224, 1000)), random.Random(0)
    op_ms = {str(spec): op_macs(spec) / 1e7 for spec in space.all_ops() if not is_free(spec)}
    errors = RelativeErrors.of(np.linspace(0.97, 1.03, 20), np.ones(20))
    predictor = TablePredictor(space, op_ms, errors=errors)
    archs = np.array([space.sample(rng) for _ in range(count)], dtype=np.uint8)

    start_s = time.perf_counter()
    vectorised = predictor.latency_ms(archs)
    fast_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    predictor.interval_ms(archs, 0.9)
    interval_s = time.perf_counter() - start_s
    few = archs[: max(1, count // 200)]
    start_s = time.perf_counter()
    by_hand = [sum(op_ms.get(str(spec), 0.0) for spec in space.ops(tuple(arch))) for arch in few]
    slow_s = (time.perf_counter() - start_s) * count / len(few)
    np.testing.assert_allclose(vectorised[: len(few)], by_hand)
    print(f"table sum, vectorised      {count / fast_s / 1e6:8.2f} M architectures/s")
    print(f"with intervals             {count / interval_s / 1e6:8.2f} M architectures/s")
    print(f"dictionary look-ups        {count / slow_s / 1e6:8.4f} M architectures/s")
    print(f"ratio                      {slow_s / fast_s:8.0f}")


if __name__ == "__main__":
    main()
