"""What a machine says of itself."""

import os
import platform

import pytest

from hwnas.ondevice import facts
from hwnas.ondevice.facts import conditions_of, governor


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
    (tmp_path / "class/thermal/thermal_zone1/temp").write_text("2147483647\n")  # no sensor
    (tmp_path / "class/thermal/thermal_zone2").mkdir()
    (tmp_path / "class/thermal/thermal_zone2/temp").write_text("disabled\n")
    assert conditions_of(tmp_path, [0])["temperature_c"] == 41.5


def test_the_governor_is_that_of_the_core(tmp_path):
    folder = tmp_path / "devices/system/cpu/cpu7/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("schedutil\n")
    assert (governor(tmp_path, 7), governor(tmp_path, 0)) == ("schedutil", "not told")


@pytest.mark.parametrize(
    ("told", "device", "soc"),
    [
        (
            {"firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0"}
            | {"firmware/devicetree/base/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0"},
            "Raspberry Pi 5 Model B Rev 1.0",
            "brcm,bcm2712",
        ),
        ({"devices/virtual/dmi/id/product_name": "ThinkPad\n"}, "ThinkPad", None),
        ({}, "unknown machine", None),
    ],
)
def test_boards_and_computers_tell_their_names(tmp_path, told, device, soc):
    for name, text in told.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = facts._computer(tmp_path)
    assert (found["device"], found["soc"]) == (device, soc or facts.cpu_model())


@pytest.mark.parametrize(
    ("said", "device", "soc"),
    [
        (
            "[ro.product.manufacturer]: [Google]\n[ro.product.model]: [Pixel 6]\n[ro.soc.model]: [GS101]",
            "Google Pixel 6",
            "GS101",
        ),
        ("[ro.product.model]: [old [one]]\n[ro.board.platform]: [msm8996]\nno property", "old [one]", "msm8996"),
    ],
)
def test_phones_tell_their_names(tmp_path, monkeypatch, said, device, soc):
    program = tmp_path / "getprop"
    program.write_text(f"#!/bin/sh\ncat <<END\n{said}\n[ro.build.version.release]: [9]\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = facts._android()
    assert (found["device"], found["soc"], found["os"]) == (device, soc, "Android 9")


def test_what_is_no_phone_has_no_properties(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts._android() == {}


def test_a_mac_tells_its_name_and_its_chip(tmp_path, monkeypatch):
    answers = {"hw.model": "Macmini9,1", "machdep.cpu.brand_string": "Apple M1"}
    cases = "".join(f"  {name}) echo {answer!r} ;;\n" for name, answer in answers.items())
    program = tmp_path / "sysctl"
    program.write_text(f'#!/bin/sh\ncase "$2" in\n{cases}esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(facts, "PROC", tmp_path)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    found = facts._computer(tmp_path)
    assert (found["device"], found["soc"], found["os"]) == ("Macmini9,1", "Apple M1", "macOS 14.5")


def test_where_the_system_does_not_pin_all_cores_count(monkeypatch):
    assert facts.cores() == (len(facts.usable_cpus()) or os.cpu_count())
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert (facts.usable_cpus(), facts.cores()) == ([], os.cpu_count())
