"""Which battles the model of a fold learns from, and with which targets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.folds import prompt_key
from battles.schema import WINNERS, labels, turns
from models.transformer.settings import Transformer

# Of its training battles, what a single output is calibrated on (`engine.scalar_head`).
HELD_OUT_SHARE = 0.1
# A tenth of few battles is too few to tell how many ties there are.
HELD_OUT_ROWS = 100


@dataclass(frozen=True)
class FoldRows:
    """What one model learns from, as positions into `TrainingSet.battles`.

    `targets` of `train_rows` are vote probabilities (rows, 3), or with a teacher (rows, 2, 3): votes and the teacher's.
    A scalar head is calibrated on `calibration_rows`. `extra` battles are among the train rows, `extra_left_out` not.
    """

    train_rows: np.ndarray
    targets: np.ndarray
    calibration_rows: np.ndarray
    extra: int
    extra_left_out: int


@dataclass(frozen=True)
class TrainingSet:
    """The run's voted battles and after them the extra ones, which are never scored.

    `votes` (battles, 3) may be probabilities for extra battles; `labels` (voted,) are the class numbers of the run's
    own. `teacher_probabilities` (models, voted, 3) are by number of the model that learns from them.
    """

    battles: pd.DataFrame
    votes: np.ndarray
    labels: np.ndarray
    prompts: np.ndarray
    teacher_probabilities: np.ndarray | None

    @classmethod
    def of(
        cls, battles: pd.DataFrame, extra: pd.DataFrame | None = None, teacher_probabilities: np.ndarray | None = None
    ) -> "TrainingSet":
        every_battle = battles if extra is None else pd.concat([battles, extra], ignore_index=True)
        prompts = np.array([prompt_key(prompt) for prompt in turns(every_battle["prompt"])])
        votes = every_battle[list(WINNERS)].to_numpy(dtype=np.float64)
        return cls(every_battle, votes, labels(battles), prompts, teacher_probabilities)

    @property
    def has_extra(self) -> bool:
        """Whether there are battles beside the run's own."""
        return len(self.votes) > len(self.labels)

    def choose(
        self, number: int, train_rows: np.ndarray, valid_rows: np.ndarray, settings: Transformer, seed: int
    ) -> FoldRows:
        """What model `number` learns from: of the run's battles `train_rows` only, and all extra ones that are allowed.

        An extra battle whose prompt occurs among `valid_rows` (or among those calibrated on) is left out. Raises
        BadInput when the teacher has no row for a battle.
        """
        held = np.zeros(len(train_rows), dtype=bool)
        if settings.objective == "mse":
            held = hold_out(self.prompts[train_rows], seed)
        own, calibration_rows = train_rows[~held], train_rows[held]
        extra = np.arange(len(self.labels), len(self.votes))
        scored_prompts = self.prompts[np.concatenate([valid_rows, calibration_rows])]
        allowed = extra[~np.isin(self.prompts[extra], scored_prompts)]
        rows = np.concatenate([own, allowed])
        targets = self.votes[rows]
        if self.teacher_probabilities is not None:
            taught = np.full((len(rows), 3), np.nan)
            taught[: len(own)] = self._of_teacher(self.teacher_probabilities[number][own], number, settings)
            targets = np.stack([targets, taught], axis=1)
        return FoldRows(rows, targets, calibration_rows, len(allowed), len(extra) - len(allowed))

    @staticmethod
    def _of_teacher(probabilities: np.ndarray, number: int, settings: Transformer) -> np.ndarray:
        """The teacher's probabilities (rows, 3), once it is known that there are some for every row."""
        missing = int(np.isnan(probabilities).any(axis=1).sum())
        if missing:
            assert settings.teacher is not None
            raise BadInput(
                f"teacher.base: {settings.teacher.base} has no out-of-fold row for {missing} of the "
                f"{len(probabilities)} battles that model {number} learns from; "
                f"run make oof-{settings.teacher.base} without FOLDS"
            )
        return probabilities


def hold_out(groups: np.ndarray, seed: int) -> np.ndarray:
    """Which rows (rows,), bool, are kept for the calibration: whole prompt groups, a tenth of the rows.

    Of fewer than 1,000 rows it is 100, but at most a third.
    """
    rows = len(groups)
    enough = max(round(HELD_OUT_SHARE * rows), min(HELD_OUT_ROWS, rows // 3))
    names, code = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    total = np.bincount(code)[order].cumsum()
    chosen = order[total - np.bincount(code)[order] < enough]
    return np.isin(code, chosen)
