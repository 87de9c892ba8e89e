"""Everything a report reads of a run, checked against the run's split. The texts of the battles are never loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, FiniteFloat, ValidationError

from battles.errors import BadInput, plain
from battles.files import column_names, read_json, read_table
from battles.paths import RunPaths
from battles.schema import ID, MODELS, WINNERS
from oof import table
from oof.table import STACK, Predictions

CURVE = ("step", "loss", "valid_log_loss")
PRIOR = "prior"
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
        stack=table.read(paths.predictions(STACK), folds, partial=True),
        lengths=_lengths(paths.features / "train.parquet", battles[ID]),
        curves={name: curves for name in bases if (curves := _curves(paths.base(name)))},
        scores=read_scores(paths.oof / "metrics.json", bases),
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
    features = read_table(path, columns=[ID, *(LENGTHS if known else ())])
    table.check_ids(path, features[ID], ids, "make report")
    # Predictions made elsewhere come without texts.
    return features[list(LENGTHS)].to_numpy(dtype=np.float64) if known else np.full((len(ids), 2), np.nan)


def _curves(folder: Path) -> dict[int, pd.DataFrame]:
    """Curves of the folds that were run; none for a base that is not trained in steps."""
    paths = {}
    for path in folder.glob("fold-*/curve.csv"):
        fold = path.parent.name.removeprefix("fold-")
        if fold.isdecimal():
            paths[int(fold)] = path
    return {fold: _curve(paths[fold]) for fold in sorted(paths)}


def _curve(path: Path) -> pd.DataFrame:
    again = f"delete {path.parent} and run `make oof-{path.parent.parent.name}` again"
    try:
        curve = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: cannot be read ({plain(str(error))}); {again}") from None
    missing = [name for name in CURVE if name not in curve.columns]
    if missing or curve.empty:
        raise BadInput(f"{path}: {f'column {missing[0]} is missing' if missing else 'it has no rows'}; {again}")
    for name in CURVE:
        # Between the ends of epochs there is no log loss of the held-out fold.
        gaps = curve[name].isna() & (name != "valid_log_loss")
        if name == "loss" and "skipped" in curve.columns:  # a step that overflowed in half precision has no loss
            gaps &= curve["skipped"].diff().fillna(curve["skipped"]) == 0
        if not pd.api.types.is_numeric_dtype(curve[name]) or gaps.any() or np.isinf(curve[name]).any():
            raise BadInput(f"{path}: column {name} holds what is no number; {again}")
    return curve


class _Figures(BaseModel):
    """Of one row of `report.scores.score`, all that is read."""

    log_loss: FiniteFloat
    accuracy: FiniteFloat
    macro_f1: FiniteFloat
    ece: FiniteFloat
    seconds: FiniteFloat | None
    chance_ece: FiniteFloat
    log_loss_standard_error: FiniteFloat
    difference: FiniteFloat
    difference_standard_error: FiniteFloat


class _Scores(BaseModel):
    """Of `oof/<run>/metrics.json`, all that is read."""

    bases: dict[str, _Figures]
    candidates: dict[str, _Figures]
    shipped: str


def read_scores(path: Path, bases: Sequence[str]) -> dict[str, Any]:
    """`oof/<run>/metrics.json` as `make stack` wrote it.

    Raises BadInput when it is missing, broken, or lacks the figures of one of `bases`.
    """
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make stack` first")
    again = "delete it and run `make stack` again"
    scores = read_json(path, sealed=True, fix=again)
    try:
        checked = _Scores.model_validate(scores)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}: {plain(place)}{': ' if place else ''}{plain(first['msg'])}; {again}") from None
    unscored = [name for name in bases if name not in checked.bases]
    unscored += [name for name in (STACK, PRIOR) if name not in checked.candidates]
    if unscored:
        raise BadInput(f"{path}: no figures of {plain(unscored[0])}; {again}")
    return scores
