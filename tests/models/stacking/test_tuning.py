from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import get_note

from models.stacking import tuning
from models.stacking.blend import optimal_blend
from models.stacking.boosting_cv import BoostingCurve, InnerFold, boost_cv, inner_folds
from models.stacking.residual_booster import Design, fixed_params
from models.stacking.studies import BEST, CHOSEN, DECIMALS, NOTE, STARTUP_TRIALS, StudySpec, open_study
from models.stacking.tuning import FIRST, Tuned, _chosen, _pruning, first_recipes, search_space, tune
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import QUICK, battles


@pytest.fixture(scope="module")
def inner() -> list[InnerFold]:
    data = battles(300)
    params = fixed_params(QUICK.seed, 1, QUICK.max_bin)
    return inner_folds(lambda m, y: optimal_blend(m, y, symmetric=False), data, Design(True, True), params)


def _study(journal: Path) -> optuna.Study:
    return optuna.load_study(study_name="a", storage=JournalStorage(JournalFileBackend(str(journal))))


def _finished(journal: Path) -> list[FrozenTrial]:
    return _study(journal).get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))


def _tune(inner: list[InnerFold], journal: Path, trials: int, bag: int = 1) -> Tuned:
    settings = QUICK.model_copy(update={"trials": trials, "bag": bag})
    spec = StudySpec(journal, "a", first_recipes(settings), {"rows": 300})
    return tune(inner, len(inner), settings, spec)


def test_trials_say_what_they_measured(inner: list[InnerFold], tmp_path: Path) -> None:
    tuned = _tune(inner, tmp_path / "deep" / "study.journal", 3)
    study = _study(tmp_path / "deep" / "study.journal")
    assert len(study.trials) == 3
    weights = [len(fold.labels) for fold in inner]
    for trial in study.trials:
        assert trial.value == pytest.approx(np.average(trial.user_attrs["fold_losses"], weights=weights), abs=1e-6)
        assert trial.value <= trial.user_attrs["margin_loss"]
        assert len(trial.user_attrs["params_hash"]) == 16
        assert trial.user_attrs["seconds"] > 0
        assert 0 <= trial.user_attrs["rounds"] <= QUICK.rounds
        assert len(str(trial.value)) <= 2 + DECIMALS
    assert study.user_attrs[BEST] == study.best_value
    chosen = next(trial for trial in study.trials if f"Chosen trial: {trial.number}\n" in get_note(study))
    assert tuned.loss == chosen.value
    assert study.user_attrs[CHOSEN] == chosen.number
    rounds = chosen.user_attrs["rounds"]
    note = f"{rounds} rounds" if rounds else "no trees"
    assert study.user_attrs[NOTE] == f"{note}; optimistic, nested figure in metrics.json"
    assert study.user_attrs["rows"] == 300
    assert f"The best trial, {study.best_trial.number}, has" in get_note(study)
    labels = battles(300).labels
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


def test_an_interrupted_study_ends_as_one_that_was_not(
    inner: list[InnerFold], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in a first trial, in a random one and in one that the sampler draws from those before it."""
    trials = STARTUP_TRIALS + 3
    undisturbed = _tune(inner, tmp_path / "undisturbed.journal", trials, bag=3)
    calls = 0

    def interrupted(*arguments: Any) -> BoostingCurve:
        nonlocal calls
        calls += 1
        if calls in (2, 6, 13):
            raise KeyboardInterrupt
        return boost_cv(*arguments)

    journal = tmp_path / "study.journal"
    monkeypatch.setattr(tuning, "boost_cv", interrupted)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            _tune(inner, journal, trials, bag=3)
    # A killed process leaves a trial that runs for ever, of whose params some may be missing.
    _study(journal).ask().suggest_int("num_leaves", 3, 24, log=True)
    resumed = _tune(inner, journal, trials, bag=3)
    assert [trial.params for trial in _finished(journal)] == [
        trial.params for trial in _finished(tmp_path / "undisturbed.journal")
    ]
    assert resumed.recipes == undisturbed.recipes
    assert resumed.loss == undisturbed.loss
    assert np.array_equal(resumed.probabilities, undisturbed.probabilities)


def test_more_trials_are_those_that_would_have_followed(inner: list[InnerFold], tmp_path: Path) -> None:
    for trials in (1, 9, STARTUP_TRIALS + 3):
        _tune(inner, tmp_path / "grown.journal", trials)
    _tune(inner, tmp_path / "at once.journal", STARTUP_TRIALS + 3)
    grown, at_once = (_finished(tmp_path / name) for name in ("grown.journal", "at once.journal"))
    assert [(trial.params, trial.state) for trial in grown] == [(trial.params, trial.state) for trial in at_once]


def test_a_first_trial_that_was_queued_when_its_process_died_runs_once(inner: list[InnerFold], tmp_path: Path) -> None:
    _tune(inner, tmp_path / "study.journal", 1)
    first = first_recipes(QUICK)
    _study(tmp_path / "study.journal").enqueue_trial(first[1])
    _tune(inner, tmp_path / "study.journal", 3)
    params = [trial.params for trial in _study(tmp_path / "study.journal").trials]
    assert params[:2] == first
    assert params[2] not in first


def test_a_hopeless_trial_is_pruned_and_one_that_learns_slowly_is_not(tmp_path: Path) -> None:
    study = open_study(StudySpec(tmp_path / "study.journal", "a", [], {}))
    for _ in range(5):
        trial = study.ask()
        watch = _pruning(trial, 0.1)
        for rounds in range(1, 51):
            watch(rounds, 1.0 - 0.01 * rounds * 0.1)
        study.tell(trial, 0.95)
    slow = _pruning(study.ask(), 0.01)
    for rounds in range(1, 501):  # the same losses at the same sums of learning rates
        slow(rounds, 1.0 - 0.01 * rounds * 0.01)
    hopeless = _pruning(study.ask(), 0.1)
    for rounds in range(1, 5):
        hopeless(rounds, 1.0)
    with pytest.raises(optuna.TrialPruned):
        hopeless(5, 1.0)


def test_trials_that_are_compared_on_one_inner_fold_end_in_recipes_of_all(
    inner: list[InnerFold], tmp_path: Path
) -> None:
    settings = QUICK.model_copy(update={"trials": 2})
    tuned = tune(inner, 1, settings, StudySpec(tmp_path / "study.journal", "a", first_recipes(settings), {}))
    trials = _study(tmp_path / "study.journal").trials
    assert [len(trial.user_attrs["fold_losses"]) for trial in trials] == [1, 1]
    # What becomes of the best one is seen on all of them.
    assert tuned.probabilities.shape == (300, 3)
    assert np.isfinite(tuned.probabilities).all()
    recipe = tuned.recipes[0]
    assert recipe.rounds == boost_cv(inner, recipe.params, settings.rounds, settings.patience).rounds


def test_the_same_seed_draws_the_same_trials(inner: list[InnerFold], tmp_path: Path) -> None:
    first, second = (_tune(inner, tmp_path / name, 3) for name in ("one", "two"))
    assert first.recipes == second.recipes
    assert first.loss == second.loss


def test_the_bag_holds_the_chosen_trial_with_different_seeds(inner: list[InnerFold], tmp_path: Path) -> None:
    tuned = _tune(inner, tmp_path / "study.journal", 4, bag=3)
    first = tuned.recipes[0]
    assert [dict(recipe.params) | {"seed": 0} for recipe in tuned.recipes] == [dict(first.params) | {"seed": 0}] * 3
    assert len({recipe.params["seed"] for recipe in tuned.recipes}) == 3
    assert {recipe.rounds for recipe in tuned.recipes} == {first.rounds}
    chosen = next(trial for trial in _study(tmp_path / "study.journal").trials if trial.value == tuned.loss)
    assert first.rounds == chosen.user_attrs["rounds"]
    assert {name: first.params[name] for name in chosen.params} == chosen.params


def _trial(number: int, loss: float) -> FrozenTrial:
    trial = optuna.trial.create_trial(value=loss)
    trial.number = number
    return trial


def _curve(inner: list[InnerFold], gain: np.ndarray) -> BoostingCurve:
    """Of the margin, with `gain` (n,) nats more for each battle's vote than for the others."""
    probabilities = np.zeros((300, 3))
    for fold in inner:
        logits = fold.margin.copy()
        logits[np.arange(len(fold.labels)), fold.labels] += gain[fold.rows]
        probabilities[fold.rows] = softmax(logits)
    return BoostingCurve(np.zeros((1, 3)), 0, probabilities, 0.0, 0.0)


@pytest.mark.parametrize(("noise", "better"), [(2.0, 0), (0.1, 7)])
def test_another_trial_is_chosen_if_it_leads_the_first_beyond_noise(
    inner: list[InnerFold], noise: float, better: int
) -> None:
    gains = 0.03 + noise * np.random.default_rng(1).normal(size=300)
    gains += 0.03 - gains.mean()
    curves = {0: _curve(inner, np.zeros(300)), 7: _curve(inner, gains), 3: _curve(inner, np.zeros(300))}
    complete = [_trial(7, 1.0), _trial(3, 1.01), _trial(0, 1.02)]
    trial, curve = _chosen(complete, lambda trial: curves[trial.number], inner)
    assert trial.number == better
    assert curve is curves[better]


def test_battles_of_one_prompt_count_as_one_when_trials_are_compared(inner: list[InnerFold]) -> None:
    """The same lead, of which most comes from one prompt: noise if battles of that prompt are not independent."""
    gains = np.full(300, -0.01)
    gains[:60] = 0.4
    curves = {0: _curve(inner, np.zeros(300)), 1: _curve(inner, gains)}
    complete = [_trial(1, 1.0), _trial(0, 1.02)]
    for prompts, chosen in ((np.arange(300), 1), (np.minimum(np.arange(300) // 60, 4), 0)):
        grouped = [replace(fold, groups=prompts[fold.rows]) for fold in inner]
        assert _chosen(complete, lambda trial: curves[trial.number], grouped)[0].number == chosen


def test_what_was_compared_on_fewer_folds_is_chosen_on_all(inner: list[InnerFold], tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"trials": 3})
    some = tune(inner, 1, settings, StudySpec(tmp_path / "one.journal", "a", first_recipes(settings), {}))
    again = tune(inner, 1, settings, StudySpec(tmp_path / "one.journal", "a", first_recipes(settings), {}))
    assert some.recipes == again.recipes
    assert np.array_equal(some.probabilities, again.probabilities)


def test_the_search_space_names_every_param_and_moves_with_rows_and_settings() -> None:
    space = search_space(1000, QUICK)
    assert set(space) == set(first_recipes(QUICK)[0])
    assert space["min_child_samples"] != search_space(5000, QUICK)["min_child_samples"]
    wider = QUICK.model_copy(update={"learning_rate": (0.01, 0.5)})
    assert space["learning_rate"] != search_space(1000, wider)["learning_rate"]
