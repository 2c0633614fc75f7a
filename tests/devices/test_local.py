"""The measuring process: timeouts, crashes, rubbish, pinning."""

import os
import signal
import sys
import time

import pytest

from hwnas.devices import RunConfig, load_profile
from hwnas.devices.local import LocalDevice
from hwnas.devices.process import WorkerSession
from hwnas.errors import UserError

# Answers the model `good` with its process id for a time, and does BAD for any other.
WORKER = """
import json, os, signal, sys, time
def say(text):
    os.write(1, text if isinstance(text, bytes) else text.encode())
for line in sys.stdin:
    if json.loads(line)["model"].endswith("good"):
        say(json.dumps({"times_ms": [os.getpid()]}) + chr(10))
    else:
        BAD
"""
RUBBISH = {
    "no JSON": "oops",
    "an empty line": "",
    "no object": "[1.0]",
    "null": "null",
    "neither times nor error": "{}",
    "no times": '{"times_ms": []}',
    "null times": '{"times_ms": null}',
    "text for a time": '{"times_ms": ["1.0"]}',
    "true for a time": '{"times_ms": [true]}',
    "nested times": '{"times_ms": [[1.0]]}',
    "not a number": '{"times_ms": [1.0, NaN]}',
    "infinite": '{"times_ms": [1.0, Infinity]}',
    "too large": '{"times_ms": [1e999]}',
    "negative": '{"times_ms": [1.0, -1.0]}',
    "zero": '{"times_ms": [0.0]}',
    "an error that is no text": '{"error": 1}',
    "deep": "[" * 10_000,
    "two lines": '{"times_ms": [1.0]}\n{"times_ms": [1.0]}',
}


def session_of(code: str) -> WorkerSession:
    return WorkerSession([sys.executable, "-c", code])


@pytest.fixture
def session():
    """A session with a worker that does `bad` for every model but `good`."""
    opened = []

    def open_session(bad: str) -> WorkerSession:
        opened.append(session_of(WORKER.replace("BAD", bad)))
        return opened[-1]

    yield open_session
    for each in opened:
        each.close()
        each.log.close()


def is_alive(pid: float) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


def assert_replaced_after(session, tmp_path, *parts, timeout_s=20.0):
    """The bad model is an error that names it; the next one is measured, by another process."""
    before = session.measure(tmp_path / "good", RunConfig(timeout_s=20))
    found = session.measure(tmp_path / "m", RunConfig(timeout_s=timeout_s))
    assert found.times_ms == ()
    for part in ("m", *parts):
        assert part in found.error
    assert not is_alive(before.median_ms)
    after = session.measure(tmp_path / "good", RunConfig(timeout_s=20))
    assert after.error == ""
    assert after.times_ms != before.times_ms


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


@pytest.mark.parametrize("text", RUBBISH.values(), ids=RUBBISH)
def test_rubbish_is_a_value_and_the_process_is_replaced(session, tmp_path, text):
    assert_replaced_after(session(f"say({text + chr(10)!r})"), tmp_path, "the measuring process answered")


def test_bytes_that_are_no_text_are_a_value(session, tmp_path):
    assert_replaced_after(session("say(bytes([255, 254, 10]))"), tmp_path, "the measuring process answered")


def test_an_answer_without_an_end_is_given_up(session, tmp_path):
    assert_replaced_after(session("\n        while True: say('1' * 4096)"), tmp_path, "more than a line of")


@pytest.mark.parametrize(
    "bad",
    [
        "say('{\"times_ms\": [1.0'); time.sleep(60)",
        "say('{\"times_ms\": [1.0]}'); time.sleep(60)",
        "time.sleep(60)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "\n        while True: say(' '); time.sleep(0.02)",
    ],
    ids=["half a line", "a line without its end", "silent", "stopped", "a byte now and then"],
)
def test_a_hanging_process_is_given_up_in_time(session, tmp_path, bad):
    start_s = time.monotonic()
    assert_replaced_after(session(bad), tmp_path, "did not answer within 0.4 s", timeout_s=0.4)
    assert time.monotonic() - start_s < 10


@pytest.mark.parametrize(
    ("bad", "part"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9"),
        ("say('{\"times_ms\"'); os._exit(3)", "ended with status 3"),
        ("os.close(1); time.sleep(60)", "closed its output"),
    ],
)
def test_a_process_that_vanishes_while_it_measures_is_replaced(session, tmp_path, bad, part):
    assert_replaced_after(session(bad), tmp_path, part)


def test_a_process_killed_between_two_models_costs_none_of_them(session, tmp_path):
    opened = session("pass")
    first = opened.measure(tmp_path / "good", RunConfig())
    os.kill(int(first.median_ms), signal.SIGKILL)
    opened.process.wait()
    second = opened.measure(tmp_path / "good", RunConfig())
    assert second.error == ""
    assert second.times_ms != first.times_ms


def test_what_is_said_unasked_is_no_answer_to_the_next(session, tmp_path):
    line = '{"times_ms": [0.5]}' + chr(10)
    opened = session(f"say({line!r}); time.sleep(0.2); say({line!r})")
    assert opened.measure(tmp_path / "m", RunConfig()).times_ms == (0.5,)
    time.sleep(0.6)
    assert opened.measure(tmp_path / "good", RunConfig()).median_ms == opened.process.pid


def test_a_process_that_always_fails_is_started_once_a_model(tmp_path):
    starts = tmp_path / "starts"
    session = session_of(f"open({str(starts)!r}, 'a').write('x'); raise SystemExit('never')")
    errors = [session.measure(tmp_path / f"m{i}", RunConfig()).error for i in range(5)]
    session.log.close()
    assert all("ended with status 1" in error and "never" in error for error in errors)
    assert starts.read_text() == "xxxxx"


def test_the_last_message_is_of_the_process_that_ended(session, tmp_path):
    opened = session("print('early', file=sys.stderr, flush=True); os._exit(1)")
    assert "early" in opened.measure(tmp_path / "m", RunConfig()).error
    assert opened.measure(tmp_path / "good", RunConfig()).error == ""
    opened.close()
    opened.command = [sys.executable, "-c", "raise SystemExit(4)"]
    assert "status 4 on m: no message" in opened.measure(tmp_path / "m", RunConfig()).error


def test_a_core_that_is_not_there_is_refused():
    profile = load_profile("host_cpu1_litert_fp32").model_copy(update={"affinity": (4096,)})
    with pytest.raises(UserError, match="pins to cores"):
        LocalDevice(profile).cpus()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_auto_pins_to_as_many_cores_as_threads():
    profile = load_profile("host_cpu1_litert_fp32")
    assert len(LocalDevice(profile).cpus()) == 1
    assert LocalDevice(profile.model_copy(update={"affinity": "none"})).cpus() == []
