"""The one split of the training battles: class-stratified folds that keep battles with the same prompt together."""

import hashlib
import warnings

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.files import content_hash
from battles.schema import ID, Turns, labels, turns

# A base is scored on every fold, and there is no spread over a single battle.
MIN_FOLD_ROWS = 2

_TURN_END = "\x1e"


def prompt_key(prompt: Turns) -> str:
    """The first 16 hex digits of the SHA-256 of a prompt, casefolded, with runs of whitespace as one space.

    All turns count; a null turn counts as an empty one. Lone surrogates are hashed as they are.
    """
    text = _TURN_END.join(" ".join((turn or "").casefold().split()) for turn in prompt)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def make_folds(table: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Columns `id` (str), `fold` (int64, 0 … folds-1) and `group` (str, `prompt_key`), in the table's row order.

    The same table, folds and seed give the same split. Raises BadInput as `split` does.
    """
    groups = pd.Series([prompt_key(prompt) for prompt in turns(table["prompt"])], index=table.index, dtype="str")
    return pd.DataFrame({ID: table[ID], "fold": split(labels(table), groups, folds, seed), "group": groups})


def split(votes: np.ndarray, groups: pd.Series, folds: int, seed: int) -> np.ndarray:
    """Fold numbers (n,), int64, 0 … folds-1: stratified by votes (n,), no group in two folds.

    Uses scikit-learn's `StratifiedGroupKFold`, or the faster `StratifiedKFold` where no two battles share a group.
    Raises BadInput when the battles or their groups are too few for every fold to get MIN_FOLD_ROWS of them.
    """
    # Takes most of a second to import, and most steps read folds that are there.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    _refuse_too_few(votes, groups, folds)
    kind = StratifiedKFold if groups.is_unique else StratifiedGroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=seed)
    shared = None if groups.is_unique else groups.to_numpy()
    fold = np.full(len(votes), -1, dtype=np.int64)
    with warnings.catch_warnings():
        # A class rarer than the folds cannot be in all of them; the others are still stratified.
        warnings.filterwarnings("ignore", message="The least populated class")
        for number, (_, held_out) in enumerate(splitter.split(np.zeros(len(votes)), votes, shared)):
            fold[held_out] = number
    smallest = int(np.bincount(fold, minlength=folds).min())
    if smallest < MIN_FOLD_ROWS:
        raise BadInput(
            f"prepare.folds: {folds}, but the smallest of them would have {smallest} of {len(fold)} battles and each "
            f"needs {MIN_FOLD_ROWS}; choose fewer folds or give more battles of other prompts"
        )
    return fold


def _refuse_too_few(votes: np.ndarray, groups: pd.Series, folds: int) -> None:
    distinct = groups.nunique()
    if distinct < folds:
        raise BadInput(
            f"prepare.folds: {folds}, but the training battles have {distinct} distinct prompt{'s'[: distinct != 1]}; "
            f"battles with the same prompt share a fold: choose at most {max(distinct, 2)} folds or give more battles"
        )
    most = int(np.bincount(votes).max())
    if most < folds:
        raise BadInput(
            f"prepare.folds: {folds}, but the most frequent vote occurs {most} times among the training battles; "
            f"choose fewer folds or give more battles"
        )


def fold_hash(folds: pd.DataFrame) -> str:
    """The hash of the split: ids and folds in order. Artefacts of another split carry another hash."""
    return content_hash([folds[ID].tolist(), folds["fold"].tolist()])
