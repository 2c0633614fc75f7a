"""`hwnas device`: what a device is, and that it can be measured."""

import pytest


def facts_of(done):
    assert done.returncode == 0, done.stderr
    return {what: how.strip() for what, how in (line.split(":", 1) for line in done.stdout.splitlines())}


def test_the_fake_device(hwnas):
    found = facts_of(hwnas("device", "--on", "fake"))
    assert found["device"] == "fake"
    assert found["temperature"] == "not told"
    assert found["its memory"].endswith(" MB")
    assert found["a network"].endswith("5 processes differ by 0.0 % (proxyless_small's largest)")


@pytest.mark.parametrize("kind", ["ssh", "adb"])
def test_another_machine(hwnas, elsewhere, kind):
    found = facts_of(hwnas("device", "--on", elsewhere.profile(kind)))
    assert found["runtime"].startswith("ai-edge-litert ")
    assert float(found["a network"].split()[0]) > 0
    assert float(found["its memory"].split()[0]) > 0


def test_one_that_is_not_there_is_one_line(hwnas, elsewhere):
    elsewhere.cut()
    done = hwnas("device", "--on", elsewhere.profile("ssh"))
    assert done.returncode == 1
    assert done.stderr.startswith("hwnas: ssh pi@board could not be reached")
    assert done.stderr.count("\n") == 1
