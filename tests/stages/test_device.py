"""`hwnas device`: what a device is, and that it can be measured."""

import sys

import pytest

from hwnas import cli


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["hwnas", "device", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def lines(text):
    return dict(line.split(":", 1) for line in text.splitlines())


def test_the_fake_device(monkeypatch, capsys):
    assert run(monkeypatch, "--on", "fake") == 0
    found = {what: how.strip() for what, how in lines(capsys.readouterr().out).items()}
    assert found["device"] == "fake"
    assert found["temperature"] == "not told"
    assert found["a network"].endswith("5 processes differ by 0.0 % (proxyless_small's largest)")


@pytest.mark.parametrize("kind", ["ssh", "adb"])
def test_another_machine(monkeypatch, capsys, elsewhere, kind):
    assert run(monkeypatch, "--on", elsewhere.profile(kind)) == 0
    found = lines(capsys.readouterr().out)
    assert found["runtime"].strip().startswith("ai-edge-litert ")
    assert float(found["a network"].split()[0]) > 0
    assert float(found["its memory"].split()[0]) > 0


def test_one_that_is_not_there_is_one_line(monkeypatch, elsewhere):
    elsewhere.cut()
    line = run(monkeypatch, "--on", elsewhere.profile("ssh"))
    assert line.startswith("hwnas: ssh pi@board could not be reached")
    assert "\n" not in line
