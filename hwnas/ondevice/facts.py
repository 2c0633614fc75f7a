"""What a machine is, and how it is doing, as its system tells.

Run as `python -m hwnas.ondevice.facts RUNTIME` it tells what it runs on, in one JSON object on stdout; as
`python -m hwnas.ondevice.facts conditions [CPU...]` how that is doing.
"""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hwnas.errors import UserError
from hwnas.runtimes import RUNTIMES

SYS, PROC = Path("/sys"), Path("/proc")
MODELS = ("firmware/devicetree/base/model", "devices/virtual/dmi/id/product_name")  # of boards, of PCs
CHIP = "firmware/devicetree/base/compatible"
ANSWER_TIMEOUT_S = 10.0  # of the system's own programs
HOTTEST_C = 150.0  # what a zone tells above is no temperature, but that there is no sensor
NUMBER = re.compile(r"-?\d+")
NOT_TOLD = "not told"
CONDITIONS = "conditions"


def facts(runtime: str) -> dict[str, object]:
    """`described` as `Device.describe` has it, how many cores a process may use, and which, with their governors."""
    try:
        version, why = RUNTIMES[runtime].version(), ""
    except UserError as error:
        version, why = "", str(error)
    cpus = usable_cpus()
    return {
        "described": _android() or _computer(SYS),
        "cores": cores(),
        "cpus": cpus,
        "governors": {str(cpu): governor(SYS, cpu) for cpu in cpus},
        "runtime_version": version,
        "error": why,
    }


def usable_cpus() -> list[int]:
    """The cores that this process may use; none where the system does not pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cores() -> int:
    """How many threads of this process can run at once."""
    return len(usable_cpus()) or os.cpu_count() or 1


def conditions_of(sys: Path, cpus: Sequence[int]) -> dict[str, float]:
    """Temperature of the hottest zone and clock rate of the slowest of `cpus`, as far as Linux's /sys tells."""
    zones = sys.glob("class/thermal/thermal_zone*/temp")
    told_c = [float(text) / 1e3 for path in zones if NUMBER.fullmatch(text := first_line(path))]
    degrees_c = [degrees for degrees in told_c if degrees < HOTTEST_C]
    shares: list[float] = []
    for cpu in cpus:
        folder = sys / f"devices/system/cpu/cpu{cpu}/cpufreq"
        now, highest = (first_line(folder / name) for name in ("scaling_cur_freq", "cpuinfo_max_freq"))
        if NUMBER.fullmatch(now) and NUMBER.fullmatch(highest) and int(highest):
            shares.append(int(now) / int(highest))
    temperature = {"temperature_c": max(degrees_c)} if degrees_c else {}
    return temperature | ({"frequency_share": min(shares)} if shares else {})


def governor(sys: Path, cpu: int) -> str:
    """What decides a core's clock rate."""
    return first_line(sys / f"devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor") or NOT_TOLD


def cpu_model() -> str:
    """The processor's name as Linux or macOS tells it."""
    cpuinfo = PROC / "cpuinfo"
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or said("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or "unknown"


def system() -> str:
    """ "Linux 6.1.0-18-arm64", "macOS 14.5"."""
    version = platform.mac_ver()[0]  # empty elsewhere
    return f"macOS {version}" if version else f"{platform.system()} {platform.release()}"


def _computer(sys: Path) -> dict[str, str]:
    """A board tells its name and its chip's in the device tree, a PC its own by DMI, macOS both by a program."""
    models = (first_line(sys / name) for name in MODELS)
    chip = first_line(sys / CHIP).split("\0")[-1]  # the last name is of the chip, those before of boards with it
    return {
        "device": next(filter(None, models), "") or said("sysctl", "-n", "hw.model") or "unknown machine",
        "soc": chip or cpu_model(),
        "architecture": platform.machine(),
        "os": system(),
    }


def _android() -> dict[str, str]:
    """What a phone says of itself; empty where this is none."""
    told = _properties()
    if not told.get("ro.build.version.release"):
        return {}
    maker, model = (told.get(f"ro.product.{name}", "") for name in ("manufacturer", "model"))
    chip = " ".join(filter(None, (told.get(f"ro.soc.{name}", "") for name in ("manufacturer", "model"))))
    return {
        "device": f"{maker} {model}".strip() or "unknown phone",
        "soc": chip or told.get("ro.board.platform", "") or cpu_model(),
        "architecture": platform.machine(),
        "os": f"Android {told['ro.build.version.release']}",
    }


def _properties() -> dict[str, str]:
    """Of Android, by name: lines `[name]: [value]`."""
    lines = (line.split("]: [", 1) for line in said("getprop").splitlines())
    return {pair[0].removeprefix("["): pair[1].removesuffix("]") for pair in lines if len(pair) == 2}


def said(*command: str) -> str:
    """What a program of the system says; nothing where there is no such program."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, timeout=ANSWER_TIMEOUT_S, check=False)
        return done.stdout.decode(errors="replace").strip()
    return ""


def first_line(path: Path) -> str:
    """Empty for a file that is not there, or a sensor that does not answer."""
    try:
        return path.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return ""


def main() -> None:
    what, *cpus = sys.argv[1:]
    print(json.dumps(conditions_of(SYS, list(map(int, cpus))) if what == CONDITIONS else facts(what)))


if __name__ == "__main__":
    main()
