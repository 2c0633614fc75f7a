"""What a phone runs for adb, in a thread of the tests: the real client speaks to it over TCP, as to a phone on Wi-Fi.

Only `adb shell` of a command without a terminal is served, in version 2 of the shell protocol, and as a phone does it:
the command's input and output are one socket, its errors another; a client that goes away is a hang-up.
"""

import contextlib
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
MESSAGE = struct.Struct("<6I")  # command, two arguments, the data's size and sum, the command's complement
PACKET = struct.Struct("<BI")  # of the shell protocol: what it is, its data's size
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
AUTH_TOKEN, AUTH_SIGNATURE = 1, 2
VERSION, MAX_DATA_BYTES, CHUNK_BYTES = 0x01000001, 1 << 20, 1 << 16
BANNER = b"device::ro.product.name=x;ro.product.model=Pixel;ro.product.device=x;features=shell_v2,cmd\0"
HANG_UP_S = 0.5  # to end by itself after SIGHUP
SHELL = ("/bin/sh",)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as under nohup, which a shell would inherit for good
    SHELL = ("env", "--default-signal=HUP", *SHELL)


class Command:
    """One that runs on the phone, and the client's stream to it."""

    def __init__(self, link: "Link", local: int, remote: int, text: str) -> None:
        self.link, self.local, self.remote, self.is_closed = link, local, remote, False
        self.received: queue.Queue[bytes | None] = queue.Queue()
        self.may_write = threading.Semaphore(1)  # one message at a time waits for its OKAY
        self.shut = threading.Lock()
        self.input_output, own_input_output = socket.socketpair()
        self.errors, own_errors = socket.socketpair()
        with own_input_output, own_errors:
            self.process = subprocess.Popen(
                [*SHELL, "-c", text] if text else SHELL,
                stdin=own_input_output.fileno(),
                stdout=own_input_output.fileno(),
                stderr=own_errors.fileno(),
                cwd=link.daemon.working_folder,
                env=dict(link.daemon.environment),
                start_new_session=True,
            )
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self._run, self._feed)]

    def start(self) -> None:
        for thread in list(self.threads):
            thread.start()

    def _run(self) -> None:
        pumps = [
            threading.Thread(target=self._pump, args=each, daemon=True)
            for each in ((self.input_output, STDOUT), (self.errors, STDERR))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = self.process.wait()
        self._write(EXIT, bytes([code if code >= 0 else 128 - code]))
        with self.shut:
            is_ended, self.is_closed = not self.is_closed, True  # no hang-up for what it left in the background
        if is_ended:
            self.link.send(CLSE, self.local, self.remote)
            self._shut_pipes()
        self.received.put(None)

    def _shut_pipes(self) -> None:
        for end in (self.input_output, self.errors):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, kind: int) -> None:
        with contextlib.suppress(ConnectionResetError):  # it ended without having read all of its input
            while data := source.recv(min(CHUNK_BYTES, self.link.max_data_bytes - PACKET.size)):
                self._write(kind, data)

    def _write(self, kind: int, data: bytes) -> None:
        self.may_write.acquire()
        if self.is_closed:
            self.may_write.release()  # nobody will: for the next one
        else:
            self.link.send(WRTE, self.local, self.remote, PACKET.pack(kind, len(data)) + data)

    def _feed(self) -> None:
        """What the client sends, to the command. A command that does not read makes the client wait, as on a phone."""
        pending = bytearray()
        while (data := self.received.get()) is not None:
            pending += data
            while len(pending) >= PACKET.size:
                kind, size = PACKET.unpack_from(pending)
                if len(pending) < PACKET.size + size:
                    break
                with contextlib.suppress(OSError):  # it may have ended
                    if kind == STDIN:
                        self.input_output.sendall(pending[PACKET.size : PACKET.size + size])
                    elif kind == CLOSE_STDIN:
                        self.input_output.shutdown(socket.SHUT_WR)
                del pending[: PACKET.size + size]
            if not self.is_closed:
                self.link.send(OKAY, self.local, self.remote)

    def hang_up(self) -> None:
        """The client is gone. Does not wait."""
        with self.shut:
            if self.is_closed:
                return
            self.is_closed = True
        self.may_write.release()
        self.received.put(None)
        ender = threading.Thread(target=self._end, daemon=True)
        self.threads.append(ender)
        ender.start()

    def _end(self) -> None:
        """SIGHUP, and closed pipes. Android hangs up the shell alone, and lets the rest of what it started run on."""
        with contextlib.suppress(ProcessLookupError):
            if self.link.daemon.hangs_up_like_android:
                if self.process.poll() is None:
                    os.kill(self.process.pid, signal.SIGHUP)
            else:
                os.killpg(self.process.pid, signal.SIGHUP)
        self._shut_pipes()
        if not self.link.daemon.hangs_up_like_android:
            with contextlib.suppress(ProcessLookupError):
                deadline = time.monotonic() + HANG_UP_S
                while time.monotonic() < deadline:
                    os.killpg(self.process.pid, 0)  # raises once nobody of the group is left
                    time.sleep(0.01)
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Ends it, whatever it does about SIGHUP."""
        self.hang_up()
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for thread in self.threads:
            thread.join()
        self.input_output.close()
        self.errors.close()


class Link:
    """An adb server's connection to the phone."""

    def __init__(self, daemon: "Adbd", connection: socket.socket) -> None:
        self.daemon, self.connection, self.max_data_bytes = daemon, connection, 4096
        self.sending, self.commands, self.opened = threading.Lock(), dict[int, Command](), 0
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """A server that is gone is told nothing: the reading thread notices, and hangs up."""
        checked = sum(data) if command in (CNXN, AUTH) else 0  # what is later goes unchecked in this version
        header = MESSAGE.pack(command, first, second, len(data), checked, command ^ 0xFFFFFFFF)
        with self.sending, contextlib.suppress(OSError):
            self.connection.sendall(header + data)

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not (chunk := self.connection.recv(size - len(data))):
                raise ConnectionError("the adb server is gone")
            data += chunk
        return bytes(data)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                command, first, second, size, _, _ = MESSAGE.unpack(self._receive(MESSAGE.size))
                data = self._receive(size)
                self.daemon.awake.wait()
                self._take(command, first, second, data)
        for each in list(self.commands.values()):
            each.hang_up()

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        """first is the server's name of the stream, second the phone's: that of its command."""
        if command == CNXN:
            self.max_data_bytes = min(second, MAX_DATA_BYTES)
            if self.daemon.is_authorized:
                self.send(CNXN, VERSION, MAX_DATA_BYTES, BANNER)
            else:
                self.send(AUTH, AUTH_TOKEN, 0, bytes(20))
        elif command == AUTH and first == AUTH_SIGNATURE:
            self.send(AUTH, AUTH_TOKEN, 0, bytes(20))  # asks for its key, which nobody at the phone then accepts
        elif command == OPEN:
            self._open(first, data.rstrip(b"\0").decode())
        elif found := self.commands.get(second):
            if command == OKAY:
                found.may_write.release()
            elif command == WRTE:
                found.received.put(data)
            elif command == CLSE:
                found.hang_up()

    def _open(self, remote: int, service: str) -> None:
        name, _, text = service.partition(":")
        if {"shell", "v2", "raw"} <= set(name.split(",")):
            self.opened += 1
            command = self.commands[self.opened] = Command(self, self.opened, remote, text)
            self.send(OKAY, self.opened, remote)
            command.start()
        else:
            self.send(CLSE, 0, remote)

    def drop(self) -> None:
        """The server sees its end, and the commands a hang-up."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()

    def close(self) -> None:
        self.drop()
        for each in self.commands.values():
            each.close()
        self.connection.close()


class Adbd:
    """Listens on a free port, the same for as long as it lives. environment: all that commands get.

    is_authorized: whether somebody has allowed this computer on the phone's screen.
    hangs_up_like_android: only the shell of a command whose client is gone gets SIGHUP, and nothing SIGKILL.
    """

    def __init__(
        self,
        working_folder: Path,
        environment: Mapping[str, str],
        is_authorized: bool = True,
        hangs_up_like_android: bool = False,
    ) -> None:
        self.working_folder, self.environment = working_folder, environment
        self.is_authorized, self.hangs_up_like_android = is_authorized, hangs_up_like_android
        self.port, self.links = 0, list[Link]()
        self.listener: socket.socket | None = None
        self.awake = threading.Event()  # while it is not set, nothing is answered
        self.awake.set()
        self.listen()

    def listen(self) -> None:
        if self.listener is not None:
            return
        self.listener = socket.create_server(("127.0.0.1", self.port))  # may reuse what it has just closed
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was shut
            while True:
                self.links.append(Link(self, listener.accept()[0]))

    def vanish(self) -> None:
        """No more connections, old or new, until it listens again."""
        if self.listener is None:
            return
        self.awake.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        self.listener = None
        for link in self.links:
            link.drop()

    def close(self) -> None:
        """Waits until every command has ended."""
        self.vanish()
        for link in self.links:
            link.close()
        self.links.clear()
