"""Repeats a run on other splits of its battles: `make stack RUN=name SPLITS=n`.

The run itself is the first split. Each other one is a run of its own, `<run>.split-<seed>`, with another
`prepare.seed`, made by `make stack` as any run is: it goes on after an interruption, and `make clean` removes it. The
mean over all of them and their spread are printed and written to `oof/<run>/splits.json`.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from battles.errors import BadInput
from battles.files import read_metadata, write_json
from battles.paths import RunPaths
from battles.schema import labels
from models.stacking.settings import STACK
from oof import table
from oof.metrics import row_losses
from report.splits import spread, text_table
from report.stack_metrics import wrap
from stages import remembered
from stages.common import guarded, stamp
from stages.remembered import Call
from stages.run_tables import OWN_FOLDS, read_split
from stages.variables import given, split_count

# What a split does not take from its run: it stacks out-of-fold rows only.
_NOT_PASSED = frozenset({"test", "texts"})
_ABOUT = (
    "log loss: nested, mean over the splits of prepare.seed {first} to {last}; ± s.e.: its standard error for other "
    "battles, those of one prompt counted as one; s.d. of splits: of the figures of single splits"
)


def main() -> None:
    run, count = given("RUN"), split_count()
    paths = RunPaths(run)
    _refuse_own_folds(paths)
    first: int = stamp(run, "prepare")["settings"]["seed"]
    runs = {seed: run if seed == first else f"{run}.split-{seed}" for seed in range(first, first + count)}
    call = remembered.read(paths.params)
    for seed, name in runs.items():
        if name != run:
            print(f"splits: {name}, {seed - first + 1} of {count}", flush=True)
            _make(name, variables_of(call, seed))
    figures = spread(*_losses(runs), STACK)
    write_json(paths.splits, {"seeds": list(runs), "models": figures}, sealed=True)
    print(text_table(figures))
    print("\n".join(wrap(_ABOUT.format(first=first, last=first + count - 1))))


def _refuse_own_folds(paths: RunPaths) -> None:
    if read_metadata(paths.folds).get(OWN_FOLDS):
        path = stamp(paths.name, "inputs")["table"]["path"]
        raise BadInput(
            f"SPLITS: {path} has folds of its own, the same in every split; give a table without column fold"
        )


def variables_of(call: Call, seed: int) -> dict[str, str]:
    """The variables of make for the same call with another split."""
    words = {field.name.upper(): getattr(call, field.name) for field in fields(call) if field.name not in _NOT_PASSED}
    words["SET"] = remembered.merge_overrides(words.pop("OVERRIDES"), f"prepare.seed={seed}")
    words |= {name: given(name) for name in ("NPROC", "WORKERS", "AGAIN")}
    return {name: value for name, value in words.items() if value}


def _make(name: str, variables: Mapping[str, str]) -> None:
    """Calls `make stack` of a run; raises BadInput where it fails, after what it has said itself."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ARENA_", "MAKE", "MFLAGS"))}
    if given("STORAGE"):  # may hold a password, which a command line would show to all
        environment["STORAGE"] = given("STORAGE")
    words = [given("MAKE") or "make", "stack", f"RUN={name}", *(f"{key}={value}" for key, value in variables.items())]
    process = subprocess.Popen(words, env=environment)
    try:
        code = process.wait()
    finally:
        # Ended by a signal: make hands it on to its steps, which leave what the next call goes on from.
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code:
        raise BadInput(f"SPLITS: make stack RUN={name} ended with {code}; mend what it said and call again")


def _losses(runs: Mapping[int, str]) -> tuple[dict[int, dict[str, np.ndarray]], np.ndarray]:
    """The loss of each battle by each base and the stack, by the seed of the split; and the battles' prompt groups."""
    losses: dict[int, dict[str, np.ndarray]] = {}
    groups, votes = np.empty(0), np.empty(0)
    for seed, name in runs.items():
        battles, folds = read_split(name)
        if losses and not np.array_equal(labels(battles), votes):
            raise BadInput(f"SPLITS: {name} holds other votes than its run; remove it: make clean RUN={name}")
        votes, paths = labels(battles), RunPaths(name)
        groups = groups if losses else folds["group"].to_numpy()
        names = [*stamp(name, "run")["bases"], STACK]
        tables = {one: table.read(paths.predictions(one), folds) for one in names}
        losses[seed] = {one: row_losses(found.probabilities, votes) for one, found in tables.items()}
    return losses, groups


if __name__ == "__main__":
    guarded(main)
