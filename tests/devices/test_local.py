"""The measuring process: timeouts, crashes, pinning."""

import os
import sys

import pytest

from hwnas.devices import RunConfig, load_profile
from hwnas.devices.local import LocalDevice, WorkerSession
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
