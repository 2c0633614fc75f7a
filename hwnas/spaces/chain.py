"""What the chains of stages have in common: how strides follow the input size, and a chain under construction."""

from collections.abc import Mapping

from hwnas.errors import UserError
from hwnas.spaces.space import Decision, OpSpec, Slot, Space, op

SKIP = "skip"


def strides(published: tuple[int, ...], resolution: int) -> tuple[int, ...]:
    """The stages' strides for an input size.

    The published ones from 128 pixels on. Below, the last feature map would shrink to almost nothing: under 128 the
    last down-sampling is left out, under 64 the first one too (the usual change for CIFAR).
    """
    result, halving = list(published), [i for i, s in enumerate(published) if s == 2]
    if resolution < 128:
        result[halving[-1]] = 1
    if resolution < 64:
        result[halving[0]] = 1
    return tuple(result)


class ChainBuilder:
    """Slots one after another for RGB images of resolution x resolution pixels; each begins with the shape before."""

    def __init__(self, resolution: int) -> None:
        self.input_shape = self.shape = (3, resolution, resolution)
        self.decisions: list[Decision] = []
        self.slots: list[Slot] = []

    def fixed(self, kind: str, channels: int, stride: int = 1, **args: int) -> None:
        """An operator without a choice."""
        self._append((op(kind, self.shape, channels, stride, **args),), ())

    def searched(self, name: str, kind: str, channels: int, stride: int, choices: Mapping[str, dict[str, int]]) -> None:
        """One operator of several, by the arguments of each; or a skip, where the shape stays."""
        options = {choice: op(kind, self.shape, channels, stride, **args) for choice, args in choices.items()}
        if stride == 1 and self.shape[0] == channels:
            options[SKIP] = op("skip", self.shape, channels)
        self.chosen(name, options)

    def chosen(self, name: str, options: Mapping[str, OpSpec]) -> None:
        """One operator of several of any kind, by the names of the choices."""
        self.decisions.append(Decision(name, tuple(options)))
        self._append(tuple(options.values()), (len(self.decisions) - 1,))

    def paired(self, names: tuple[str, str], options: Mapping[str, Mapping[str, OpSpec]]) -> None:
        """One operator by two choices: what `options` holds under the first and then the second."""
        second = next(iter(options.values()))
        first_number = len(self.decisions)
        self.decisions += [Decision(names[0], tuple(options)), Decision(names[1], tuple(second))]
        specs = tuple(of_first[choice] for of_first in options.values() for choice in second)
        self._append(specs, (first_number, first_number + 1))

    def _append(self, options: tuple[OpSpec, ...], decisions: tuple[int, ...]) -> None:
        self.slots.append(Slot(options, decisions))
        self.shape = options[0].out_shape

    def space(self, name: str) -> Space:
        """All of it; the last operator's channels are the classes."""
        space = Space(name, self.input_shape, self.shape[0], tuple(self.decisions), tuple(self.slots))
        resolution = self.input_shape[1]
        if resolution < space.stride:
            raise UserError(
                f"resolution {resolution} is smaller than the stride of {name}, {space.stride}; "
                f"choose at least {space.stride} pixels"
            )
        return space
