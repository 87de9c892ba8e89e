"""Runs side by side, on the same split: `make compare RUNS=one,two`. Differences are to the first."""

from typing import Any

import numpy as np

from battles.errors import BadInput
from battles.files import read_metadata
from battles.folds import fold_hash
from battles.paths import RunPaths, check_run
from battles.schema import labels
from models.stacking.settings import STACK
from oof import table
from report.comparison import ComparedRun, compare, params_table
from report.scores import text_table
from report.stack_metrics import wrap
from stages.common import guarded, stamp
from stages.config import STAGES
from stages.run_tables import read_split
from stages.variables import given, note_exported

_ABOUT = (
    "log loss is nested; “to first” is the mean difference in log loss to {first}, above 0 where a run is worse, with "
    "its paired standard error, battles of one prompt counted as one; less than twice that may be chance. seconds: "
    "training and prediction of all bases, and the stack."
)


def main() -> None:
    names = [name for name in given("RUNS").replace(",", " ").split() if name]
    note_exported()
    if len(names) < 2 or len(set(names)) < len(names):
        raise BadInput(f"RUNS: {given('RUNS')!r}; name two or more different runs, divided by commas: RUNS=one,two")
    for name in names:
        check_run(name)
    runs, groups = {}, np.empty(0)
    for name in names:
        runs[name], found = _read(name)
        groups = found if not len(groups) else groups
    comparison = compare(runs, groups)
    print(f"{comparison.rows:,} battles, {comparison.classes} classes, fold hash {runs[names[0]].fold_hash}")
    print(text_table(comparison.scores, reference="first"))
    print("\n".join(wrap(_ABOUT.format(first=names[0]))))
    print(params_table(comparison))


def _read(name: str) -> tuple[ComparedRun, np.ndarray]:
    """A run's part of the comparison, and its groups (n,)."""
    paths = RunPaths(name)
    if not paths.stamp("run").exists():
        raise BadInput(f"RUNS: there is no run {name!r}; make one first, or mend the name")
    battles, folds = read_split(name)
    bases: list[str] = stamp(name, "run")["bases"]
    stack = table.read(paths.predictions(STACK), folds, partial=True)
    tables = [paths.predictions(base) for base in (*bases, STACK)]
    metadata = [read_metadata(path) for path in tables]
    parts = [one[key] for one in metadata for key in ("train_seconds", "inference_seconds")]
    seconds = None if any(part is None for part in parts) else float(sum(parts))
    run = ComparedRun(fold_hash(folds), labels(battles), stack, seconds, _params(name, bases))
    return run, folds["group"].to_numpy()


def _params(name: str, bases: list[str]) -> dict[str, Any]:
    """The settings of a run by section; of the bases, which there are. Predictions made elsewhere have none."""
    sections = {key: stamp(name, key)["settings"] for key in STAGES if key not in ("run", "sample", "tiny")}
    if not stamp(name, "inputs")["table"]:
        sections |= {base: stamp(name, base)["settings"] for base in bases}
    return {"run": {"bases": bases}, **sections}


if __name__ == "__main__":
    guarded(main)
