"""Chatty libraries are not heard, but may be read."""

import os
import sys
import threading
import time

from hwnas.runtimes.quiet import chatter_in, quiet


def test_what_libraries_say_goes_to_the_log_and_nowhere_else(capfd, tmp_path):
    log = tmp_path / "export.log"
    with chatter_in(log):
        for number in range(2):
            with quiet():
                print(f"python {number}")
                print(f"python error {number}", file=sys.stderr)
                os.write(1, f"native {number}\n".encode())
        print("heard")
    with quiet():
        os.write(2, b"not kept\n")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("heard\n", "")
    said = log.read_text()
    assert all(f"{what} {number}" in said for what in ("python", "python error", "native") for number in range(2))
    assert "not kept" not in said


def test_after_two_threads_at_once_both_streams_are_as_before(capfd):
    first_is_in, second_begins = threading.Event(), threading.Event()

    def first():
        with quiet():
            first_is_in.set()
            second_begins.wait(5)
            time.sleep(0.05)  # for the second to get as far as it can

    def second():
        first_is_in.wait(5)
        second_begins.set()
        with quiet():
            time.sleep(0.1)  # ends after the first

    before, threads = (sys.stdout, sys.stderr), [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (sys.stdout, sys.stderr) == before
    os.write(2, b"heard\n")
    assert capfd.readouterr().err == "heard\n"
