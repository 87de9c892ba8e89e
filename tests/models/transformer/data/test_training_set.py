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


def test_extra_battles_are_learnt_unless_a_battle_of_the_run_has_their_prompt() -> None:
    table = battles()
    new = pd.Series(['["quite new"]', '["new too"]'])
    prompts = pd.concat([new[:1], table["prompt"][VALID[:4]], table["prompt"][TRAIN[:3]], new[1:]])
    training_set = TrainingSet.of(table, _extra(prompts), None)
    assert training_set.left_out == 7
    rows = training_set.choose(0, TRAIN, PLAIN, 1)
    assert rows.extra == 2
    assert rows.train_rows.tolist() == [*TRAIN, 60, 61]
    # In other letters, but the same prompts.
    kept = [json.loads(prompt)[0].strip().lower() for prompt in training_set.battles["prompt"][60:]]
    assert kept == ["quite new", "new too"]
    assert np.array_equal(rows.targets.votes[: len(TRAIN)], np.eye(3)[training_set.votes[TRAIN].argmax(axis=1)])
    assert np.allclose(rows.targets.votes[len(TRAIN) :], [0.2, 0.3, 0.5])
    assert rows.targets.weights is None
    # A refit scores nothing, and learns from no copies of its own battles either.
    assert training_set.choose(5, np.arange(60), PLAIN, 1).extra == 2
    assert TrainingSet.of(table, _extra(table["prompt"][:5])).has_extra


def test_a_single_output_is_calibrated_on_battles_that_it_has_not_learnt() -> None:
    table = battles()
    base = PLAIN.model_copy(update={"objective": "mse"})
    further_prompts = pd.concat([table["prompt"][:59], pd.Series(['["quite new"]'])])
    training_set = TrainingSet.of(table, _extra(further_prompts), None)
    rows = training_set.choose(0, TRAIN, base, 1)
    own, calibrated = set(training_set.prompts[rows.train_rows]), set(training_set.prompts[rows.calibration_rows])
    assert set(rows.calibration_rows) < set(TRAIN)
    assert len(rows.calibration_rows) >= 13
    assert own.isdisjoint(calibrated)
    further = rows.train_rows[rows.train_rows >= len(table)]
    assert len(further) == rows.extra == 1
    assert set(training_set.prompts[further]).isdisjoint(training_set.prompts[: len(table)])


def test_each_model_learns_from_its_own_teacher_rows() -> None:
    taught = np.random.default_rng(0).dirichlet([1, 1, 1], (2, 60))
    taught[0][VALID] = np.nan  # a model needs no row of what it does not learn from
    base = PLAIN.model_copy(update={"teacher": Teacher(base="big")})
    training_set = TrainingSet.of(battles(), _extra(pd.Series(['["new"]', '["newer"]'])), taught)
    rows = training_set.choose(0, TRAIN, base, 1)
    assert rows.targets.teacher is not None
    np.testing.assert_allclose(rows.targets.teacher[: len(TRAIN)], taught[0][TRAIN], rtol=1e-6)
    assert rows.targets.teacher[len(TRAIN) :].isnan().all()
    second = training_set.choose(1, TRAIN, base, 1).targets.teacher
    assert second is not None
    np.testing.assert_allclose(second[: len(TRAIN)], taught[1][TRAIN], rtol=1e-6)
    with pytest.raises(BadInput, match=r"teacher.base: big has no out-of-fold row for 20 of the 60 battles"):
        training_set.choose(0, np.arange(60), base, 1)


def test_further_battles_count_by_the_weights_of_those_that_are_left() -> None:
    extra = _extra(pd.concat([battles()["prompt"][:2], pd.Series(['["new"]', '["newer"]', '["newest"]'])]))
    weights = np.array([9.0, 9.0, 0.5, 2.0, 0.25])
    rows = TrainingSet.of(battles(), extra, None, weights).choose(0, TRAIN, PLAIN, 1)
    assert rows.targets.weights is not None
    assert rows.targets.weights.tolist() == [1.0] * len(TRAIN) + [0.5, 2.0, 0.25]


def test_models_are_numbered_over_both_places_and_all_battles() -> None:
    extra = _extra(pd.Series(['["new"]', '["newer"]'])).assign(model_a=["only here", None])
    training_set = TrainingSet.of(battles(), extra)
    numbers, count = training_set.names
    table = training_set.battles
    assert count == len({*table["model_a"].dropna(), *table["model_b"]})
    by_number = {}
    for place, column in enumerate(("model_a", "model_b")):
        for number, name in zip(numbers[:, place].tolist(), table[column].tolist(), strict=True):
            assert by_number.setdefault(number, name) == name or number == -1
    assert (numbers == -1).sum() == 1
    assert numbers[61].tolist()[0] == -1
    rows = training_set.choose(0, TRAIN, PLAIN.model_copy(update={"names_weight": 0.1}), 1)
    assert rows.targets.names is not None
    assert rows.targets.names.tolist() == numbers[[*TRAIN, 60, 61]].tolist()
    assert training_set.choose(0, TRAIN, PLAIN, 1).targets.names is None
    with pytest.raises(BadInput, match="names_weight: the training battles have no columns model_a and model_b"):
        _ = TrainingSet.of(battles().drop(columns=["model_a", "model_b"])).names
