"""What a model learns of each battle: vote probabilities, a teacher's, how much the battle counts, who answered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from battles.swap import SWAPPED_CLASSES

UNKNOWN = -1  # number of a model that a battle does not name


@dataclass(frozen=True)
class Targets:
    """Training targets of battles, by row.

    `votes` (rows, 3) are probabilities, a vote being a certain one. `teacher` (rows, 3) is NaN where no teacher has a
    row; None: there is no teacher. `weights` (rows,) multiply a row's loss; None: all are 1. `names` (rows, 2), int64,
    are the numbers of the models behind A and B, -1 where unknown; None: they are not learnt.
    """

    votes: torch.Tensor
    teacher: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    names: torch.Tensor | None = None

    @classmethod
    def of(
        cls,
        votes: np.ndarray,
        teacher: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        names: np.ndarray | None = None,
    ) -> "Targets":
        """Targets of fp32 numbers."""
        teachers, weighted = (None if part is None else torch.from_numpy(part).float() for part in (teacher, weights))
        named = None if names is None else torch.from_numpy(names)
        return cls(torch.from_numpy(votes).float(), teachers, weighted, named)

    def rows(self, at: np.ndarray) -> "Targets":
        """Those of some rows."""
        return Targets(self.votes[at], *(None if part is None else part[at] for part in self._others()))

    def shown(self, swapped: torch.Tensor) -> "Targets":
        """A copy with A and B exchanged where `swapped` (rows,) says that the responses are."""
        return replace(
            self,
            votes=_exchanged(self.votes, swapped, SWAPPED_CLASSES),
            teacher=None if self.teacher is None else _exchanged(self.teacher, swapped, SWAPPED_CLASSES),
            names=None if self.names is None else _exchanged(self.names, swapped, (1, 0)),
        )

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(self.votes.to(device), *(None if part is None else part.to(device) for part in self._others()))

    def _others(self) -> tuple[torch.Tensor | None, ...]:
        return self.teacher, self.weights, self.names


def _exchanged(values: torch.Tensor, swapped: torch.Tensor, order: Sequence[int]) -> torch.Tensor:
    shown = values.clone()
    shown[swapped] = shown[swapped][:, list(order)]
    return shown
