"""Optuna studies of the stacker: where they are stored, and what their pages in the dashboard say.

They are stored in a journal file of the run or in a database. Several processes write to either at once, each to
studies of its own.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard import save_note
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from battles.errors import BadInput

# A journal's path, or a database's URL.
Storage = Path | str
# Seconds that a writer waits for another one's lock on an SQLite file: a dashboard locks it while it reads.
SQLITE_TIMEOUT = 60
# Trials that are drawn at random before the sampler models the others.
STARTUP_TRIALS = 8


# What a study minimises, as its pages call it, and the attributes that its line in the list of studies shows.
METRIC = "inner log loss (nats)"
BEST = "best inner log loss (optimistic)"
NOTE = "note"
# The attribute that holds the number of the chosen trial, once there is one.
CHOSEN = "chosen trial"
# Nats that are told apart: more digits of a mean over thousands of battles say nothing.
DECIMALS = 6


@dataclass(frozen=True)
class StudyPlace:
    """Where the studies of one fit are kept, and how they are called.

    prefix: of the names of one run's studies, where a storage holds several runs. rows: in words, the battles that the
    fit learns from. count: called with 1 after every trial, in whichever process it ran.
    """

    storage: Storage
    rows: str
    prefix: str = ""
    count: Callable[[int], None] = lambda trials: None

    def name(self, booster: str, fingerprint: str) -> str:
        """A study's name as a person reads it in the dashboard's list."""
        return f"{self.prefix}{booster}, {self.rows} [{fingerprint}]"


@dataclass(frozen=True)
class StudySpec:
    """A study to open: its storage and name, the params to try first, and JSON values that the dashboard shows."""

    storage: Storage
    name: str
    first: Sequence[Mapping[str, Any]]
    attributes: Mapping[str, Any]


def check_writers(storage: Storage, workers: int) -> None:
    """Raises BadInput for a storage that does not take so many writing processes."""
    if isinstance(storage, str) and storage.startswith("sqlite") and workers > 1:
        raise BadInput(
            f"STORAGE: SQLite does not bear {workers} writers (Optuna's FAQ); "
            "give WORKERS=1, leave STORAGE out for a journal file, or give postgresql://…"
        )


def open_storage(storage: Storage) -> BaseStorage:
    """Opens a storage, made if it is not there; raises BadInput for a URL that cannot be opened."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if isinstance(storage, Path):
        storage.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(str(storage)))
    options = {"connect_args": {"timeout": SQLITE_TIMEOUT}} if storage.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return RDBStorage(storage, engine_kwargs=options)
    except (ArgumentError, NoSuchModuleError, OperationalError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:200]
    except ValueError:  # its text would repeat what stands behind the last colon: of many a URL the password
        reason = "what stands for its port is no number"
    raise BadInput(f"STORAGE: cannot be opened ({reason}); give postgresql://user@host/database")


def open_study(spec: StudySpec) -> optuna.Study:
    """The study, made if it is not there, ready to go on: a trial that a killed process left running has failed."""
    study = optuna.create_study(
        storage=open_storage(spec.storage),
        study_name=spec.name,
        direction="minimize",
        load_if_exists=True,
        # Prunes what is behind the median of the others at the same mark (see `tuning.MARKS`).
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # the name is only shown
        study.set_metric_names([METRIC])
    if not study.get_trials(deepcopy=False):
        for key, attribute in spec.attributes.items():
            study.set_user_attr(key, attribute)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def run_trials(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    trials: int,
    first: Sequence[Mapping[str, Any]],
    seed: int,
) -> Iterator[int]:
    """Runs a study up to `trials` complete or pruned trials; yields how many were there, then 1 after each.

    The trial in place k is drawn with a seed of its own from the trials before it, the first ones having the params of
    `first`. So a study that was interrupted anywhere, and goes on, ends as one that was not: failed trials count for
    nothing, and no generator's state is lost with a process.
    """
    done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
    yield min(done, trials)
    for place in range(done, trials):
        drawn = int(np.random.SeedSequence((seed, place)).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(
            seed=drawn, multivariate=True, n_startup_trials=STARTUP_TRIALS, constant_liar=False
        )
        # A process that was killed just here has left its params waiting.
        if place < len(first) and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(dict(first[place]))
        study.optimize(objective, n_trials=1)
        yield 1


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best first."""
    return sorted(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)), key=value)


def value(trial: FrozenTrial) -> float:
    """The objective of a complete trial."""
    if trial.value is None:
        raise RuntimeError(f"trial {trial.number} finished without a value")
    return trial.value


def annotate(study: optuna.Study, chosen: FrozenTrial) -> None:
    """Describes the chosen trial in the study's note and in its line in the dashboard's list."""
    best, attributes = finished(study)[0], chosen.user_attrs
    margin = attributes["margin_loss"]
    params = "\n".join(f"| {name} | {_shown(setting)} |" for name, setting in chosen.params.items())
    study.set_user_attr(CHOSEN, chosen.number)
    study.set_user_attr(BEST, value(best))
    trees = f"{attributes['rounds']} rounds" if attributes["rounds"] else "no trees"
    study.set_user_attr(NOTE, f"{trees}; optimistic, nested figure in metrics.json")
    save_note(
        study,
        f"## Chosen trial: {chosen.number}\n\nInner log loss **{value(chosen):.5f}** after {attributes['rounds']} "
        f"rounds; without trees {margin:.5f}. The best trial, {best.number}, has {value(best):.5f}: the first one is "
        f"kept unless the best leads it by two standard errors. Chosen on these folds, both are optimistic: "
        f"the figure to trust is the nested one in `metrics.json`.\n\n| param | value |\n|---|---|\n{params}\n",
    )


def _shown(setting: object) -> str:
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)
