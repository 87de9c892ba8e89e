"""The trials of a run's studies as tables, for those who look at them later."""

import warnings
from dataclasses import dataclass
from datetime import datetime

import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from models.stacking.studies import CHOSEN, Storage, open_storage

# Complete trials that importances need: of fewer they are noise.
_ENOUGH = 10


@dataclass(frozen=True)
class Trials:
    """A study's name and its trials: `number, state, value, rounds, seconds` and one column a param.

    value: the inner log loss (nats), of a pruned trial the last one it reported. importances: param → its share in what
    tells good trials from others (PED-ANOVA; Watanabe et al. 2023), empty for few trials. chosen: the number of the
    trial whose params the boosters have, None where the study has not come to its end.
    """

    name: str
    trials: pd.DataFrame
    importances: dict[str, float]
    chosen: int | None


def read_trials(storage: Storage, prefix: str = "") -> list[Trials]:
    """The studies of a storage whose names begin with `prefix`; raises BadInput as `open_storage` does.

    A storage keeps the studies of earlier data and settings too: of those that differ in nothing but the hash at the
    end of their names, it is the one with the latest trial.
    """
    opened = open_storage(storage)
    latest: dict[str, tuple[datetime, Trials]] = {}
    for name in sorted(optuna.get_all_study_names(opened)):
        title = name.removeprefix(prefix).rpartition(" [")[0]
        if not name.startswith(prefix) or not title:
            continue
        study = optuna.load_study(study_name=name, storage=opened)
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        began = max((trial.datetime_start for trial in trials if trial.datetime_start), default=None)
        if began is not None and (title not in latest or began > latest[title][0]):
            table = pd.DataFrame([_row(trial) for trial in trials])
            latest[title] = (
                began,
                Trials(name.removeprefix(prefix), table, _importances(study), study.user_attrs.get(CHOSEN)),
            )
    return [trials for _, trials in latest.values()]


def _row(trial: FrozenTrial) -> dict[str, object]:
    value = trial.value
    if value is None and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": value,
        "rounds": trial.user_attrs.get("rounds", 0),
        "seconds": trial.duration.total_seconds() if trial.duration is not None else 0.0,
        **trial.params,
    }


def _importances(study: optuna.Study) -> dict[str, float]:
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _ENOUGH:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
