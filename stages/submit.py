"""Checks and writes `submission/<run>/submission.csv` and `manifest.json`, and prints how good it should be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from battles.files import read_metadata, read_table, write_json
from battles.paths import RunPaths
from battles.schema import ID, WINNERS, labels
from models.stacking.settings import STACK
from oof.table import read as read_oof
from oof.table import read_test
from report.gap import Reached, reached
from report.stack_metrics import wrap
from stages.common import code_version, guarded, library_versions, run_argument, stamp
from stages.config import STAGES
from stages.run_tables import check_origin, has_truth, read_figures, read_split
from submission.manifest import manifest
from submission.table import build, read, write


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    # Everything is read before anything is written: an earlier submission outlives a damaged file.
    ids = read_table(paths.test_battles, columns=[ID])[ID].tolist()
    for path in (paths.predictions(STACK), paths.test_predictions(STACK)):
        check_origin(path, {"params_hash": stamp(run, STACK)["hash"]})
    table = build(ids, read_test(paths.test_predictions(STACK), ids).probabilities)
    names: list[str] = stamp(run, "run")["bases"]
    bases = {name: read_test(paths.test_predictions(name), ids).probabilities for name in names}
    battles, folds = read_split(run)
    metrics = read_figures(run, read_oof(paths.predictions(STACK), folds, partial=True), labels(battles))
    about, files = _about(paths, metrics), _artefacts(paths, names, stamp(run, "run")["clean"])
    params = {name: stamp(run, name) for name in (*STAGES, *names)}
    truth = shares = None
    if has_truth(run):
        truth = read_table(paths.truth).set_index(ID).loc[ids][list(WINNERS)].to_numpy()
        shares = np.bincount(labels(battles), minlength=3)

    path = paths.submission_file
    write(path, table, ids)
    written = read(path)
    write_json(paths.manifest, manifest(path, len(ids), files, params, about), sealed=True)
    if truth is not None and shares is not None:
        submitted = {"submission": written[list(WINNERS)].to_numpy()}
        _print_gap(reached(bases | submitted, truth, shares / shares.sum()))
    print(f"submission: {path} holds {len(ids):,} rows; nested log loss {about['nested_log_loss']:.4f}")
    for line in wrap(
        f"next: upload {path}; `make report RUN={run}` shows why and where the models fail; `make verify RUN={run}` "
        f"checks every hash; `make submission RUN={run} TEST=others.csv` predicts other battles"
    ):
        print(line)


def _artefacts(paths: RunPaths, names: list[str], clean: list[str] | None) -> list[Path]:
    """The files that the submission was computed from."""
    tables = [of(name) for name in [*names, STACK] for of in (paths.predictions, paths.test_predictions)]
    tables += [paths.train_battles, paths.test_battles, paths.train_features, paths.test_features]
    if clean is not None:
        tables += [paths.nested_features, *map(paths.pairs, clean)]
    # The studies of the stacker go on; it is made of one of their trials.
    stack = [path for path in paths.stack.iterdir() if path.is_file() and path.suffix in (".json", ".txt")]
    return [*tables, paths.folds, paths.metrics, *stack]


def _about(paths: RunPaths, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "code_version": code_version(),
        "libraries": library_versions(),
        "shipped": read_metadata(paths.predictions(STACK))["shipped"],
        "nested_log_loss": metrics["candidates"][STACK]["log_loss"],
        "inputs": stamp(paths.name, "inputs"),
    }


def _print_gap(models: Mapping[str, Reached]) -> None:
    print("\nlog loss on the sample's test battles, expected under their true vote probabilities:")
    for name, (loss, share) in models.items():
        print(f"  {name:<14}{loss:.4f}  {100 * share:3.0f} % of the gap closed")


if __name__ == "__main__":
    guarded(main)
