"""A model that starts from a saved one must not be scored on votes which that one has learnt from."""

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from battles.errors import BadInput
from battles.files import read_table
from battles.paths import RunPaths

# A saved model of a run, and in its name the folds that it was trained without. The mean of several folds' adapters has
# learnt from the battles of all of them.
_WITHOUT = r"(?:fold|pair)(?P<without>(?:-\d+)+)"
_SAVED = re.compile(rf"models/runs/(?P<run>[^/]+)/[^/]+/(?:{_WITHOUT}|refit|adapters[-\d]*)/model")


def check_start(init_from: str, folds: pd.DataFrame, scored: Iterable[int], root: Path = Path()) -> None:
    """Raises BadInput where `init_from`, with a fold's number for `{fold}`, has learnt from prompts of that fold.

    `folds` are those of the run that starts from it, as `battles.folds.make_folds` gives them; `scored` are the numbers
    of the folds to score. It is known of saved models of runs under `root`, the project's folder, while the run's
    `battles/<run>/folds.parquet` is there: of other folders, of what a run's model itself has started from, and of
    `extra_train`, nothing is known here.
    """
    for fold in scored:
        start = init_from.replace("{fold}", str(fold))
        groups = folds.loc[folds["fold"] == fold, "group"]
        shared = groups[groups.isin(_learnt_from(Path(start), root))]
        if len(shared):
            raise BadInput(
                f"init_from: {start} has learnt from the prompts of {len(shared)} of the {len(groups)} battles of fold "
                f"{fold}, so that its score there would be worthless; train it without them, or give a model of the "
                "same folds for each, with {fold} for the number in its path"
            )


def _learnt_from(saved: Path, root: Path) -> set[str]:
    """The prompt groups that a saved model has learnt from; none where they are not known."""
    try:
        place = (root / saved).resolve().relative_to(root.resolve())
    except ValueError:  # of another project
        return set()
    found = _SAVED.fullmatch(place.as_posix())
    if found is None:
        return set()
    path = RunPaths(found["run"], root).folds
    if not path.exists():
        return set()
    folds = read_table(path, ["fold", "group"])
    without = [int(number) for number in re.findall(r"\d+", found["without"] or "")]
    return set(folds.loc[~folds["fold"].isin(without), "group"])
