"""The table of feature columns: measures of single texts assembled into columns of pairs.

Every column has a declaration of what exchanging A and B does to it (see battles.swap.swap_columns): a measure of one
response gives two columns that change places (`_a`, `_b`) and their difference, which is negated.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import delayed

from battles.files import atomic, check_files, file_hashes, read_json, write_json
from battles.processes import parallel
from battles.schema import ID, TEXTS
from battles.swap import NEGATE, SAME
from features import length, position, similarity, strength, verbosity
from features.settings import Features
from features.strength import StyleRegression
from features.text import Text, parse

# Of a saved model: its settings and one number, and its arrays.
FEATURES = "features.json"
_ARRAYS = "style.npz"
_CHUNK = 750
_PARALLEL_FROM = 4 * _CHUNK

# One response: lengths (put on a log scale, so that a difference is a log-ratio), then everything else.
_SINGLE = (*length.COUNTS, *verbosity.RATIOS)
_BESIDE_PROMPT = (*similarity.TO_PROMPT, *position.AGREEMENT)
_SIDE = (*_SINGLE, *_BESIDE_PROMPT)
_PAIR = (*position.PROMPT, *similarity.PAIR, *position.PLACE)
_LOGGED_PAIR = [name in position.PROMPT for name in _PAIR]

Cells = tuple[str, str, str]
# Gets the units of work that were done since the last call.
Count = Callable[[int], None]
# Units of work of one battle, by the time that they take: all measures, the words of its responses, and, of a training
# battle, its ratings.
MEASURED, WORDS, RATED = 14, 3, 3


@lru_cache(maxsize=24)
def _text(cell: str) -> Text:
    return parse(json.loads(cell))


@lru_cache(maxsize=24)
def _single(cell: str) -> tuple[float, ...]:
    text = _text(cell)
    return (*length.counts(text), *verbosity.ratios(text))


def forget() -> None:
    """Empties the cache of the latest texts, for what measures time or memory."""
    _text.cache_clear()
    _single.cache_clear()


def _measure(rows: Sequence[Cells]) -> np.ndarray:
    """Measures of some battles: those of A, those of B, those of the pair; float32, one row a battle."""
    out = np.empty((len(rows), 2 * len(_SIDE) + len(_PAIR)), dtype=np.float32)
    for row, (prompt_cell, cell_a, cell_b) in enumerate(rows):
        prompt, a, b = _text(prompt_cell), _text(cell_a), _text(cell_b)
        asked = position.Asked.of(prompt)
        out[row] = (
            *_single(cell_a),
            *similarity.to_prompt(a, prompt),
            *position.agreement(a, asked),
            *_single(cell_b),
            *similarity.to_prompt(b, prompt),
            *position.agreement(b, asked),
            *position.prompt(prompt),
            *similarity.pair(a, b),
            *position.place(a, b),
        )
    return out


def _chunks(battles: pd.DataFrame, order: np.ndarray) -> Iterator[list[Cells]]:
    """The text cells of the battles in `order`, some hundred at a time."""
    columns = [battles[name] for name in TEXTS]
    for start in range(0, len(order), _CHUNK):
        part = order[start : start + _CHUNK]
        yield list(zip(*(column.iloc[part] for column in columns), strict=True))


def workers(rows: int, jobs: int | None) -> int:
    """Processes to use for so many rows: `jobs`, or every core at hand; one for a small table."""
    if rows < _PARALLEL_FROM:
        return 1
    return jobs or len(os.sched_getaffinity(0))


def _assemble(measured: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Columns of pairs, and what exchanging A and B does to each."""
    sides = len(_SIDE)
    a, b, pair = measured[:, :sides], measured[:, sides : 2 * sides], measured[:, 2 * sides :]
    for side in (a, b):
        side[:, : len(length.COUNTS)] = np.log1p(side[:, : len(length.COUNTS)])
    pair[:, _LOGGED_PAIR] = np.log1p(pair[:, _LOGGED_PAIR])
    columns: dict[str, np.ndarray] = {}
    swap: dict[str, str] = {}
    for place, name in enumerate(_SIDE):
        columns |= side_columns(name, a[:, place], b[:, place], swap)
    for place, name in enumerate(_PAIR):
        columns[name] = pair[:, place]
        swap[name] = NEGATE if name in position.PLACE else SAME
    chars = length.COUNTS.index("chars")
    columns["pair_chars"] = a[:, chars] + b[:, chars]
    columns["chars_apart"] = np.abs(a[:, chars] - b[:, chars])
    swap |= {"pair_chars": SAME, "chars_apart": SAME}
    return columns, swap


def side_columns(name: str, a: np.ndarray, b: np.ndarray, swap: dict[str, str]) -> dict[str, np.ndarray]:
    """A measure of one response as three columns: A's, B's and the difference; declares them in `swap`."""
    swap |= {f"{name}_a": f"{name}_b", f"{name}_b": f"{name}_a", f"{name}_diff": NEGATE}
    return {f"{name}_a": a, f"{name}_b": b, f"{name}_diff": a - b}


def nobody(units: int) -> None:
    """A count that nobody asked for."""


def handcrafted(
    battles: pd.DataFrame, jobs: int | None = 1, count: Count = nobody
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns that need no votes: length, verbosity, position, similarity.

    Takes a battles table; returns a table with its `id` and float32 columns in the same row order (fresh index), and
    for each column what exchanging A and B does to it. Battles are measured in the order of their prompts, so that
    responses that recur come close together and are parsed once. `jobs` processes share large tables (None: one a
    core).
    """
    codes, _ = pd.factorize(battles[TEXTS[0]])
    order = np.argsort(codes, kind="stable")
    run = parallel(workers(len(battles), jobs), pre_dispatch="n_jobs + 1", batch_size=1, return_as="generator")
    measured = np.empty((len(battles), 2 * len(_SIDE) + len(_PAIR)), dtype=np.float32)
    # Put in place as they come: all parts beside the whole would take twice the memory.
    for number, part in enumerate(run(delayed(_measure)(rows) for rows in _chunks(battles, order))):
        measured[order[number * _CHUNK : (number + 1) * _CHUNK]] = part
        count(MEASURED * len(part))
    columns, swap = _assemble(measured)
    return pd.DataFrame({ID: battles[ID].to_numpy(), **columns}), swap


@dataclass(frozen=True)
class FeatureModel:
    """What makes the columns of battles without votes: the settings, and the regression learnt from all voted ones.

    A saved one is two small files, `features.json` and `style.npz`: numbers and settings, no pickled code.
    """

    settings: Features
    regression: StyleRegression

    def columns(
        self, battles: pd.DataFrame, jobs: int | None = None, count: Count = nobody
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """All columns of a battles table, style → strength included, and their swap declarations.

        `count` gets MEASURED + WORDS units of work for each battle.
        """
        features, swap = handcrafted(battles, jobs, count)
        sides = strength.sides(battles, features, swap, self.settings, workers(len(battles), jobs))
        count(WORDS * len(battles))
        return _with_strength(features, self.regression.predict_battles(sides), swap), swap

    def save(self, folder: Path) -> None:
        """Writes the model's files to a folder."""
        regression = self.regression
        with atomic(folder / _ARRAYS) as path, path.open("wb") as file:
            np.savez_compressed(file, center=regression.center, scale=regression.scale, weights=regression.weights)
        about = {"settings": self.settings.model_dump(mode="json"), "mean": regression.mean}
        write_json(folder / FEATURES, {**about, "files": file_hashes(folder, [_ARRAYS])}, sealed=True)

    @classmethod
    def load(cls, folder: Path, fix: str) -> "FeatureModel":
        """The model that `save` wrote; raises BadInput, with `fix` as what to do, where it is missing or damaged."""
        about = read_json(folder / FEATURES, sealed=True, fix=fix)
        check_files(folder, about["files"], fix)
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            regression = StyleRegression(arrays["center"], arrays["scale"], about["mean"], arrays["weights"])
        return cls(Features.model_validate(about["settings"]), regression)


class FittedFeatures(NamedTuple):
    """What `fit` makes of the training battles.

    table: `id` and float32 columns. nested: the columns that are learnt from votes once more, from neither fold
    `without` nor the battle's own: `id`, `without` and the columns, a row for each fold and battle outside of it. swap:
    column → what exchanging A and B does to it. model: makes the columns of other battles.
    """

    table: pd.DataFrame
    nested: pd.DataFrame
    swap: dict[str, str]
    model: FeatureModel


def fit(
    train: pd.DataFrame, folds: pd.DataFrame, settings: Features, jobs: int | None = None, count: Count = nobody
) -> FittedFeatures:
    """All columns of the training battles, and what makes those of others.

    `folds` is the fold table in the row order of `train`. Strength columns of a training battle are learnt from the
    votes of the other folds, those that the model makes from all of them. `count` gets MEASURED + WORDS + RATED units
    of work for each battle. Raises ValueError for folds of other battles.
    """
    if folds[ID].tolist() != train[ID].tolist():
        raise ValueError("folds: not the fold table of these training battles; make both with the prepare step")
    features, swap = handcrafted(train, jobs, count)
    sides = strength.sides(train, features, swap, settings, workers(len(train), jobs))
    count(WORDS * len(train))
    numbers = folds["fold"].to_numpy()
    rated, nested, regression = strength.ratings(train, numbers, sides, settings)
    count(RATED * len(train))
    parts = []
    for fold, rating in zip(np.unique(numbers), nested, strict=True):
        rest = numbers != fold
        outside = pd.DataFrame({ID: train[ID].to_numpy()[rest], "without": fold})
        parts.append(_with_strength(outside, rating[rest], swap))
    model = FeatureModel(settings, regression)
    return FittedFeatures(_with_strength(features, rated, swap), pd.concat(parts, ignore_index=True), swap, model)


def _with_strength(features: pd.DataFrame, rated: np.ndarray, swap: dict[str, str]) -> pd.DataFrame:
    return features.assign(**side_columns("strength", rated[:, 0], rated[:, 1], swap))
