"""Predicts battles of any file from the saved models of a run: `make predict RUN=name BATTLES=file [OUT=file]`.

Needs `models/runs/<run>/` and nothing else of the run. `BATTLES=-` reads JSON lines from standard input, and writes to
standard output unless OUT is given.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from battles.errors import BadInput
from battles.formats import AUTO
from battles.paths import RunPaths, check_run
from battles.reading import read_battles
from battles.schema import ID
from stages.common import guarded
from stages.variables import given, note_exported
from submission.predict import Predictor, describe
from submission.table import build, to_csv, write

STANDARD = "-"


def main() -> None:
    began = time.perf_counter()
    run, source = given("RUN"), given("BATTLES")
    check_run(run)
    note_exported()
    if not source:
        raise BadInput("BATTLES: not given; name a file of battles, or - for JSON lines on standard input")
    paths = RunPaths(run)
    if not paths.models.is_dir():
        raise BadInput(f"RUN: there are no models of a run {run!r} ({paths.models}); train it with make submission")
    format = given("FORMAT") or AUTO
    battles = _standard_input(format) if source == STANDARD else read_battles(source, voted=False, format=format)
    predictor = Predictor(paths.models)
    ids = battles[ID].tolist()
    with contextlib.redirect_stdout(sys.stderr):  # progress must not stand between the predictions
        table = build(ids, predictor.probabilities(battles))
    target = given("OUT") or (STANDARD if source == STANDARD else str(paths.submission / "predictions.csv"))
    if target == STANDARD:
        sys.stdout.write(to_csv(table))
    else:
        write(target, table, ids)
    seconds = time.perf_counter() - began
    print(f"predict: {len(ids)} battles by run {run} ({describe(predictor.bases)}) in {seconds:.1f} s", file=sys.stderr)
    if target != STANDARD:
        print(f"predict: {target} holds {len(ids)} rows", file=sys.stderr)


def _standard_input(format: str) -> pd.DataFrame:
    """The battles of JSON lines on standard input, read as a file of them is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "standard-input.jsonl")
        path.write_bytes(sys.stdin.buffer.read())
        try:
            return read_battles(path, voted=False, format=format)
        except BadInput as problem:
            raise BadInput(str(problem).replace(str(path), "standard input")) from None


if __name__ == "__main__":
    guarded(main)
