"""The measuring process: timeouts, crashes, pinning."""

import os
import sys

import pytest

from hwnas.devices import RunConfig, load_profile
from hwnas.devices.local import LocalDevice, WorkerSession, conditions_of
from hwnas.errors import UserError


def session_of(code: str) -> WorkerSession:
    return WorkerSession([sys.executable, "-c", code])


def test_a_timeout_is_a_value(tmp_path):
    session = session_of("import time; time.sleep(60)")
    measurement = session.measure(tmp_path / "m", RunConfig(timeout_s=0.3))
    session.log.close()
    assert "did not answer within 0.3 s" in measurement.error


def test_a_crash_is_a_value_with_the_last_message(tmp_path):
    session = session_of("import os, sys; sys.stdin.readline(); print('out of range', file=sys.stderr); os.abort()")
    measurement = session.measure(tmp_path / "m", RunConfig())
    session.log.close()
    assert "out of range" in measurement.error
    assert "status -6" in measurement.error


def test_a_core_that_is_not_there_is_refused():
    profile = load_profile("host_cpu1_litert_fp32").model_copy(update={"affinity": (4096,)})
    with pytest.raises(UserError, match="pins to cores"):
        LocalDevice(profile).cpus()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_auto_pins_to_as_many_cores_as_threads():
    profile = load_profile("host_cpu1_litert_fp32")
    assert len(LocalDevice(profile).cpus()) == 1
    assert LocalDevice(profile.model_copy(update={"affinity": "none"})).cpus() == []


def test_conditions_are_read_where_the_system_tells(tmp_path):
    assert conditions_of(tmp_path, [0]) == {}
    for zone, text in (("thermal_zone0", "41500"), ("thermal_zone1", "38000")):
        (tmp_path / "class/thermal" / zone).mkdir(parents=True)
        (tmp_path / "class/thermal" / zone / "temp").write_text(text + "\n")
    for cpu, now in ((0, 2000), (1, 1500)):
        folder = tmp_path / f"devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{now}000\n")
        (folder / "cpuinfo_max_freq").write_text("2000000\n")
    assert conditions_of(tmp_path, [0]) == {"temperature_c": 41.5, "frequency_share": 1.0}
    assert conditions_of(tmp_path, [0, 1]) == {"temperature_c": 41.5, "frequency_share": 0.75}
