"""From files to the stacker's inputs: tables of bases and of features, joined by their checked order alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import read_metadata, read_table
from battles.schema import CLASSES, ID, WINNERS
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta, make_meta
from models.stacking.settings import MINIMUM_BATTLES
from oof import table
from oof.model_store import Variants
from oof.nested import read_pairs
from oof.table import Predictions


@dataclass(frozen=True)
class TrainingInputs:
    """The voted battles that every base covers, n of a run's.

    data: their level-1 data. probabilities: base → (n, 3). covered: the mask of them, of all battles. seconds: base →
    training and prediction together, only of bases that say so (predictions made elsewhere do not). outside: fold → the
    battles outside of it with nested rows where there are some, for a stacker that is scored on it.
    """

    data: Level1Data
    probabilities: Mapping[str, np.ndarray]
    covered: np.ndarray
    seconds: Mapping[str, float]
    outside: Callable[[int], Level1Data]

    def of_all(self, values: np.ndarray) -> np.ndarray:
        """Values (n, 3) of the covered battles as rows of all battles, NaN where one is not covered."""
        everything = np.full((len(self.covered), 3), np.nan)
        everything[self.covered] = values
        return everything

    def notes(self) -> list[str]:
        """What a user should know before stacking: battles left out, too few of them, classes without votes."""
        lines = []
        if left := int((~self.covered).sum()):
            lines.append(
                f"{left} of {len(self.covered)} battles are left out, as their folds were not run by every base"
            )
        if len(self.data) < MINIMUM_BATTLES:
            lines.append(
                f"warning: {len(self.data)} battles are too few to tell good models from lucky ones; below "
                f"{MINIMUM_BATTLES} the prior ships unless a model leads it by two standard errors"
            )
        votes = np.bincount(self.data.labels, minlength=CLASSES)[: CLASSES if self.data.ties else CLASSES - 1]
        if not self.data.ties:
            lines.append("two classes: no battle can be a tie, whose probability is 0; log loss is that of A against B")
        if missing := [name for name, count in zip(WINNERS, votes, strict=False) if not count]:
            lines.append(
                f"warning: no battle has the vote {' or '.join(missing)}; its probability is a guess of about "
                f"1 in {len(self.data) + len(votes)} (additive smoothing)"
            )
        return lines


@dataclass(frozen=True)
class NestedRows:
    """Rows by models without two folds: those of entry [k] saw neither fold k nor the battle's own.

    In plain stacking an out-of-fold row of fold 1 comes from a model that saw the votes of fold 2, and the stacker that
    is scored on fold 2 learns from it. Nested rows close this leak. probabilities: base → (folds, n, 3) of all battles.
    features: `id`, `without` and the columns that they replace.
    """

    probabilities: Mapping[str, np.ndarray]
    features: pd.DataFrame

    @classmethod
    def read(cls, bases: Mapping[str, Path], features: Path, folds: pd.DataFrame) -> "NestedRows":
        """From the files of some bases and of the features step; raises BadInput for those of another split."""
        columns = read_table(features)
        for fold in np.unique(folds["fold"]):
            ids = folds.loc[folds["fold"] != fold, ID]
            table.check_ids(features, columns.loc[columns["without"] == fold, ID], ids, "make stack")
        return cls({name: read_pairs(path, folds) for name, path in bases.items()}, columns)

    def outside(self, fold: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
        """Probabilities by base, (n, 3), and feature columns, both of the battles outside of a fold."""
        rows = self.features["without"] == fold
        columns = self.features[rows].drop(columns=[ID, "without"]).reset_index(drop=True)
        return {name: values[fold] for name, values in self.probabilities.items()}, columns


def training_inputs(
    bases: Mapping[str, Path],
    features: Path,
    folds: pd.DataFrame,
    labels: np.ndarray,
    ties: bool = True,
    nested: NestedRows | None = None,
) -> TrainingInputs:
    """The inputs of a run; `labels` are the votes of all battles in the fold table's order, `ties` as in `Level1Data`.

    `nested` replaces rows in what `TrainingInputs.outside` gives; it takes all folds of every base. Raises BadInput for
    a broken table, another split, features of other battles, and when no battle is covered.
    """
    tables = {name: table.read(path, folds, partial=True) for name, path in bases.items()}
    covered = np.logical_and.reduce([predictions.covered for predictions in tables.values()])
    if not covered.any():
        ran = {name: sorted(set(folds.loc[base.covered, "fold"].tolist())) for name, base in tables.items()}
        raise BadInput(f"oof: no fold is covered by all bases (covered: {ran}); run `make oof` with the same FOLDS")
    columns, swap = _features(features, folds[ID])
    probabilities = {name: base.probabilities[covered] for name, base in tables.items()}
    kept = folds[covered]
    data = Level1Data(
        _meta(tables, columns, swap, covered),
        labels[covered],
        kept["fold"].to_numpy(),
        kept["group"].to_numpy(),
        ties,
    )

    def outside(fold: int) -> Level1Data:
        rest = data.rows(data.folds != fold)
        if nested is None or not covered.all():
            return rest
        rows = covered & (folds["fold"].to_numpy() != fold)
        bases, learnt = nested.outside(fold)
        rest_tables = {
            name: replace(base, probabilities=bases.get(name, base.probabilities)) for name, base in tables.items()
        }
        rest_columns = columns.assign(**{str(name): _replaced(columns[name], rows, learnt[name]) for name in learnt})
        return replace(rest, meta=_meta(rest_tables, rest_columns, swap, rows))

    return TrainingInputs(data, probabilities, covered, _seconds(tables), outside)


def _replaced(column: pd.Series, rows: np.ndarray, values: pd.Series) -> np.ndarray:
    new = column.to_numpy(copy=True)
    new[rows] = values
    return new


def test_inputs(bases: Mapping[str, Path], features: Path, ids: pd.Series) -> Meta:
    """The inputs of the test battles; raises BadInput when a table is missing or is of other battles."""
    tables = {name: table.read_test(path, ids.tolist()) for name, path in bases.items()}
    columns, swap = _features(features, ids)
    return _meta(tables, columns, swap, np.ones(len(ids), dtype=bool))


def covered_rows(
    bases: Mapping[str, Path], features: Path, folds: pd.DataFrame, covered: np.ndarray
) -> tuple[dict[str, Variants], pd.DataFrame, dict[str, str]]:
    """The rows of the covered battles (mask) once more, as they are before they are joined: base → its variants, the
    features without `id`, and their swap declarations. Raises BadInput as `training_inputs` does."""
    variants = {}
    for name, path in bases.items():
        rows = table.read(path, folds, partial=True)
        kinds = {table.MEAN: rows.probabilities, table.PLAIN: rows.plain, table.SWAPPED: rows.swapped}
        variants[name] = {kind: values[covered] for kind, values in kinds.items() if values is not None}
    columns, swap = _features(features, folds[ID])
    return variants, columns.loc[covered].reset_index(drop=True), swap


def predicted_inputs(variants: Mapping[str, Variants], features: pd.DataFrame, swap: Mapping[str, str]) -> Meta:
    """The inputs of battles whose predictions are in memory: base → its variants, and the features without `id`."""
    rows = np.ones(len(features), dtype=bool)
    tables = {
        name: Predictions(base[table.MEAN], base.get(table.PLAIN), base.get(table.SWAPPED), rows, {})
        for name, base in variants.items()
    }
    return _meta(tables, features, swap, rows)


def _features(path: Path, ids: pd.Series) -> tuple[pd.DataFrame, dict[str, str]]:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make stack`, which runs the features step first")
    features = read_table(path)
    swap = read_metadata(path).get("swap")
    if swap is None:
        raise BadInput(f"{path}: no swap declaration in its metadata; delete it and run the features step again")
    table.check_ids(path, features[ID], ids, "make stack")
    return features.drop(columns=ID), swap


def _meta(
    tables: Mapping[str, Predictions], columns: pd.DataFrame, swap: Mapping[str, str], covered: np.ndarray
) -> Meta:
    # A battle that was read in one order only has no disagreement of the orders.
    orders = {
        name: (
            base.plain[covered],
            np.where(np.isnan(base.swapped), base.plain, base.swapped)[covered],
        )
        for name, base in tables.items()
        if base.plain is not None and base.swapped is not None
    }
    probabilities = {name: base.probabilities[covered] for name, base in tables.items()}
    return make_meta(probabilities, orders, columns.loc[covered].reset_index(drop=True), swap)


def _seconds(tables: Mapping[str, Predictions]) -> dict[str, float]:
    stamps = {name: base.metadata for name, base in tables.items()}
    return {
        name: stamp["train_seconds"] + stamp["inference_seconds"]
        for name, stamp in stamps.items()
        if stamp.get("train_seconds") is not None
    }
