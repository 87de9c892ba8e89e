"""Stacks the base models of a run: `oof/<run>/stack.parquet`, `metrics.json`, `models/<run>/stack/`."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from battles.files import read_metadata, read_table, write_json
from battles.schema import labels
from models import stack_files, stack_inputs
from models.linear import softmax
from models.progress import Progress
from models.stack_settings import STACK, Stack
from models.stacker import Nested, describe, stack
from oof import table
from report.scores import score, text_table
from stages.common import code_version, guarded, has_test, library_versions, run_argument, section, stamp


def main() -> None:
    run = run_argument("Tunes, compares and ships the stacker on the run's base models and features.")
    settings, params_hash = section(run, "stack", Stack)
    battles, oof, features, models = (Path(room, run) for room in ("battles", "oof", "features", "models"))
    names: list[str] = stamp(run, "run")["bases"]
    folds = read_table(battles / "folds.parquet")
    bases = {name: oof / f"{name}.parquet" for name in names}
    meta, probabilities, covered = stack_inputs.training_inputs(bases, features / "train.parquet", folds)
    if not covered.all():
        left = int((~covered).sum())
        print(f"stack: {left} of {len(covered)} battles are left out, as their folds were not run by every base")
    votes = labels(read_table(battles / "train.parquet"))[covered]
    kept = folds[covered]
    groups = kept["group"].to_numpy()

    started = time.perf_counter()
    folder = models / "stack"
    numbers = kept["fold"].to_numpy()
    with Progress("stack: fits outside each fold and on all", len(np.unique(numbers)) + 1) as progress:
        nested = stack(meta, votes, numbers, settings, folder / "study.journal", groups, progress.advance)
    seconds = time.perf_counter() - started

    stack_files.save(folder, nested.final.models, nested.shipped, {"bases": names, "settings": settings.model_dump()})
    metadata: dict[str, Any] = {
        "base": STACK,
        "backbone": "stacker",
        "bases": names,
        "shipped": nested.shipped,
        "params_hash": params_hash,
        "code_version": code_version(),
        "libraries": library_versions(),
        "device": "cpu",
        "train_seconds": round(seconds, 3),
        "inference_seconds": 0.0,
    }
    everything = np.full((len(covered), 3), np.nan)
    everything[covered] = nested.probabilities[STACK]
    table.write(oof / "stack.parquet", folds, {table.MEAN: everything}, metadata)
    if has_test(run):
        _predict_test(run, names, nested, metadata)
    _report(oof, names, nested, probabilities, votes, groups, seconds, len(covered))


def _predict_test(run: str, names: list[str], nested: Nested, metadata: dict[str, Any]) -> None:
    ids = read_table(Path("battles", run, "test.parquet"), columns=["id"])["id"]
    bases = {name: Path("oof", run, f"{name}.test.parquet") for name in names}
    meta = stack_inputs.test_inputs(bases, Path("features", run, "test.parquet"), ids)
    probabilities = softmax(nested.final.models[nested.shipped].logits(meta))
    table.write_test(Path("oof", run, f"{STACK}.test.parquet"), ids.tolist(), {table.MEAN: probabilities}, metadata)


def _report(
    oof: Path,
    names: list[str],
    nested: Nested,
    bases: Any,
    votes: np.ndarray,
    groups: np.ndarray,
    seconds: float,
    battles: int,
) -> None:
    taken = {name: read_metadata(oof / f"{name}.parquet") for name in names}
    spent = {name: found["train_seconds"] + found["inference_seconds"] for name, found in taken.items()}
    base_scores = score(bases | {STACK: nested.probabilities[STACK]}, votes, STACK, spent, groups)
    candidate_scores = score(nested.probabilities, votes, STACK, nested.seconds() | {STACK: seconds}, groups)
    base_scores.pop(STACK)
    write_json(
        oof / "metrics.json",
        {"battles": battles, "covered": len(votes), "bases": base_scores, "candidates": candidate_scores}
        | describe(nested),
    )
    print(text_table(base_scores | candidate_scores))
    print(f"ships: {nested.shipped}; nested log loss {candidate_scores[STACK]['log_loss']:.4f} on {len(votes)} battles")


if __name__ == "__main__":
    guarded(main)
