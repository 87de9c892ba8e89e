"""The stacker's training data: inputs, votes, folds and groups of the same battles, which always travel together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.stacking.meta_features import Meta


@dataclass(frozen=True)
class Level1Data:
    """Training data of n battles: the level-1 data of stacked generalization (Wolpert 1992, section 3).

    meta: the inputs. labels (n,): votes, 0 for A, 1 for B, 2 for a tie. folds (n,): ids of the fold table.
    groups (n,): battles of one group (a shared prompt) are not independent, which standard errors account for; None if
    all are independent. ties: whether a battle can end in one. Raises ValueError when the lengths differ.
    """

    meta: Meta
    labels: np.ndarray
    folds: np.ndarray
    groups: np.ndarray | None = None
    ties: bool = True

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.meta, self.labels, self.folds, self.groups) if part is not None}
        if len(lengths) > 1:
            raise ValueError(f"inputs, labels, folds and groups have {sorted(lengths)} rows; they must be of the same")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fold_count(self) -> int:
        return len(np.unique(self.folds))

    def rows(self, index: np.ndarray) -> "Level1Data":
        """The battles at `index` (numbers or mask)."""
        groups = None if self.groups is None else self.groups[index]
        return Level1Data(self.meta.rows(index), self.labels[index], self.folds[index], groups, self.ties)

    def splits(self, folds: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, "Level1Data", "Level1Data"]]:
        """For each fold, or each of `folds`: the mask (n,) of its battles, the battles outside of it, and its own."""
        for fold in np.unique(self.folds) if folds is None else folds:
            held = self.folds == fold
            yield held, self.rows(~held), self.rows(held)
