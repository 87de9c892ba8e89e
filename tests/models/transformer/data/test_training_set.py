import json

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from models.transformer.data.training_set import TrainingSet
from models.transformer.settings import Teacher, Transformer
from tests.models.transformer.checkpoints import battles

PLAIN = Transformer(backbone="none")
VALID = np.arange(0, 60, 3)
TRAIN = np.setdiff1d(np.arange(60), VALID)


def _extra(prompts: pd.Series) -> pd.DataFrame:
    """Battles with these prompts, in other letters and spaces, and with soft votes."""
    shouted = [json.dumps([f"  {(turn or '').upper()}\n" for turn in json.loads(prompt)]) for prompt in prompts]
    extra = battles().head(len(prompts)).assign(prompt=shouted)
    extra[["winner_model_a", "winner_model_b", "winner_tie"]] = [0.2, 0.3, 0.5]
    return extra


def test_extra_battles_are_learnt_unless_their_prompt_is_scored() -> None:
    table = battles()
    prompts = pd.concat([table["prompt"][VALID[:4]], table["prompt"][TRAIN[:3]], pd.Series(['["quite new"]'])])
    scored = set(table["prompt"][VALID])
    fit = [prompt not in scored for prompt in prompts]
    training_set = TrainingSet.of(table, _extra(prompts), None)
    rows = training_set.choose(0, TRAIN, VALID, PLAIN, 1)
    assert rows.extra == sum(fit) < len(fit)
    assert rows.train_rows.tolist() == [*TRAIN, *(60 + np.flatnonzero(fit))]
    assert np.array_equal(rows.targets[: len(TRAIN)], np.eye(3)[training_set.votes[TRAIN].argmax(axis=1)])
    assert np.allclose(rows.targets[len(TRAIN) :], [0.2, 0.3, 0.5])
    # A refit scores nothing.
    assert training_set.choose(5, np.arange(60), VALID[:0], PLAIN, 1).extra == len(fit)


def test_a_single_output_is_calibrated_on_battles_that_it_has_not_learnt() -> None:
    table = battles()
    base = PLAIN.model_copy(update={"objective": "mse"})
    training_set = TrainingSet.of(table, _extra(table["prompt"]), None)
    rows = training_set.choose(0, TRAIN, VALID, base, 1)
    own, calibrated = set(training_set.prompts[rows.train_rows]), set(training_set.prompts[rows.calibration_rows])
    assert set(rows.calibration_rows) < set(TRAIN)
    assert len(rows.calibration_rows) >= 13
    assert own.isdisjoint(calibrated)
    further = rows.train_rows[rows.train_rows >= len(table)]
    assert 0 < len(further) == rows.extra
    assert set(training_set.prompts[further]).isdisjoint(training_set.prompts[VALID])


def test_each_model_learns_from_its_own_teacher_rows() -> None:
    taught = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 60))
    taught[0][VALID] = np.nan  # a model needs no row of what it does not learn from
    base = PLAIN.model_copy(update={"teacher": Teacher(base="big")})
    training_set = TrainingSet.of(battles(), _extra(battles()["prompt"][:2]), taught)
    rows = training_set.choose(0, TRAIN, VALID, base, 1)
    assert np.array_equal(rows.targets[: len(TRAIN), 1], taught[0][TRAIN])
    assert np.isnan(rows.targets[len(TRAIN) :, 1]).all()
    assert np.array_equal(training_set.choose(1, TRAIN, VALID, base, 1).targets[: len(TRAIN), 1], taught[1][TRAIN])
    with pytest.raises(BadInput, match=r"teacher.base: big has no out-of-fold row for 20 of the 60 battles"):
        training_set.choose(0, np.arange(60), VALID[:0], base, 1)
