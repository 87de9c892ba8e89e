"""Everything a report reads of a run, checked against the run's split. Responses are read of a few battles only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, FiniteFloat, ValidationError

from battles.errors import BadInput, plain
from battles.files import column_names, read_json, read_table
from battles.paths import RunPaths
from battles.schema import ID, MODELS, TEXTS, WINNERS
from features.drift import Drift
from oof import table
from oof.learning_curve import LearningCurve
from oof.table import STACK, Predictions
from report.gap import Reached

CURVE = ("step", "loss", "valid_log_loss")
PRIOR = "prior"
# Columns of the feature table that sections look at; those that a run has are read.
_PAIRED = ("chars", "words", "lines", "bullets", "numbered", "headings", "bold", "code_fences", "refusal")
_COLUMNS = (
    *(f"{name}_{side}" for name in _PAIRED for side in ("a", "b")),
    "prompt_turns",
    "prompt_length",
    "prompt_asks_code",
    "identical",
)


@dataclass(frozen=True)
class Explanation:
    """Why the stack's nested predictions of k of the run's battles are what they are (`models.stacking.contributions`).

    rows (k,): their places in the run. sampled (k,): which of them were drawn at random, and stand for all. names: of m
    inputs; values, exchanged (k, m, 2): what each adds to the lead of A over B and to the tie, as read and with A
    and B exchanged (NaN for battles that only stand for others). Of the stacker that ships, weights: base → its `lead`
    and `tie` weight in the linear part; gains: input → its share of the gain of all trees.
    """

    rows: np.ndarray
    sampled: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    exchanged: np.ndarray
    weights: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, float]


@dataclass(frozen=True)
class StudyTrials:
    """One study of the stacker: its name, and its trials: `number, state, value, rounds, seconds` and one column a
    param. chosen: the number of the trial whose params the boosters have; None where the study did not come to its
    end."""

    name: str
    trials: pd.DataFrame
    importances: Mapping[str, float]
    chosen: int | None


@dataclass(frozen=True)
class Learning:
    """A learning curve; groups (m,): prompts of the scored battles. fixed: in words, what it fits and holds fixed."""

    curve: LearningCurve
    groups: np.ndarray
    fixed: str


@dataclass(frozen=True)
class Extras:
    """What a report tells beside the tables of a run; each may be missing, and the page says so.

    rows: of the table that a run of predictions made elsewhere is of. made: date and time. facts: (name, value) of the
    run, its files and its machine. settings: section → its resolved settings. squared: bases that are trained on
    squared errors. dots: base → battles at most behind a dot of its curve. splits: the `seeds` of several splits, and
    the figures of `report.splits.spread` as `models`. reached: of the embedded sample, whose truth is known, model →
    what it reaches on the test battles.
    """

    rows: int = 0
    made: str = ""
    facts: Sequence[tuple[str, str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    squared: frozenset[str] = frozenset()
    dots: Mapping[str, int] = field(default_factory=dict)
    explanation: Explanation | None = None
    studies: Sequence[StudyTrials] = ()
    learning: Sequence[Learning] = ()
    splits: Mapping[str, Any] | None = None
    reached: Mapping[str, Reached] = field(default_factory=dict)
    drift: Drift | None = None
    test_battles: int = 0
    with_texts: bool = True


@dataclass(frozen=True)
class Inputs:
    """The tables of one run, all of the same n voted battles in the same order.

    battles: `id`, the winners and, if the battles have them, the models' names. prompts: JSON text of their turns, None
    where the run has no texts. features: of the columns of the feature table that the report looks at those that there
    are. curves: base → fold → training curve. scores: `oof/<run>/metrics.json` of the stacker.
    """

    paths: RunPaths
    battles: pd.DataFrame
    prompts: pd.Series | None
    folds: pd.DataFrame
    bases: Mapping[str, Predictions]
    stack: Predictions
    features: pd.DataFrame
    curves: Mapping[str, Mapping[int, pd.DataFrame]]
    scores: dict[str, Any]

    @property
    def run(self) -> str:
        return self.paths.name

    @property
    def covered(self) -> np.ndarray:
        """The mask (n,) of the battles that every base and the stack predict."""
        return np.logical_and.reduce([one.covered for one in (self.stack, *self.bases.values())])

    @property
    def lengths(self) -> np.ndarray:
        """log(1 + characters) of A and B, (n, 2), NaN where they are not known."""
        if not {"chars_a", "chars_b"} <= set(self.features.columns):
            return np.full((len(self.battles), 2), np.nan)
        return self.features[["chars_a", "chars_b"]].to_numpy(dtype=np.float64)

    def texts(self, rows: np.ndarray) -> pd.DataFrame:
        """Prompts and responses, JSON text of their turns, of the battles at `rows`."""
        return read_table(self.paths.train_battles, columns=[*TEXTS]).iloc[rows]


def read(paths: RunPaths, bases: Sequence[str]) -> Inputs:
    """Reads a run's tables; raises BadInput for what is missing or of other battles."""
    path = paths.train_battles
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make prepare` first")
    present = set(column_names(path))
    battles = read_table(path, columns=[name for name in (ID, *MODELS, *WINNERS) if name in present])
    folds = read_table(paths.folds)
    return Inputs(
        paths=paths,
        battles=battles,
        prompts=read_table(path, columns=["prompt"])["prompt"] if set(TEXTS) <= present else None,
        folds=folds,
        bases={name: table.read(paths.predictions(name), folds, partial=True) for name in bases},
        stack=table.read(paths.predictions(STACK), folds, partial=True),
        features=_features(paths.train_features, battles[ID]),
        curves={name: curves for name in bases if (curves := _curves(paths.base(name)))},
        scores=read_scores(paths.metrics, bases),
    )


def _features(path: Path, ids: pd.Series) -> pd.DataFrame:
    if not path.exists():
        raise BadInput(f"{path}: no such file; run `make features` first")
    present = set(column_names(path))
    # Predictions made elsewhere come without texts, and so without most columns.
    features = read_table(path, columns=[ID, *(name for name in _COLUMNS if name in present)])
    table.check_ids(path, features[ID], ids, "make report")
    return features.drop(columns=ID)


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


class _Lost(BaseModel):
    """What leaving a base out costs, all that is read."""

    change: FiniteFloat
    standard_error: FiniteFloat


class _Scores(BaseModel):
    """Of `oof/<run>/metrics.json`, all that is read."""

    bases: dict[str, _Figures]
    candidates: dict[str, _Figures]
    leave_one_out: dict[str, _Lost]
    optimistic: dict[str, FiniteFloat] = {}
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
