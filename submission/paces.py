"""Speeds of a cascade's models, measured as they read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from submission.forecast import Stage


class Reader(Protocol):
    """One saved language model.

    tokens (battles,): the lengths of the battles as it reads them. load_seconds: an upper guess, before it was loaded.
    at_once: batches that it reads at the same time.
    """

    tokens: np.ndarray
    load_seconds: float
    at_once: int

    def load(self) -> None:
        """Makes the model ready to read."""

    def read(
        self, rows: np.ndarray, swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        """Probabilities (rows, 3) of the battles `rows`, in the original order, the longest first.

        `advance` is called with the battles of every batch, `stop` before each: once it is True the rest is NaN.
        """
        ...

    def close(self) -> None:
        """Gives its memory back."""


@dataclass
class Pace:
    """Measured seconds of a base: to load a model, of a token, and of its longest batch."""

    load: float = 0.0
    token: float | None = None
    batch: float = 0.0


class Paces:
    """The pace of every base.

    readers: base → its saved models. seconds: of a battle by base, as the out-of-fold rows took.
    """

    def __init__(self, readers: Mapping[str, Sequence[Reader]], seconds: Mapping[str, float]) -> None:
        self._readers, self._seconds = readers, seconds
        self._of: dict[str, Pace] = {}

    def __getitem__(self, base: str) -> Pace:
        return self._of.setdefault(base, Pace())

    @property
    def measured(self) -> bool:
        """Whether some base has read battles here."""
        return any(pace.token is not None for pace in self._of.values())

    def to_load(self, stage: Stage) -> float:
        """Seconds to load a stage's model: what the longest took here, or its own guess."""
        return self[stage.base].load or self._readers[stage.base][stage.number].load_seconds

    def to_read(self, stage: Stage, rows: np.ndarray) -> float:
        """Seconds to read these battles, from the base's own pace or scaled from those of others."""
        tokens = self._readers[stage.base][stage.number].tokens
        pace = self[stage.base].token
        if pace is not None:
            return pace * float(tokens[rows].sum())
        ratios = [
            known.token * float(self._readers[base][0].tokens.mean()) / self._seconds[base]
            for base, known in self._of.items()
            if known.token is not None and self._seconds[base] > 0
        ]
        return self._seconds[stage.base] * len(rows) * (float(np.median(ratios)) if ratios else 1.0)
