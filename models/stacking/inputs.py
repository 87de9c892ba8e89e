"""From files to the stacker's inputs: OOF tables and feature tables, joined by nothing but their checked order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import read_metadata, read_table
from battles.schema import ID
from models.stacking.meta_features import Meta, make_meta
from oof import table
from oof.table import Predictions


def training_inputs(
    bases: Mapping[str, Path], features: Path, folds: pd.DataFrame
) -> tuple[Meta, dict[str, np.ndarray], np.ndarray]:
    """The inputs of the battles that every base covers, the bases' probabilities of them, and the mask of them (n,).

    Raises BadInput for a broken table, another split, features of other battles, and when no battle is covered.
    """
    tables = {name: table.read(path, folds, partial=True) for name, path in bases.items()}
    covered = np.logical_and.reduce([predictions.covered for predictions in tables.values()])
    if not covered.any():
        ran = {name: sorted(set(folds.loc[found.covered, "fold"].tolist())) for name, found in tables.items()}
        raise BadInput(f"oof: no fold is covered by all bases (covered: {ran}); run `make oof` with the same FOLDS")
    columns, swap = _features(features, folds[ID])
    probabilities = {name: found.probabilities[covered] for name, found in tables.items()}
    return _meta(tables, columns, swap, covered), probabilities, covered


def test_inputs(bases: Mapping[str, Path], features: Path, ids: pd.Series) -> Meta:
    """The inputs of the test battles; raises BadInput when a table is missing or is of other battles."""
    tables = {name: table.read_test(path, ids.tolist()) for name, path in bases.items()}
    columns, swap = _features(features, ids)
    return _meta(tables, columns, swap, np.ones(len(ids), dtype=bool))


def _features(path: Path, ids: pd.Series) -> tuple[pd.DataFrame, dict[str, str]]:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make stack`, which runs the features step first")
    found = read_table(path)
    swap = read_metadata(path).get("swap")
    if swap is None:
        raise BadInput(f"{path}: no swap declaration in its metadata; delete it and run the features step again")
    table.check_ids(path, found[ID], ids, "make stack")
    return found.drop(columns=ID), swap


def _meta(
    tables: Mapping[str, Predictions], columns: pd.DataFrame, swap: Mapping[str, str], covered: np.ndarray
) -> Meta:
    # A battle read in one order only has no disagreement of the orders.
    orders = {
        name: (
            found.plain[covered],
            np.where(np.isnan(found.swapped), found.plain, found.swapped)[covered],
        )
        for name, found in tables.items()
        if found.plain is not None and found.swapped is not None
    }
    probabilities = {name: found.probabilities[covered] for name, found in tables.items()}
    return make_meta(probabilities, orders, columns.loc[covered].reset_index(drop=True), swap)
