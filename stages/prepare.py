"""Checks the battles of the user or of the embedded sample, and splits the voted ones: `python -m stages.prepare`."""

import numpy as np
import pandas as pd

from battles.files import write_table
from battles.folds import fold_hash, make_folds
from battles.paths import RunPaths
from battles.reading import read_battles
from battles.schema import ID, TEXTS, WINNERS, turns
from battles.settings import Prepare
from stages.common import guarded, run_argument, section, source_hash, stamp


def main() -> None:
    run = run_argument("Checks the battles and splits the voted ones into prompt-grouped folds.")
    settings, _ = section(run, "prepare", Prepare)
    inputs = stamp(run, "inputs")
    # Both files are checked, and the split is made, before anything is written.
    train = read_battles(inputs["train"]["path"], voted=True)
    test = read_battles(inputs["test"]["path"], voted=False) if inputs["test"] else None
    folds = make_folds(train, settings.folds, settings.seed)

    folder = RunPaths(run).battles
    split = {"fold_hash": fold_hash(folds), "source_sha256": source_hash(inputs["train"])}
    write_table(folder / "train.parquet", train, split)
    if test is None:
        (folder / "test.parquet").unlink(missing_ok=True)  # an earlier test file's
    else:
        write_table(folder / "test.parquet", test, {"source_sha256": source_hash(inputs["test"])})
    write_table(folder / "folds.parquet", folds, split | settings.model_dump())
    print(_summary(train, test, folds))


def _summary(train: pd.DataFrame, test: pd.DataFrame | None, folds: pd.DataFrame) -> str:
    votes = train[list(WINNERS)].mean().to_numpy()
    lines = [
        f"train: {_described(train)}, {folds['group'].nunique()} distinct prompts, "
        f"votes A {votes[0]:.1%}, B {votes[1]:.1%}, tie {votes[2]:.1%}"
    ]
    if test is None:
        lines.append("test: none given (TEST=), so there will be no submission")
    else:
        lines.append(f"test: {_described(test)}")
        shared = int(test[ID].isin(train[ID]).sum())
        if shared:
            lines.append(
                f"note: {shared} ids of the test file occur in the training file too; are they the same battles?"
            )
    sizes = np.bincount(folds["fold"])
    lines.append(f"folds: {len(sizes)} of {sizes.min()} to {sizes.max()} battles, hash {fold_hash(folds)}")
    return "\n".join(lines)


def _described(table: pd.DataFrame) -> str:
    several = np.mean([len(prompt) > 1 for prompt in turns(table["prompt"])])
    nulls = sum(turn is None for name in TEXTS for cell in turns(table[name]) for turn in cell)
    return f"{len(table)} battles, {several:.1%} of several turns, {nulls} null turns"


if __name__ == "__main__":
    guarded(main)
