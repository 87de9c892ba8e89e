"""Which battles a fold's model learns from, and with which targets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.folds import prompt_key
from battles.schema import WINNERS, turns
from models.transformer.settings import Transformer

# Of its training battles, what a single output is calibrated on (`engine.scalar_head`).
HELD_OUT_SHARE = 0.1
# A tenth of few battles is too few to tell how many ties there are.
HELD_OUT_ROWS = 100


@dataclass(frozen=True)
class Chosen:
    """Positions into `Examples.battles` that a model learns from, their targets, (rows, 3) or with a teacher
    (rows, 2, 3), and those that a single output is calibrated on; how many extra battles are among the first."""

    learnt: np.ndarray
    targets: np.ndarray
    calibrated: np.ndarray
    extra: int


@dataclass(frozen=True)
class Examples:
    """The run's voted battles and after them the extra ones, which are never scored.

    `guides` (models, voted battles, 3) are a teacher's probabilities by the number of the model that learns from them.
    """

    battles: pd.DataFrame
    votes: np.ndarray
    prompts: np.ndarray
    voted: int
    guides: np.ndarray | None

    @classmethod
    def of(cls, battles: pd.DataFrame, extra: pd.DataFrame | None, guides: np.ndarray | None) -> "Examples":
        everything = battles if extra is None else pd.concat([battles, extra], ignore_index=True)
        prompts = np.array([prompt_key(prompt) for prompt in turns(everything["prompt"])])
        votes = everything[list(WINNERS)].to_numpy(dtype=np.float64)
        return cls(everything, votes, prompts, len(battles), guides)

    def choose(
        self, number: int, train_rows: np.ndarray, valid_rows: np.ndarray, settings: Transformer, seed: int
    ) -> Chosen:
        """What model `number` learns from, of the run's battles `train_rows` only and of all extra ones that fit.

        An extra battle whose prompt occurs among `valid_rows` (or among those calibrated on) is left out. Raises
        BadInput when the teacher has no row for a battle.
        """
        held = np.zeros(len(train_rows), dtype=bool)
        if settings.objective == "mse":
            held = hold_out(self.prompts[train_rows], seed)
        learnt, calibrated = train_rows[~held], train_rows[held]
        further = np.arange(self.voted, len(self.votes))
        unseen = self.prompts[np.concatenate([valid_rows, calibrated])]
        further = further[~np.isin(self.prompts[further], unseen)]
        rows = np.concatenate([learnt, further])
        targets = self.votes[rows]
        if self.guides is not None:
            guide = np.full((len(rows), 3), np.nan)
            guide[: len(learnt)] = self.guides[number][learnt]
            missing = int(np.isnan(guide[: len(learnt)]).any(axis=1).sum())
            if missing:
                assert settings.teacher is not None
                raise BadInput(
                    f"teacher.base: {settings.teacher.base} has no out-of-fold row for {missing} of the {len(learnt)} "
                    f"battles that model {number} learns from; run make oof-{settings.teacher.base} without FOLDS"
                )
            targets = np.stack([targets, guide], axis=1)
        return Chosen(rows, targets, calibrated, len(further))


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
