"""The folders of a base's models: what each depends on, whether it is finished, and what it has predicted.

A finished model leaves `oof.parquet` and, last, `fold.json` with all that it depends on. A later call under the same
dependencies takes it as it is. While it is trained, its folder holds `resume/`: the dependencies, and whatever the base
wants to go on from when it is killed. Predictions of the test battles lie beside it, in `test.parquet`, and name the
test file that they are of: another test file costs predictions, not training.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import (
    check_files,
    content_hash,
    file_hashes,
    read_json,
    read_metadata,
    read_table,
    write_json,
    write_table,
)
from oof.dependencies import changes, replacing
from oof.table import VARIANTS, columns

RESUME = "resume"
RECORD = "fold.json"
# Of a model that is made of others: whether it may stand for them.
TAKEN = "taken"
_FIX = "it is trained again"

Variants = dict[str, np.ndarray]


@dataclass(frozen=True)
class FoldResult:
    """What one model predicts: probabilities by variant for the rows that it scores and, made by the way, for the test
    battles. `details` go into `fold.json`."""

    valid: Variants
    test: Variants | None
    train_seconds: float
    inference_seconds: float
    device: str = "cpu"
    details: dict[str, Any] = field(default_factory=dict)


class FitModel(Protocol):
    """Trains on some rows (positions), predicts others, and saves the model in `model/` of a folder of its own.

    The first argument numbers the models of a base, folds first; seeds are made of it.
    """

    def __call__(self, number: int, train_rows: np.ndarray, valid_rows: np.ndarray, folder: Path, /) -> FoldResult: ...


class PredictTest(Protocol):
    """Predicts the test battles with the model saved in a folder, which scored so many battles."""

    def __call__(self, folder: Path, scored: int, /) -> Variants: ...


@dataclass(frozen=True)
class Job:
    """One model to train: its folder's name, its number, the rows (positions) that it learns from and scores.

    `role` (JSON values) tells apart models of the same base that learn from other rows: folds, pairs of folds, all.
    """

    name: str
    number: int
    train_rows: np.ndarray
    valid_rows: np.ndarray
    role: str


@dataclass(frozen=True)
class ModelStore:
    """The models of one base, in sub-folders of `folder`.

    `depends_on` (JSON values) names everything that their predictions depend on: settings, battles, folds, backbone.
    `test` is the hash of the test file, None without one. Finished models under other dependencies are replaced only
    with `replace`.
    """

    folder: Path
    depends_on: Mapping[str, Any]
    test: str | None = None
    replace: bool = False
    say: Callable[[str], None] = print

    def fit_once(self, job: Job, fit: FitModel) -> None:
        """Trains and predicts one model, unless that is done already.

        Raises BadInput where it would replace another.
        """
        place, key = self.folder / job.name, self._key(job)
        record = self._record(job.name)
        if record is not None and record["depends_on"] == key:
            self.say(f"{_title(job.name)}: already there")
            shutil.rmtree(place / RESUME, ignore_errors=True)  # killed just before it was removed
            return
        if record is not None and not self.replace:
            raise replacing(self.folder.name, [place.name], changes(record["depends_on"], key), record["seconds"])
        self._make_ready(place, key)
        began = time.perf_counter()
        result = fit(job.number, job.train_rows, job.valid_rows, place)
        write_table(place / "oof.parquet", _as_table(result.valid))
        if result.test is not None:
            self._write_test(place, content_hash(key), result.test)
        record = {
            "depends_on": key,
            "rows": len(job.valid_rows),
            "train_seconds": result.train_seconds,
            "inference_seconds": result.inference_seconds,
            "seconds": time.perf_counter() - began,
            "device": result.device,
            "files": file_hashes(place, _saved(place)),
            **result.details,
        }
        write_json(place / RECORD, record, sealed=True)
        shutil.rmtree(place / RESUME)

    def load(self, job: Job) -> FoldResult:
        """What the finished model predicted for the rows that it scores."""
        place = self.folder / job.name
        record = read_json(place / RECORD, sealed=True)
        valid = _as_variants(read_table(place / "oof.parquet"))
        return FoldResult(valid, None, record["train_seconds"], record["inference_seconds"], record["device"])

    def is_taken(self, job: Job) -> bool:
        """Whether a finished model that was made of others may stand for them."""
        return bool(read_json(self.folder / job.name / RECORD, sealed=True)[TAKEN])

    def test_once(self, job: Job, predict: PredictTest) -> Variants:
        """The finished model's predictions of the test battles, made with the saved model unless they are there."""
        place, key = self.folder / job.name, content_hash(self._key(job))
        path = place / "test.parquet"
        if not self.has_test(job):
            record = read_json(place / RECORD, sealed=True)
            self._write_test(place, key, predict(place, record["rows"]))
        return _as_variants(read_table(path))

    def has_test(self, job: Job) -> bool:
        """Whether the finished model's predictions of these test battles are there."""
        path = self.folder / job.name / "test.parquet"
        try:
            read_table(path)
            return read_metadata(path) == {"model": content_hash(self._key(job)), "test": self.test}
        except BadInput:
            return False  # not there, or damaged: predicted again

    def _record(self, name: str) -> dict[str, Any] | None:
        """The record of a finished model; None where there is none, or where its files are damaged, which is said."""
        place = self.folder / name
        if not (place / RECORD).exists():
            return None
        try:
            record = read_json(place / RECORD, sealed=True, fix=_FIX)
            if not isinstance(record.get("depends_on"), dict):
                return None  # of an earlier version
            check_files(place, record["files"], _FIX)
        except BadInput as damage:
            self.say(f"{_title(name)}: {damage}")
            return None
        return record

    def _key(self, job: Job) -> dict[str, Any]:
        return {**self.depends_on, "role": job.role}

    def _write_test(self, place: Path, key: str, test: Variants) -> None:
        write_table(place / "test.parquet", _as_table(test), {"model": key, "test": self.test})

    def _make_ready(self, place: Path, key: Mapping[str, Any]) -> None:
        """Leaves in a model's folder what an unfinished call under the same dependencies left, and nothing else."""
        started = place / RESUME / "started.json"
        begun = _read_record(started) if started.exists() else None
        if begun is not None and begun["depends_on"] == key:
            return
        if begun is not None:
            what = ", ".join(changes(begun["depends_on"], key))
            self.say(f"{_title(place.name)}: an unfinished training is begun anew ({what})")
        (place / RECORD).unlink(missing_ok=True)  # first: killed on the way, the folder must not look finished
        shutil.rmtree(place, ignore_errors=True)
        write_json(started, {"depends_on": dict(key)}, sealed=True)


def finished_models(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a base's finished models, by the names of their folders."""
    records = {path.parent.name: _read_record(path) for path in sorted(folder.glob(f"*/{RECORD}"))}
    return {name: record for name, record in records.items() if record is not None}


def _title(name: str) -> str:
    return name.replace("-", " ")


def _read_record(path: Path) -> dict[str, Any] | None:
    """A JSON record with dependencies; None where it is damaged, or of an earlier version."""
    try:
        record = read_json(path, sealed=True)
    except BadInput:
        return None
    return record if isinstance(record.get("depends_on"), dict) else None


def _saved(place: Path) -> list[str]:
    """What a finished model's record vouches for: its out-of-fold rows and the saved model."""
    paths = [place / "oof.parquet", *sorted((place / "model").rglob("*"))]
    return [path.relative_to(place).as_posix() for path in paths if path.is_file()]


def _as_table(variants: Variants) -> pd.DataFrame:
    parts = [pd.DataFrame(values, columns=columns(name)) for name, values in variants.items()]
    return pd.concat(parts, axis=1)


def _as_variants(table: pd.DataFrame) -> Variants:
    present = [name for name in VARIANTS if columns(name)[0] in table.columns]
    return {name: table[columns(name)].to_numpy(dtype=np.float64) for name in present}
