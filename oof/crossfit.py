"""Five-fold cross-fitting of a base model: fold by fold, resumable, into the out-of-fold table.

A finished fold leaves `fold-<k>/oof.parquet`, `test.parquet` and, last, `fold.json` with the key of all that
it depends on. A later call with the same key takes the fold as it is; anything else is run again. While a fold is
under way its folder holds `resume/`: that key, and whatever the base wants to go on from when it is killed.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import check_files, content_hash, file_hashes, read_json, read_table, write_json, write_table
from oof.metrics import log_loss
from oof.table import MEAN, VARIANTS, columns

RESUME = "resume"
_FIX = "it is trained again"

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


class FitFold(Protocol):
    """Trains on some rows (positions) and predicts others, and with `with_test` the test battles.

    The first argument numbers the models of a base, folds first; seeds are made of it. A folder is the model's own.
    """

    def __call__(
        self, fold: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path, with_test: bool, /
    ) -> FoldResult: ...


@dataclass(frozen=True)
class CrossFit:
    """Assembled predictions: `valid` (rows, 3) with NaN where a fold was not run; `test_of` says whose `test` is.

    The mean of a variant is over the folds that have it: a battle that no fold read in the second order is NaN there.
    """

    valid: Variants
    test: Variants | None
    train_seconds: float
    inference_seconds: float
    device: str
    folds_run: list[int]
    test_of: str


def crossfit(
    folds: pd.DataFrame,
    wanted: list[int] | None,
    key: Mapping[str, Any],
    folder: Path,
    fit_fold: FitFold,
    say: Callable[[str], None] = print,
    test_from: Literal["mean", "best", "refit"] = "mean",
    votes: np.ndarray | None = None,
) -> CrossFit:
    """Runs the wanted folds (all by default) that are not there yet under this key, and assembles all finished ones.

    `key` (JSON values) must name everything that the predictions depend on: params, folds, data, backbone. Test
    predictions are the mean over the assembled folds, those of the best of them (least log loss on its rows' `votes`,
    class numbers (rows,)), or those of one more model trained on all rows, in which case the folds make none.
    """
    numbers = folds["fold"].to_numpy()
    every = sorted(set(numbers.tolist()))
    with_test = test_from != "refit"
    digest = content_hash({**key, "with_test": with_test})
    for fold in every if wanted is None else wanted:
        rows = (np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold))
        run_once(folder / f"fold-{fold}", digest, fold, *rows, with_test, fit_fold, say)
    results = {fold: load(folder / f"fold-{fold}") for fold in every if finished(folder / f"fold-{fold}", digest, say)}
    if wanted is not None:
        results = {fold: result for fold, result in results.items() if fold in wanted}
    assembled = _assemble(numbers, results)
    if test_from == "best" and assembled.test is not None:
        assert votes is not None
        losses = {fold: log_loss(found.valid[MEAN], votes[numbers == fold]) for fold, found in results.items()}
        best = min(losses, key=lambda fold: losses[fold])
        return replace(assembled, test=results[best].test, test_of=f"fold {best}")
    if test_from == "refit":
        all_rows = np.arange(len(numbers))
        run_once(folder / "refit", digest, max(every) + 1, all_rows, all_rows[:0], True, fit_fold, say)
        refit = load(folder / "refit")
        return replace(
            assembled,
            test=refit.test,
            test_of="refit",
            train_seconds=assembled.train_seconds + refit.train_seconds,
            inference_seconds=assembled.inference_seconds + refit.inference_seconds,
        )
    return assembled


def run_once(
    place: Path,
    digest: str,
    number: int,
    train_rows: np.ndarray,
    valid_rows: np.ndarray,
    with_test: bool,
    fit_fold: FitFold,
    say: Callable[[str], None],
) -> None:
    """Trains and predicts one model into `place`, unless that is done already under this key."""
    if finished(place, digest, say):
        say(f"{place.name.replace('-', ' ')}: already there")
        shutil.rmtree(place / RESUME, ignore_errors=True)  # killed just before it was removed
        return
    _make_ready(place, digest)
    began = time.perf_counter()
    result = fit_fold(number, train_rows, valid_rows, place, with_test)
    write_table(place / "oof.parquet", _frame(result.valid))
    if result.test is not None:
        write_table(place / "test.parquet", _frame(result.test))
    record = {
        "key": digest,
        "fold": number,
        "rows": len(valid_rows),
        "train_seconds": result.train_seconds,
        "inference_seconds": result.inference_seconds,
        "seconds": time.perf_counter() - began,
        "device": result.device,
        "has_test": result.test is not None,
        "files": file_hashes(place, ["oof.parquet", *(["test.parquet"] if result.test is not None else [])]),
        **result.details,
    }
    write_json(place / "fold.json", record, sealed=True)
    shutil.rmtree(place / RESUME)


def _make_ready(place: Path, digest: str) -> None:
    """Leaves in a fold's folder what an unfinished call under the same key left, and nothing else."""
    started = place / RESUME / "started.json"
    if _started(started, digest):
        return
    (place / "fold.json").unlink(missing_ok=True)  # first: killed on the way, the folder must not look finished
    shutil.rmtree(place, ignore_errors=True)
    write_json(started, {"key": digest}, sealed=True)


def finished(place: Path, digest: str, say: Callable[[str], None] = print) -> bool:
    """Whether a folder holds a model's predictions under this key, unharmed; says what is damaged."""
    if not (place / "fold.json").exists():
        return False
    try:
        record = read_json(place / "fold.json", sealed=True, fix=_FIX)
        if record["key"] != digest:
            return False
        check_files(place, record["files"], _FIX)
    except BadInput as damage:
        say(f"{place.name.replace('-', ' ')}: {damage}")
        return False
    return True


def _started(record: Path, digest: str) -> bool:
    """Whether an unfinished call under this key left its record."""
    try:
        return bool(read_json(record, sealed=True)["key"] == digest)
    except BadInput:
        return False


def load(place: Path) -> FoldResult:
    """The predictions that `run_once` left in a folder."""
    record = read_json(place / "fold.json", sealed=True)
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
    test = {name: _mean(np.stack([one[name] for one in tests])) for name in tests[0]} if tests else None
    return CrossFit(
        valid,
        test,
        sum(result.train_seconds for result in results.values()),
        sum(result.inference_seconds for result in results.values()),
        ", ".join(sorted({result.device for result in results.values()})),
        sorted(results),
        f"mean of folds {', '.join(map(str, sorted(results)))}",
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean of (folds, rows, 3) over the folds that are not NaN, NaN where none is."""
    there = ~np.isnan(values)
    sums, counts = np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _frame(variants: Variants) -> pd.DataFrame:
    parts = [pd.DataFrame(values, columns=columns(name)) for name, values in variants.items()]
    return pd.concat(parts, axis=1)


def _variants(table: pd.DataFrame) -> Variants:
    present = [name for name in VARIANTS if columns(name)[0] in table.columns]
    return {name: table[columns(name)].to_numpy(dtype=np.float64) for name in present}
