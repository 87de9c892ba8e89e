"""What a model learns of each battle: vote probabilities, a teacher's, and how much the battle counts."""

from dataclasses import dataclass

import numpy as np
import torch

from battles.swap import SWAPPED_CLASSES


@dataclass(frozen=True)
class Targets:
    """Training targets of battles, by row.

    `votes` (rows, 3) are probabilities, a vote being a certain one. `teacher` (rows, 3) is NaN where no teacher has a
    row; None: there is no teacher. `weights` (rows,) multiply a row's loss; None: all are 1.
    """

    votes: torch.Tensor
    teacher: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @classmethod
    def of(cls, votes: np.ndarray, teacher: np.ndarray | None = None, weights: np.ndarray | None = None) -> "Targets":
        """Targets of fp32 numbers."""
        return cls(_single(votes), *(None if values is None else _single(values) for values in (teacher, weights)))

    def rows(self, at: np.ndarray) -> "Targets":
        """Those of some rows."""
        return Targets(self.votes[at], *(None if part is None else part[at] for part in (self.teacher, self.weights)))

    def shown(self, swapped: torch.Tensor) -> "Targets":
        """A copy with A and B exchanged where `swapped` (rows,) says that the responses are."""
        teacher = None if self.teacher is None else _exchanged(self.teacher, swapped)
        return Targets(_exchanged(self.votes, swapped), teacher, self.weights)

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        kept = (None if part is None else part.to(device) for part in (self.teacher, self.weights))
        return Targets(self.votes.to(device), *kept)


def _single(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).float()


def _exchanged(probabilities: torch.Tensor, swapped: torch.Tensor) -> torch.Tensor:
    shown = probabilities.clone()
    shown[swapped] = shown[swapped][:, SWAPPED_CLASSES]
    return shown
