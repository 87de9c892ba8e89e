"""The variables of `make`, which reach the steps through the environment: no shell ever reads their values."""

import os
import sys

from battles.errors import BadInput

# Another split costs all models of a run once more.
MOST_SPLITS = 20


def given(name: str) -> str:
    """The value of one of make's variables; empty when it was not given or the step was not started by make."""
    return os.environ.get(f"ARENA_{name}", "")


def split_count() -> int:
    """The value of SPLITS, 1 where it was not given; raises BadInput."""
    text = given("SPLITS") or "1"
    if not text.isdecimal() or not 1 <= int(text) <= MOST_SPLITS:
        raise BadInput(f"SPLITS: {text!r}; give how many splits there are to be, 2 to {MOST_SPLITS}")
    return int(text)


def note_exported() -> None:
    """Says which variables make did not get from its command line but found exported: perhaps by accident."""
    for name in given("EXPORTED").split():
        # A database's URL may hold a password.
        value = "" if name == "STORAGE" else f"={given(name)}"
        print(f"note: {name}{value} is taken from the environment", file=sys.stderr)
