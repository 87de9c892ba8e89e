"""Which battles the model of a fold learns from, and with which targets."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from battles.errors import BadInput
from battles.folds import prompt_key
from battles.schema import MODELS, WINNERS, labels, turns
from models.transformer.data.targets import UNKNOWN, Targets
from models.transformer.settings import Transformer

# Of its training battles, what a single output is calibrated on (`engine.scalar_head`).
HELD_OUT_SHARE = 0.1
# A tenth of few battles is too few to tell how many ties there are.
HELD_OUT_ROWS = 100


@dataclass(frozen=True)
class FoldRows:
    """What one model learns from, as positions into `TrainingSet.battles`.

    `targets` are those of `train_rows`. A scalar head is calibrated on `calibration_rows`. `extra` battles are among
    the train rows.
    """

    train_rows: np.ndarray
    targets: Targets
    calibration_rows: np.ndarray
    extra: int


@dataclass(frozen=True)
class TrainingSet:
    """The run's voted battles and after them the extra ones of other prompts, which are never scored.

    `votes` (battles, 3) may be probabilities for extra battles; `labels` (voted,) are the class numbers of the run's
    own. `teacher_probabilities` (models, voted, 3) are by number of the model that learns from them. `weights`
    (battles,) of the losses are 1 for the run's own; None: all are. `left_out` counts the extra battles that are not
    there, as a battle of the run has their prompt.
    """

    battles: pd.DataFrame
    votes: np.ndarray
    labels: np.ndarray
    prompts: np.ndarray
    teacher_probabilities: np.ndarray | None
    left_out: int = 0
    weights: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        battles: pd.DataFrame,
        extra: pd.DataFrame | None = None,
        teacher_probabilities: np.ndarray | None = None,
        extra_weights: np.ndarray | None = None,
    ) -> "TrainingSet":
        """`extra_weights` (extra,) are of the losses of the `extra` battles; None: all are 1."""
        prompts = _prompt_keys(battles)
        every_battle, left_out, weights = battles, 0, None
        if extra is not None:
            keys = _prompt_keys(extra)
            is_new = ~np.isin(keys, prompts)
            every_battle = pd.concat([battles, extra[is_new]], ignore_index=True)
            left_out, prompts = int((~is_new).sum()), np.concatenate([prompts, keys[is_new]])
            if extra_weights is not None:
                weights = np.concatenate([np.ones(len(battles)), extra_weights[is_new]])
        votes = every_battle[list(WINNERS)].to_numpy(dtype=np.float64)
        return cls(every_battle, votes, labels(battles), prompts, teacher_probabilities, left_out, weights)

    @cached_property
    def names(self) -> tuple[np.ndarray, int]:
        """Numbers of the models behind A and B, int64 (battles, 2), `UNKNOWN` where not named, and how many there are.

        Raises BadInput where no battle names them.
        """
        there = [name for name in MODELS if name in self.battles]
        if len(there) < len(MODELS):
            raise BadInput(
                f"names_weight: the training battles have no columns {' and '.join(MODELS)} to learn names from; set "
                "it to 0"
            )
        numbers, known = pd.factorize(pd.concat([self.battles[name] for name in MODELS]))
        assert UNKNOWN == -1  # pandas' number of what is missing
        return numbers.reshape(2, -1).T.astype(np.int64), len(known)

    @property
    def has_extra(self) -> bool:
        """Whether battles were given beside the run's own."""
        return len(self.votes) > len(self.labels) or self.left_out > 0

    def choose(self, number: int, train_rows: np.ndarray, settings: Transformer, seed: int) -> FoldRows:
        """What model `number` learns from: of the run's battles `train_rows` only, and all extra ones.

        Raises BadInput when the teacher has no row for a battle.
        """
        held = np.zeros(len(train_rows), dtype=bool)
        if settings.objective == "mse":
            held = hold_out(self.prompts[train_rows], seed)
        own, calibration_rows = train_rows[~held], train_rows[held]
        extra = np.arange(len(self.labels), len(self.votes))
        rows = np.concatenate([own, extra])
        taught = None
        if self.teacher_probabilities is not None:
            taught = np.full((len(rows), 3), np.nan)
            taught[: len(own)] = self._of_teacher(self.teacher_probabilities[number][own], number, settings)
        weights = None if self.weights is None else self.weights[rows]
        names = self.names[0][rows] if settings.names_weight else None
        return FoldRows(rows, Targets.of(self.votes[rows], taught, weights, names), calibration_rows, len(extra))

    @staticmethod
    def _of_teacher(probabilities: np.ndarray, number: int, settings: Transformer) -> np.ndarray:
        """The teacher's probabilities (rows, 3), once it is known that there are some for every row."""
        missing = int(np.isnan(probabilities).any(axis=1).sum())
        if missing:
            assert settings.teacher is not None  # rows of files are complete
            bases = settings.teacher.bases
            raise BadInput(
                f"teacher.base: {' or '.join(bases)} has no out-of-fold row for {missing} of the "
                f"{len(probabilities)} battles that model {number} learns from; "
                f"run make {' '.join(f'oof-{base}' for base in bases)} without FOLDS"
            )
        return probabilities


def _prompt_keys(battles: pd.DataFrame) -> np.ndarray:
    return np.array([prompt_key(prompt) for prompt in turns(battles["prompt"])], dtype=np.str_)


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
