"""Checks the battles of the user or of the embedded sample, and splits the voted ones: `python -m stages.prepare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from battles.files import read_table, write_table
from battles.folds import fold_hash, make_folds
from battles.formats import AUTO
from battles.paths import RunPaths
from battles.progress import Progress
from battles.raw_rows import files_of
from battles.reading import read_battles
from battles.schema import ID, TEXTS, WINNERS, labels, turns
from battles.settings import Prepare
from battles.ties import TIE, can_tie
from stages.common import guarded, has_test, parser, section, stamp
from stages.input_files import source_hash, unchanged

# The standard error of the log loss of so many battles is about 0.04, of the size of what a model gains over the shares
# of the votes.
MIN_BATTLES = 200
# How many times as long as reading the battles it takes to split them: mostly the search for folds of equal votes.
_SPLIT = 3
NO_TIES = "classes: two, as no voted battle is a tie; the probability of a tie is 0 (else set prepare.ties=true)"


def main() -> None:
    arguments = parser("Checks the battles and splits the voted ones into prompt-grouped folds.")
    arguments.add_argument("--test", action="store_true", help="only the battles to predict")
    given = arguments.parse_args()
    if given.test:
        _prepare_test(given.run)
    else:
        _prepare_train(given.run)


def _prepare_test(run: str) -> None:
    source = stamp(run, "test")["test"]
    with unchanged("TEST", source), _progress("test", source, 1) as progress:
        test = read_battles(source["path"], voted=False, format=source.get("format", AUTO), count=progress.advance)
    path = RunPaths(run).test_battles
    write_table(path, test, {"source_sha256": source_hash(source)})
    print(f"test: {_described(test)}")


def _prepare_train(run: str) -> None:
    settings, _ = section(run, "prepare", Prepare)
    inputs, paths = stamp(run, "inputs"), RunPaths(run)
    # The split is made before anything is written.
    source = inputs["train"]
    with unchanged("TRAIN", source), _progress("prepare", source, 1 + _SPLIT) as progress:
        train = read_battles(source["path"], voted=True, format=source.get("format", AUTO), count=progress.advance)
        folds = make_folds(train, settings.folds, settings.seed)
    ties = can_tie(labels(train), settings.ties)
    test_ids = read_table(paths.test_battles, columns=[ID])[ID] if has_test(run) else None

    split = {"fold_hash": fold_hash(folds), "source_sha256": source_hash(source)}
    write_table(paths.train_battles, train, split)
    write_table(paths.folds, folds, split | settings.model_dump() | {"ties": ties})
    print("\n".join([_summary(train, test_ids, folds), *_warnings(train, ties)]))


def _progress(title: str, source: Mapping[str, Any], times: int) -> Progress:
    """Of work that takes so many times as long as reading the source; counted in its bytes."""
    path = Path(source["path"])
    # What is not there, or no table, is refused when it is read.
    size = sum(file.stat().st_size for file in files_of(path)) if path.exists() else 0
    return Progress(title, times * size, weights=True)


def _summary(train: pd.DataFrame, test_ids: pd.Series | None, folds: pd.DataFrame) -> str:
    votes = train[list(WINNERS)].mean().to_numpy()
    lines = [
        f"train: {_described(train)}, {folds['group'].nunique()} distinct prompts, "
        f"votes A {votes[0]:.1%}, B {votes[1]:.1%}, tie {votes[2]:.1%}"
    ]
    if test_ids is None:
        lines.append("test: none given (TEST=), so there will be no submission")
    else:
        shared = int(test_ids.isin(train[ID]).sum())
        if shared:
            lines.append(
                f"note: {shared} ids of the test file are also in the training file; are they the same battles?"
            )
    sizes = np.bincount(folds["fold"])
    lines.append(f"folds: {len(sizes)} of {sizes.min()} to {sizes.max()} battles, hash {fold_hash(folds)}")
    return "\n".join(lines)


def _warnings(train: pd.DataFrame, ties: bool) -> list[str]:
    """What is special of the classes, and what makes the battles a poor base for probabilities, one line each."""
    lines = [] if ties else [NO_TIES]
    if len(train) < MIN_BATTLES:
        lines.append(
            f"warning: {len(train)} voted battles; from fewer than {MIN_BATTLES} hardly more than the shares of the "
            "votes can be learnt, and every reported score is noisy"
        )
    missing = [name for name in (WINNERS if ties else WINNERS[:TIE]) if not train[name].any()]
    if missing:
        lines.append(
            f"warning: no battle has the vote {' or '.join(missing)}; it will get a probability near 0, which costs "
            "much where it occurs after all"
        )
    return lines


def _described(table: pd.DataFrame) -> str:
    several = np.mean([len(prompt) > 1 for prompt in turns(table["prompt"])])
    nulls = sum(turn is None for name in TEXTS for cell in turns(table[name]) for turn in cell)
    return f"{len(table)} battles, {several:.1%} of several turns, {nulls} null turns"


if __name__ == "__main__":
    guarded(main)
