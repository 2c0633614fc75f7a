"""From images and a device to a mobile model that is as accurate as the device's latency budget allows."""

__version__ = "0.1.0"
