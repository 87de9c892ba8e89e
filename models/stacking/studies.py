"""Optuna studies of the stacker: where they are kept, and what their pages in the dashboard say.

They are kept in a journal file of the run, or in the database of a URL. Several processes write to either at once,
each to studies of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import save_note
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from battles.errors import BadInput

Where = Path | str
# Seconds that a writer waits for another one's lock on an SQLite file.
PATIENCE = 60
STARTUP = 8


def open_storage(where: Where) -> BaseStorage:
    """The storage at a journal's path or a database URL; raises BadInput for a URL that cannot be opened."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(where)))
    options = {"connect_args": {"timeout": PATIENCE}} if where.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return RDBStorage(where, engine_kwargs=options)
    except (ArgumentError, NoSuchModuleError, OperationalError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:200]
    except ValueError:  # its text would repeat what stands behind the last colon: of many a URL the password
        reason = "what stands for its port is no number"
    raise BadInput(f"STORAGE: cannot be opened ({reason}); give postgresql://user@host/database")


def open_study(
    where: Where, name: str, seed: int, first: Sequence[Mapping[str, Any]], about: Mapping[str, Any]
) -> optuna.Study:
    """The study of that name, made if it is not there, ready to go on.

    `first` are the params to try first; `about` becomes the study's attributes. A trial that a killed process left
    running is marked failed, and its params are tried again.
    """
    study = optuna.create_study(
        storage=open_storage(where),
        study_name=name,
        direction="minimize",
        load_if_exists=True,
        # Behind the median of the others at the same mark (see `stacking.tuning`).
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    started = len(study.get_trials(deepcopy=False))
    if not started:
        for key, value in about.items():
            study.set_user_attr(key, value)
        for params in first:
            study.enqueue_trial(dict(params))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    # A study that goes on must not draw the random start again.
    study.sampler = optuna.samplers.TPESampler(
        seed=seed + started, multivariate=True, n_startup_trials=STARTUP, constant_liar=False
    )
    return study


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best first."""
    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=value)


def value(trial: FrozenTrial) -> float:
    """The objective of a complete trial."""
    if trial.value is None:
        raise RuntimeError(f"trial {trial.number} finished without a value")
    return trial.value


def annotate(study: optuna.Study) -> None:
    """Writes what the best trial is into the study's note, which the dashboard shows."""
    best = finished(study)[0]
    attributes = best.user_attrs
    margin = attributes["margin_loss"]
    params = "\n".join(f"| {name} | {found} |" for name, found in best.params.items())
    save_note(
        study,
        f"## Best trial: {best.number}\n\nInner log loss **{value(best):.5f}** after {attributes['rounds']} rounds; "
        f"without trees {margin:.5f}. As the best of many on the folds it was chosen on, it is optimistic: "
        f"the figure to trust is the nested one in `metrics.json`.\n\n| param | value |\n|---|---|\n{params}\n",
    )
