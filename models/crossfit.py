"""Five-fold cross-fitting of a base model: fold by fold, resumable, into the out-of-fold table.

A finished fold leaves `fold-<k>/oof.parquet`, `test.parquet` and, last, `fold.json` with the key of all that
it depends on. A later call with the same key takes the fold as it is; anything else is run again. While a fold is
under way its folder holds `resume/`: that key, and whatever the base wants to go on from when it is killed.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import content_hash, read_table, write_json, write_table
from oof.table import VARIANTS, columns

RESUME = "resume"

Variants = dict[str, np.ndarray]


@dataclass(frozen=True)
class FoldResult:
    """What one fold's model predicts: probabilities by variant for the fold's rows and for the test battles."""

    valid: Variants
    test: Variants | None
    train_seconds: float
    inference_seconds: float
    device: str = "cpu"
    details: dict[str, Any] = field(default_factory=dict)


# Called with fold number, training rows, validation rows (positions) and the fold's folder.
FitFold = Callable[[int, np.ndarray, np.ndarray, Path], FoldResult]


@dataclass(frozen=True)
class CrossFit:
    """Assembled predictions: `valid` (rows, 3) with NaN where a fold was not run, `test` the mean over folds."""

    valid: Variants
    test: Variants | None
    train_seconds: float
    inference_seconds: float
    device: str
    folds_run: list[int]


def crossfit(
    folds: pd.DataFrame,
    wanted: list[int] | None,
    key: Mapping[str, Any],
    folder: Path,
    fit_fold: FitFold,
    say: Callable[[str], None] = print,
) -> CrossFit:
    """Runs the wanted folds (all by default) that are not there yet under this key, and assembles all finished ones.

    `key` (JSON values) must name everything that the predictions depend on: params, folds, data, backbone.
    Test predictions are the mean over the assembled folds.
    """
    numbers = folds["fold"].to_numpy()
    every = sorted(set(numbers.tolist()))
    digest = content_hash(dict(key))
    for fold in every if wanted is None else wanted:
        place = folder / f"fold-{fold}"
        if _finished(place, digest):
            say(f"fold {fold}: already there")
            shutil.rmtree(place / RESUME, ignore_errors=True)  # killed just before it was removed
            continue
        _run(fold, numbers, place, digest, fit_fold)
    results = {fold: _load(folder / f"fold-{fold}") for fold in every if _finished(folder / f"fold-{fold}", digest)}
    if wanted is not None:
        results = {fold: result for fold, result in results.items() if fold in wanted}
    return _assemble(numbers, results)


def _run(fold: int, numbers: np.ndarray, place: Path, digest: str, fit_fold: FitFold) -> None:
    _make_ready(place, digest)
    valid = np.flatnonzero(numbers == fold)
    began = time.perf_counter()
    result = fit_fold(fold, np.flatnonzero(numbers != fold), valid, place)
    write_table(place / "oof.parquet", _frame(result.valid))
    if result.test is not None:
        write_table(place / "test.parquet", _frame(result.test))
    record = {
        "key": digest,
        "fold": fold,
        "rows": len(valid),
        "train_seconds": result.train_seconds,
        "inference_seconds": result.inference_seconds,
        "seconds": time.perf_counter() - began,
        "device": result.device,
        "has_test": result.test is not None,
        **result.details,
    }
    write_json(place / "fold.json", record)
    shutil.rmtree(place / RESUME)


def _make_ready(place: Path, digest: str) -> None:
    """Leaves in a fold's folder what an unfinished call under the same key left, and nothing else."""
    started = place / RESUME / "started.json"
    if _holds(started, digest):
        return
    (place / "fold.json").unlink(missing_ok=True)  # first: killed on the way, the folder must not look finished
    shutil.rmtree(place, ignore_errors=True)
    write_json(started, {"key": digest})


def _finished(place: Path, digest: str) -> bool:
    return _holds(place / "fold.json", digest)


def _holds(record: Path, digest: str) -> bool:
    """Whether a JSON record is there and of this key."""
    return record.exists() and json.loads(record.read_text(encoding="utf-8"))["key"] == digest


def _load(place: Path) -> FoldResult:
    record = json.loads((place / "fold.json").read_text(encoding="utf-8"))
    test = _variants(read_table(place / "test.parquet")) if record["has_test"] else None
    valid = _variants(read_table(place / "oof.parquet"))
    return FoldResult(valid, test, record["train_seconds"], record["inference_seconds"], record["device"])


def _assemble(numbers: np.ndarray, results: dict[int, FoldResult]) -> CrossFit:
    names = list(next(iter(results.values())).valid)
    valid = {name: np.full((len(numbers), 3), np.nan) for name in names}
    for fold, result in results.items():
        for name in names:
            valid[name][numbers == fold] = result.valid[name]
    tests = [result.test for result in results.values() if result.test is not None]
    test = {name: np.mean([one[name] for one in tests], axis=0) for name in tests[0]} if tests else None
    return CrossFit(
        valid,
        test,
        sum(result.train_seconds for result in results.values()),
        sum(result.inference_seconds for result in results.values()),
        ", ".join(sorted({result.device for result in results.values()})),
        sorted(results),
    )


def _frame(variants: Variants) -> pd.DataFrame:
    parts = [pd.DataFrame(values, columns=columns(name)) for name, values in variants.items()]
    return pd.concat(parts, axis=1)


def _variants(table: pd.DataFrame) -> Variants:
    present = [name for name in VARIANTS if columns(name)[0] in table.columns]
    return {name: table[columns(name)].to_numpy(dtype=np.float64) for name in present}
