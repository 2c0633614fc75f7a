"""Memory that a device does not tell is missed only where it is limited."""

from pathlib import Path

import pytest

from hwnas.devices import FakeDevice, Memory
from hwnas.errors import UserError
from hwnas.stages.networks import measured_footprints, own_network
from hwnas.stages.run import open_run

SMALL = {"on": "fake", "width_mult": 0.25, "budget_of_median": 0.9}


def silent(*_: object) -> Memory:
    return Memory(error="/proc/self/status tells no VmHWM")


def test_unknown_memory_is_left_out_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path / "run", SMALL)
    network = own_network(run, run.space_at(2), (0,) * 12)
    monkeypatch.setattr(FakeDevice, "peak_memory", silent)
    (footprint,) = measured_footprints(run, [network], lambda *_: None)
    assert list(footprint) == ["file_mb"]
    limited = open_run(tmp_path / "run", {"max_peak_memory_mb": 50.0})
    with pytest.raises(UserError, match=r"tells no VmHWM; leave out --max-peak-memory-mb"):
        measured_footprints(limited, [network], lambda *_: None)
    monkeypatch.undo()
    (footprint,) = measured_footprints(limited, [network], lambda *_: None)  # measured anew: it is needed now
    assert set(footprint) == {"file_mb", "peak_memory_mb"}
