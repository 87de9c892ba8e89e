"""Studies read back as tables: every trial with its state, and importances only where there are enough trials."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from models.stacking.studies import CHOSEN, StudySpec, open_study
from models.stacking.study_trials import read_trials


def _study(path: Path, name: str, trials: int) -> optuna.Study:
    study = open_study(StudySpec(path, name, [], {}))

    def objective(trial: optuna.Trial) -> float:
        x, flag = trial.suggest_float("x", 0, 1), trial.suggest_categorical("flag", [True, False])
        trial.set_user_attr("rounds", trial.number)
        if trial.number == 1:
            trial.report(0.9, 0)
            raise optuna.TrialPruned
        return x**2 + 0.001 * flag

    study.optimize(objective, n_trials=trials)
    return study


def test_trials_are_read_with_params_states_and_importances(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    study = _study(path, "mine: handcrafted booster, all battles [1]", 14)
    _study(path, "other: handcrafted booster, all battles [2]", 3)
    study.ask()  # still running: not shown
    (found,) = read_trials(path, "mine: ")
    assert found.chosen is None
    study.set_user_attr(CHOSEN, 13)
    (found,) = read_trials(path, "mine: ")
    assert found.chosen == 13
    assert found.name == "handcrafted booster, all battles [1]"
    assert found.trials["number"].tolist() == list(range(14))
    pruned = found.trials.iloc[1]
    assert (pruned["state"], pruned["value"]) == (TrialState.PRUNED.name, 0.9)
    assert found.trials["rounds"].tolist() == list(range(14))
    for at in (0, 2, 13):
        trial = study.trials[at]
        assert found.trials["x"].iloc[at] == trial.params["x"]
        assert found.trials["value"].iloc[at] == trial.value
    assert set(found.importances) == {"x", "flag"}
    assert sum(found.importances.values()) == pytest.approx(1)
    assert found.importances["x"] > found.importances["flag"]


def test_few_trials_have_no_importances(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    _study(path, "one [1]", 3)
    assert read_trials(path)[0].importances == {}


def test_of_studies_of_one_fit_the_latest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    for name in ("one, all battles [b]", "one, all battles [a]", "two, all battles [c]", "of-an-earlier-version"):
        _study(path, name, 2)
    assert [one.name for one in read_trials(path)] == ["one, all battles [a]", "two, all battles [c]"]
