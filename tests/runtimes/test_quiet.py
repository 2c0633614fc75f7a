"""Chatty libraries are not heard, but may be read."""

import os
import sys

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
