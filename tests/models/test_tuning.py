from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from models.blend import optimal_blend
from models.growth import InnerFold, inner_folds
from models.residual import fixed_params
from models.tuning import FIRST, Tuned, first_recipes, tune
from oof.metrics import log_loss
from tests.models.stacking import QUICK, battles


@pytest.fixture(scope="module")
def inner() -> list[InnerFold]:
    meta, labels, folds = battles(300)
    params = fixed_params(QUICK.seed, 1, QUICK.max_bin)
    return inner_folds(lambda m, y: optimal_blend(m, y, True), meta, labels, folds, True, params)


def _study(journal: Path) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=JournalStorage(JournalFileBackend(str(journal))))


def _tune(inner: list[InnerFold], journal: Path, trials: int, bag: int = 1) -> Tuned:
    settings = QUICK.model_copy(update={"trials": trials, "bag": bag})
    return tune(inner, settings, journal, "a", first_recipes(settings, randomised=True))


def test_trials_say_what_they_measured(inner: list[InnerFold], tmp_path: Path) -> None:
    tuned = _tune(inner, tmp_path / "deep" / "study.journal", 3)
    study = _study(tmp_path / "deep" / "study.journal")
    assert len(study.trials) == 3
    weights = [len(fold.labels) for fold in inner]
    for trial in study.trials:
        assert trial.value == pytest.approx(np.average(trial.user_attrs["fold_losses"], weights=weights))
        assert trial.value <= np.average(trial.user_attrs["margin_losses"], weights=weights)
        assert trial.user_attrs["seconds"] > 0
        assert 0 <= trial.user_attrs["rounds"] <= QUICK.rounds
    assert tuned.loss == study.best_value
    labels = battles(300)[1]
    assert log_loss(tuned.probabilities, labels) == pytest.approx(tuned.loss, abs=1e-6)


def test_the_first_trials_are_the_known_good_ones(inner: list[InnerFold], tmp_path: Path) -> None:
    _tune(inner, tmp_path / "study.journal", 1)
    _tune(inner, tmp_path / "study.journal", 2)
    first, second = (trial.params for trial in _study(tmp_path / "study.journal").trials)
    assert first == {**FIRST, "learning_rate": QUICK.learning_rate[0], "extra_trees": True}
    assert second == {**first, "extra_trees": False}


def test_a_study_goes_on_where_it_stopped(inner: list[InnerFold], tmp_path: Path) -> None:
    _tune(inner, tmp_path / "study.journal", 2)
    before = [trial.params for trial in _study(tmp_path / "study.journal").trials]
    resumed = _tune(inner, tmp_path / "study.journal", 4, bag=2)
    trials = _study(tmp_path / "study.journal").trials
    assert [trial.params for trial in trials[:2]] == before
    assert len(trials) == 4
    assert len({tuple(trial.params.values()) for trial in trials}) == 4
    again = _tune(inner, tmp_path / "study.journal", 4, bag=2)
    assert len(_study(tmp_path / "study.journal").trials) == 4
    assert again.recipes == resumed.recipes
    np.testing.assert_allclose(again.probabilities, resumed.probabilities, atol=1e-12)


def test_a_killed_trial_is_marked_failed_and_made_up_for(inner: list[InnerFold], tmp_path: Path) -> None:
    _tune(inner, tmp_path / "study.journal", 1)
    _study(tmp_path / "study.journal").ask()
    _tune(inner, tmp_path / "study.journal", 2)
    states = [trial.state for trial in _study(tmp_path / "study.journal").trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_the_same_seed_draws_the_same_trials(inner: list[InnerFold], tmp_path: Path) -> None:
    first, second = (_tune(inner, tmp_path / name, 3) for name in ("one", "two"))
    assert first.recipes == second.recipes
    assert first.loss == second.loss


def test_the_bag_holds_the_best_trials_best_first(inner: list[InnerFold], tmp_path: Path) -> None:
    tuned = _tune(inner, tmp_path / "study.journal", 4, bag=2)
    best = sorted(_study(tmp_path / "study.journal").trials, key=lambda trial: trial.value or 0.0)[:2]
    for recipe, trial in zip(tuned.recipes, best, strict=True):
        assert recipe.rounds == trial.user_attrs["rounds"]
        assert {name: recipe.params[name] for name in trial.params} == trial.params
    assert tuned.recipes[0].params["seed"] != tuned.recipes[1].params["seed"]
