"""File -> milliseconds."""

from collections.abc import Callable

from hwnas.devices.device import Device, Measurement, Memory, Session, measure_in_turn, pooled
from hwnas.devices.fake import FakeDevice
from hwnas.devices.local import LocalDevice
from hwnas.devices.profile import Profile, Timing, load_profile
from hwnas.devices.remote import RemoteDevice
from hwnas.devices.transports import TRANSPORTS
from hwnas.ondevice.timing import RunConfig

DEVICES: dict[str, Callable[[Profile], Device]] = {
    "host": LocalDevice,
    **dict.fromkeys(TRANSPORTS, RemoteDevice),
    "fake": FakeDevice,
}


def open_device(profile: Profile) -> Device:
    """The device that the profile names."""
    return DEVICES[profile.device](profile)


__all__ = [
    "DEVICES",
    "Device",
    "Measurement",
    "Memory",
    "Profile",
    "RemoteDevice",
    "RunConfig",
    "Session",
    "Timing",
    "load_profile",
    "measure_in_turn",
    "open_device",
    "pooled",
]
