"""The one exception that means "the user can mend this": its message is shown alone, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """What came, what is allowed, what to do: one line."""


MOST_SHOWN = 80  # characters of a value that came
MOST_SAID = 300  # of a program's line


def shown(value: object) -> str:
    """A value as a complaint tells it: as Python writes it, cut where it is long."""
    told = repr(value)
    return told if len(told) <= MOST_SHOWN else f"{told[: MOST_SHOWN - 3]}..."


def last_line(said: str) -> str:
    """Of what a program said, which is mostly why it ended; empty where it said nothing."""
    lines = said.strip().splitlines()
    return lines[-1].strip()[:MOST_SAID] if lines else ""


def unknown(what: str, got: str, known: Iterable[str], hint: str = "") -> UserError:
    """An error that names the near misses of `got` first, then all that is known."""
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(near)}?" if near else "."
    all_known = f" Known: {', '.join(names)}." if names else ""
    return UserError(f"unknown {what} {got!r}{guess}{all_known}{f' {hint}' if hint else ''}")
