"""Predicted latencies per second: the vectorised table sum against one dictionary look-up per layer.

python benchmarks/predict_latency.py [--archs 500000] [--repeats 7]

Times are one thread's CPU time, the fastest of --repeats repetitions in which all rows take turns, after one that does
not count: so other processes on the machine change little, and both sides of the ratio come from one run.
"""

import argparse
import random
from collections.abc import Callable, Mapping

import numpy as np
from turns import cpu_seconds_of, fastest_in_turn

from hwnas.latency import RelativeErrors, TablePredictor
from hwnas.latency.corrections import HIDDEN as UNITS
from hwnas.latency.corrections import NETWORKS, Perceptron, Ridge
from hwnas.latency.learned import ResidualPredictor, table_terms
from hwnas.spaces import SpaceConfig, build_space
from hwnas.spaces.macs import op_macs
from hwnas.spaces.operators import is_free

BY_HAND, SUM = "dictionary look-ups", "table sum"
SHARE_BY_HAND = 1 / 200  # of the architectures: the others would take minutes
Steps = Mapping[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archs", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    space, rng = build_space(SpaceConfig("proxyless", 224, 1000)), random.Random(0)
    op_ms = {str(spec): op_macs(spec) / 1e7 for spec in space.all_ops() if not is_free(spec)}
    errors = RelativeErrors.of(np.linspace(0.97, 1.03, 20), np.ones(20))
    table = TablePredictor(space, op_ms, errors=errors)
    weights = dict.fromkeys(table_terms(space, table.table_ms), 1e-3)
    units, terms = NETWORKS * UNITS, list(weights)
    small = Perceptron(0.0, terms, [[1e-3] * len(terms)] * units, [0.0] * units, [0.01] * units, -0.1, 0.1)
    corrected = {
        "ridge": ResidualPredictor(table, Ridge(0.0, weights, -0.1, 0.1), errors),
        "perceptron": ResidualPredictor(table, small, errors),
    }
    sampled = [space.sample(rng) for _ in range(options.archs)]
    few = sampled[: max(1, round(options.archs * SHARE_BY_HAND))]

    def by_hand() -> list[float]:
        return [sum(op_ms.get(str(spec), 0.0) for spec in space.ops(arch)) for arch in few]

    np.testing.assert_allclose(table.latency_ms(few), by_hand())
    steps: dict[str, Callable[[], object]] = {BY_HAND: by_hand}
    for dtype in (np.uint8, np.int64):
        steps |= predictions(table, corrected, np.array(sampled, dtype=dtype))
    counts = dict.fromkeys(steps, len(sampled)) | {BY_HAND: len(few)}
    fastest_s = fastest_in_turn(steps, options.repeats, cpu_seconds_of)
    per_s = {name: counts[name] / seconds for name, seconds in fastest_s.items()}
    print("| what | input | million architectures per second | times the look-ups |\n|---|---|---|---|")
    for name, rate in per_s.items():
        what, _, dtype_name = name.partition(", ")
        print(f"| {what} | {dtype_name or 'tuples'} | {rate / 1e6:.3g} | {rate / per_s[BY_HAND]:.0f} |")


def predictions(table: TablePredictor, corrected: Mapping[str, ResidualPredictor], archs: np.ndarray) -> Steps:
    """What is timed of one kind of input."""
    return {
        f"{SUM}, {archs.dtype}": lambda: table.latency_ms(archs),
        f"{SUM} with intervals, {archs.dtype}": lambda: table.interval_ms(archs, 0.9),
        f"corrected by ridge, {archs.dtype}": lambda: corrected["ridge"].latency_ms(archs),
        f"corrected by ridge with intervals, {archs.dtype}": lambda: corrected["ridge"].interval_ms(archs, 0.9),
        f"corrected by perceptron, {archs.dtype}": lambda: corrected["perceptron"].latency_ms(archs),
    }


if __name__ == "__main__":
    main()
