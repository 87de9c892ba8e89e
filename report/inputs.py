"""Everything a report reads of a run, checked against the run's split. The texts of the battles are never loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import column_names, damaged, read_json, read_table
from battles.paths import RunPaths
from battles.schema import ID, MODELS, WINNERS
from oof import table
from oof.table import Predictions

CURVE = ("step", "loss", "valid_log_loss")
# Columns of the feature table: log(1 + characters) of each response.
LENGTHS = ("chars_a", "chars_b")


@dataclass(frozen=True)
class Inputs:
    """The tables of one run, all of the same n voted battles in the same order.

    battles: `id`, the winners and, if the battles have them, the models' names. lengths: log(1 + characters) of A and
    B, (n, 2), NaN where they are not known. curves: base → fold → training curve. scores: `oof/<run>/metrics.json`
    of the stacker.
    """

    run: str
    battles: pd.DataFrame
    folds: pd.DataFrame
    bases: Mapping[str, Predictions]
    stack: Predictions
    lengths: np.ndarray
    curves: Mapping[str, Mapping[int, pd.DataFrame]]
    scores: dict[str, Any]


def read(paths: RunPaths, bases: Sequence[str]) -> Inputs:
    """Reads a run's tables; raises BadInput for what is missing or of other battles."""
    battles = _battles(paths.battles / "train.parquet")
    folds = read_table(paths.battles / "folds.parquet")
    return Inputs(
        run=paths.name,
        battles=battles,
        folds=folds,
        bases={name: table.read(paths.predictions(name), folds, partial=True) for name in bases},
        stack=table.read(paths.predictions("stack"), folds, partial=True),
        lengths=_lengths(paths.features / "train.parquet", battles[ID]),
        curves={name: found for name in bases if (found := _curves(paths.base(name)))},
        scores=_scores(paths.oof / "metrics.json", bases),
    )


def _battles(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make prepare` first")
    present = set(column_names(path))
    return read_table(path, columns=[name for name in (ID, *MODELS, *WINNERS) if name in present])


def _lengths(path: Path, ids: pd.Series) -> np.ndarray:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make features` first")
    known = set(LENGTHS) <= set(column_names(path))
    found = read_table(path, columns=[ID, *(LENGTHS if known else ())])
    if found[ID].tolist() != ids.tolist():
        raise BadInput(f"{path}: its ids are not the run's battles in their order; delete it and run `make features`")
    # Predictions made elsewhere come without texts.
    return found[list(LENGTHS)].to_numpy(dtype=np.float64) if known else np.full((len(ids), 2), np.nan)


def _curves(folder: Path) -> dict[int, pd.DataFrame]:
    """Curves of the folds that were run; none for a base that is not trained in steps."""
    found = {}
    for path in folder.glob("fold-*/curve.csv"):
        fold = path.parent.name.removeprefix("fold-")
        if fold.isdecimal():
            found[int(fold)] = path
    return {fold: _curve(found[fold]) for fold in sorted(found)}


def _curve(path: Path) -> pd.DataFrame:
    try:
        curve = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise damaged(path, error, "delete its folder and run `make oof` again") from None
    missing = [name for name in CURVE if name not in curve.columns]
    if missing or curve.empty:
        lack = f"column {missing[0]} is missing" if missing else "it has no rows"
        raise BadInput(f"{path}: {lack}; delete its folder and run `make oof` again")
    return curve


def _scores(path: Path, bases: Sequence[str]) -> dict[str, Any]:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make stack` first")
    scores = read_json(path, sealed=True, fix="delete it and run `make stack` again")
    unscored = [name for name in bases if name not in scores["bases"]]
    if unscored:
        raise BadInput(f"{path}: no figures of base {unscored[0]}; run `make stack` again")
    return scores
