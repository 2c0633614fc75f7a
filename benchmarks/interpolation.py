"""How far off guessed rows are: a fifth of every shipped table is taken away and guessed from the rest, ten times.

python benchmarks/interpolation.py
"""

import numpy as np

from hwnas.latency.interpolation import interpolate
from hwnas.latency.table import LatencyTable
from hwnas.resources import shipped
from hwnas.spaces import OpSpec

SPLITS, TAKEN = 10, 0.2


def main() -> None:
    print("| table | searched rows | mean error, % | worst, % | expected by the guess, % | within twice that |")
    print("|" + "---|" * 6)
    for path in sorted(shipped("latency_tables").glob("*.jsonl")):
        table = LatencyTable.read(path)
        op_ms = {key: table[key].median_ms for key in table}
        searched = [key for key in op_ms if key.startswith("ir")]
        logs, sds = (
            np.concatenate(found) for found in zip(*(split(op_ms, searched, i) for i in range(SPLITS)), strict=True)
        )
        error_pct = 100 * np.abs(np.expm1(logs))
        inside = (np.abs(logs) <= 2 * sds).mean()
        figures = f"{error_pct.mean():.1f} | {error_pct.max():.0f} | {100 * sds.mean():.1f} | {100 * inside:.0f} %"
        print(f"| {path.stem} | {len(searched)} | {figures} |")


def split(op_ms: dict[str, float], searched: list[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(log measured / guessed of the rows taken away, what the guesses say of their own error)."""
    gone = np.random.default_rng(seed).choice(searched, int(TAKEN * len(searched)), replace=False).tolist()
    known = {key: ms for key, ms in op_ms.items() if key not in gone}
    found = interpolate(known, [OpSpec.parse(key) for key in gone])
    logs = np.array([np.log(op_ms[key] / found[key].latency_ms) for key in gone])
    return logs, np.array([found[key].log_sd for key in gone])


if __name__ == "__main__":
    main()
