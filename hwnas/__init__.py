"""From images and a device to a mobile model that is as accurate as the device's latency budget allows."""

import sys

__version__ = "0.1.0"

if sys.platform == "win32":
    raise SystemExit("hwnas runs on Linux and macOS, not on Windows; there it runs inside WSL, Windows' Linux")
