"""What each step of a call of make took: noted as the steps end, shown as a table when the call has ended."""

import json
import os
import sys
import time
from pathlib import Path

from battles.processes import PARENTS

_FILE = "times.jsonl"
_BEGAN = time.time()


def note() -> None:
    """Notes the step that ends here, if a call of make waits for it: seconds by the clock, and of computing.

    Those of finished child processes count; imports count in what was computed.
    """
    folder = os.environ.get(PARENTS)
    if not folder or not sys.argv[0].endswith(".py"):
        return
    used = os.times()
    line = json.dumps({"step": _name(), "began": _BEGAN, "ended": time.time(), "cpu": sum(used[:4])})
    try:
        # One write to the end of a file: steps that end at the same time do not mix.
        with Path(folder, _FILE).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError:  # a full disk: the step has done its work, and only a row of the table is lost
        pass


def _name() -> str:
    """The step as the table names it: module, base, and what makes it a step of its own."""
    words = sys.argv[1:]
    named = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--name"]
    return " ".join([Path(sys.argv[0]).stem, *named, *(w[2:] for w in words if w in ("--test", "--pairs"))])


def table(folder: Path) -> list[str]:
    """The lines that a call ends with; none where fewer than two steps ran beside the params."""
    path = folder / _FILE
    if not path.exists():
        return []
    notes = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [one for one in notes if one["step"] not in ("params", "verify")]
    if len(steps) < 2:
        return []
    first = min(one["began"] for one in notes)
    rows = [(one["step"], one["began"] - first, one["ended"] - one["began"], one["cpu"]) for one in notes]
    whole = max(one["ended"] for one in notes) - first
    rows.append(("all", 0.0, whole, sum(one["cpu"] for one in notes)))
    width = max(len(step) for step, *_ in rows)
    head = f"{'step':<{width}}  began at      time  computing   (seconds)"
    return ["", head, *(f"{step:<{width}}  {at:8.1f}  {took:8.1f}  {cpu:9.1f}" for step, at, took, cpu in rows)]
