"""Processes that hear each other go on; one that is not heard of, or a store that is silent, ends the others."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from threading import Event

import pytest
from torch.distributed import HashStore, TCPStore

from hwnas import heartbeat


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.02)
    monkeypatch.setattr(heartbeat, "LOST_AFTER_S", 0.5)


class Ending(Event):
    """Set with the reason."""

    reason = ""

    def __call__(self, reason):
        self.reason = reason
        self.set()


def test_those_who_beat_are_left_in_peace():
    store, endings = HashStore(), [Ending() for _ in range(3)]
    with ExitStack() as together:
        for own, end in enumerate(endings):
            together.enter_context(heartbeat.heard(store, own, 3, end))
        time.sleep(1.5)
    assert not any(end.is_set() for end in endings)


def test_one_that_falls_silent_is_named_by_the_others():
    store, endings = HashStore(), [Ending() for _ in range(3)]
    with heartbeat.heard(store, 0, 3, endings[0]), heartbeat.heard(store, 2, 3, endings[2]):
        with heartbeat.heard(store, 1, 3, endings[1]):
            time.sleep(1.0)
            assert not any(end.is_set() for end in endings)
        assert endings[0].wait(5)
        assert endings[2].wait(5)
    assert "of 3 processes number 1 has not been heard of" in endings[0].reason
    assert not endings[1].is_set()


def test_one_that_never_came_is_named():
    end = Ending()
    with heartbeat.heard(HashStore(), 0, 2, end):
        assert end.wait(5)
    assert "number 1 " in end.reason


def test_a_store_that_is_gone_ends_the_process():
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    client, end = TCPStore("127.0.0.1", server.port, wait_for_workers=False), Ending()
    with heartbeat.heard(client, 0, 1, end):
        time.sleep(0.2)
        del server
        assert end.wait(10)
    assert "store has not answered" in end.reason


def test_a_store_that_answers_no_more_ends_the_process():
    """Its connection stays open, and the thread that asks waits for ever."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serves = f"""
from torch.distributed import TCPStore
store = TCPStore("127.0.0.1", {port}, is_master=True, wait_for_workers=False)
print(flush=True)
input()
"""
    server = subprocess.Popen([sys.executable, "-c", serves], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        client, end = TCPStore("127.0.0.1", port, wait_for_workers=False), Ending()
        with heartbeat.heard(client, 0, 1, end):
            time.sleep(0.2)
            server.send_signal(signal.SIGSTOP)
            assert end.wait(10)
        assert "store has not answered" in end.reason
    finally:
        server.kill()
        server.communicate()
