"""Architecture -> milliseconds, from a table of operators."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import UserError
from hwnas.spaces.layers import is_free
from hwnas.spaces.space import Arch, OpSpec, Space


class Predictor(Protocol):
    """Latency of many architectures at once."""

    def latency_ms(self, archs: ArrayLike) -> NDArray[np.float64]:
        """archs: (n, decisions) -> (n,) milliseconds."""
        ...


class TablePredictor:
    """Sum of the operators' latencies, scaled and shifted by a calibration on whole networks."""

    def __init__(self, space: Space, op_ms: Mapping[str, float], scale: float = 1.0, offset_ms: float = 0.0) -> None:
        self.space, self.op_ms = space, op_ms
        self.scale, self.offset_ms = scale, offset_ms
        check_complete(space, op_ms)
        self._fixed_ms = sum(self._spec_ms(slot.options[0]) for slot in space.slots if not slot.decisions)
        self._chosen = [
            (slot.decisions, np.array([self._spec_ms(spec) for spec in slot.options]))
            for slot in space.slots
            if slot.decisions
        ]

    def _spec_ms(self, spec: OpSpec) -> float:
        return 0.0 if is_free(spec) else self.op_ms[str(spec)]

    def sum_ms(self, archs: ArrayLike) -> NDArray[np.float64]:
        """The plain sum of the table, (n, decisions) -> (n,): layer by layer over all architectures at once."""
        columns = np.ascontiguousarray(np.atleast_2d(np.asarray(archs, dtype=np.intp)).T)  # (decisions, n)
        total_ms = np.full(columns.shape[1], self._fixed_ms)
        for decisions, option_ms in self._chosen:
            option = columns[decisions[0]]
            for d in decisions[1:]:
                option = option * len(self.space.decisions[d].choices) + columns[d]
            total_ms += option_ms.take(option)
        return total_ms

    def latency_ms(self, archs: ArrayLike) -> NDArray[np.float64]:
        return self.scale * self.sum_ms(archs) + self.offset_ms

    def arch_ms(self, arch: Arch) -> float:
        """The latency of one architecture."""
        self.space.check(arch)
        return float(self.latency_ms([arch])[0])


def check_complete(space: Space, op_ms: Mapping[str, float]) -> None:
    """UserError naming the operators that a table lacks: a missing one is never 0 ms."""
    needed = [str(spec) for spec in space.all_ops() if not is_free(spec)]
    missing = [key for key in needed if key not in op_ms]
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UserError(
            f"the latency table lacks {len(missing)} of the {len(needed)} operators of {space.name} at "
            f"{space.input_shape[1]} pixels: {named}; run `hwnas profile` to measure them"
        )


def fastest_and_slowest(predictor: TablePredictor) -> tuple[Arch, Arch]:
    """The two extremes of a space in which every slot depends on one decision of its own, as chains do."""
    ends: list[dict[int, int]] = [{}, {}]
    for decisions, option_ms in predictor._chosen:
        if len(decisions) != 1 or decisions[0] in ends[0]:
            raise ValueError(f"{predictor.space.name} has slots that share decisions: its extremes need a search")
        ends[0][decisions[0]], ends[1][decisions[0]] = int(option_ms.argmin()), int(option_ms.argmax())
    fastest, slowest = (tuple(end[d] for d in range(len(predictor.space.decisions))) for end in ends)
    return fastest, slowest


def archs_array(archs: Sequence[Arch]) -> NDArray[np.intp]:
    """(n, decisions) from a list of architectures."""
    return np.array(archs, dtype=np.intp)
