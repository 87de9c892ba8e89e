"""Checks and writes `submission/<run>/submission.csv` and `manifest.json`, and prints how good it should be."""

import json
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
from report.scores import text_table
from stages.common import code_version, guarded, library_versions, run_argument, stamp
from stages.config import STAGES
from submission.manifest import manifest
from submission.table import build, check, read, write


def main() -> None:
    run = run_argument(__doc__)
    paths = RunPaths(run)
    ids = read_table(paths.battles / "test.parquet", columns=[ID])[ID].tolist()
    stack = read_test(paths.test_predictions(STACK), ids)
    path = paths.submission / "submission.csv"
    write(path, build(ids, stack.probabilities))
    written = read(path)
    check(written, ids)
    names: list[str] = stamp(run, "run")["bases"]
    metrics = json.loads((paths.oof / "metrics.json").read_text(encoding="utf-8"))
    write_json(paths.submission / "manifest.json", _manifest(paths, path, len(ids), names, metrics))
    print(text_table(metrics["bases"] | metrics["candidates"]))
    if stamp(run, "inputs")["train"]["sha256"] is None:
        predictions = {name: read_test(paths.test_predictions(name), ids).probabilities for name in names}
        predictions["submission"] = written[list(WINNERS)].to_numpy()
        truth = read_table(paths.truth).set_index(ID).loc[ids]
        _print_gap(predictions, truth, read_table(paths.battles / "train.parquet"))
    print(f"submission: {path} holds {len(ids)} rows")


def _manifest(paths: RunPaths, path: Path, rows: int, names: list[str], metrics: dict[str, Any]) -> dict[str, Any]:
    tables = [of(name) for name in [*names, STACK] for of in (paths.predictions, paths.test_predictions)]
    files = [*tables, *(p for p in paths.stack.iterdir() if p.is_file())]
    files += [paths.battles / name for name in ("train.parquet", "test.parquet", "folds.parquet")]
    params = {name: stamp(paths.name, name) for name in (*STAGES, *names)}
    about = {
        "code_version": code_version(),
        "libraries": library_versions(),
        "shipped": read_metadata(paths.predictions(STACK))["shipped"],
        "nested_log_loss": metrics["candidates"]["stack"]["log_loss"],
        "inputs": stamp(paths.name, "inputs"),
    }
    return manifest(path, rows, files, params, about)


def _print_gap(predictions: dict[str, np.ndarray], truth: pd.DataFrame, train: pd.DataFrame) -> None:
    """The sample's truth is known: what each model reaches of it, over the test battles' true probabilities."""
    expected = truth[list(WINNERS)].to_numpy()
    shares = np.bincount(labels(train), minlength=3) / len(train)
    prior = expected_log_loss(np.broadcast_to(shares, expected.shape), expected)
    optimal = expected_log_loss(expected, expected)
    print("\nlog loss on the sample's test battles, expected under their true vote probabilities:")
    for name, values in {
        "prior": np.broadcast_to(shares, expected.shape),
        **predictions,
        "Bayes-optimal": expected,
    }.items():
        loss = expected_log_loss(values, expected)
        print(f"  {name:<14}{loss:.4f}  {100 * share_closed(loss, prior, optimal):3.0f} % of the gap closed")


if __name__ == "__main__":
    guarded(main)
