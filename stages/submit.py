"""Checks and writes `submission/<run>/submission.csv` and `manifest.json`, and prints how good it should be."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import read_metadata, read_table, write_json
from battles.paths import RunPaths
from battles.schema import ID, WINNERS, labels
from models.stacking.settings import STACK
from oof.table import read_test
from report.gap import expected_log_loss, share_closed
from report.inputs import read_scores
from report.scores import text_table
from stages.common import code_version, guarded, library_versions, run_argument, stamp
from stages.config import STAGES
from submission.manifest import manifest
from submission.table import build, read, write


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    # Everything is read before anything is written: what is broken elsewhere must not cost a good submission.
    ids = read_table(paths.battles / "test.parquet", columns=[ID])[ID].tolist()
    names: list[str] = stamp(run, "run")["bases"]
    stack = read_test(paths.test_predictions(STACK), ids)
    predictions = {name: read_test(paths.test_predictions(name), ids).probabilities for name in names}
    metrics = read_scores(paths.oof / "metrics.json", names)
    params = {name: stamp(run, name) for name in (*STAGES, *names)}
    about = _about(paths, metrics)
    is_sample = stamp(run, "inputs")["train"]["sha256"] is None
    truth = read_table(paths.truth).set_index(ID).loc[ids] if is_sample else None

    path = paths.submission / "submission.csv"
    write(path, build(ids, stack.probabilities), ids)
    value = manifest(path, len(ids), _artefacts(paths, names), params, about)
    write_json(paths.submission / "manifest.json", value)
    print(text_table(metrics["bases"] | metrics["candidates"]))
    if truth is not None:
        predictions["submission"] = read(path)[list(WINNERS)].to_numpy()
        _print_gap(predictions, truth, read_table(paths.battles / "train.parquet"))
    print(f"submission: {path} holds {len(ids)} rows")


def _artefacts(paths: RunPaths, names: list[str]) -> list[Path]:
    """The files that a submission was computed from."""
    tables = [of(name) for name in [*names, STACK] for of in (paths.predictions, paths.test_predictions)]
    models = [path for path in paths.stack.iterdir() if path.is_file()]
    return [*tables, *models, *(paths.battles / name for name in ("train.parquet", "test.parquet", "folds.parquet"))]


def _about(paths: RunPaths, metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "code_version": code_version(),
        "libraries": library_versions(),
        "shipped": read_metadata(paths.predictions(STACK))["shipped"],
        "nested_log_loss": metrics["candidates"][STACK]["log_loss"],
        "inputs": stamp(paths.name, "inputs"),
    }


def _print_gap(predictions: dict[str, np.ndarray], truth: pd.DataFrame, train: pd.DataFrame) -> None:
    """Prints the log loss of each model against the sample's true vote probabilities, which only the sample has."""
    expected = truth[list(WINNERS)].to_numpy()
    shares = np.bincount(labels(train), minlength=3) / len(train)
    prior = expected_log_loss(np.broadcast_to(shares, expected.shape), expected)
    optimal = expected_log_loss(expected, expected)
    print("\nlog loss on the sample's test battles, expected under their true vote probabilities:")
    rows = {"prior": np.broadcast_to(shares, expected.shape), **predictions, "Bayes-optimal": expected}
    for name, values in rows.items():
        loss = expected_log_loss(values, expected)
        print(f"  {name:<14}{loss:.4f}  {100 * share_closed(loss, prior, optimal):3.0f} % of the gap closed")


if __name__ == "__main__":
    guarded(main)
