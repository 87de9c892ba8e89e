import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest

from battles.errors import BadInput
from models.stacking.stacker import stack
from models.stacking.studies import METRIC, StudyPlace, StudySpec, check_writers, finished, open_storage, open_study
from tests.models.stacking.battles import QUICK, battles


def test_a_study_is_found_again_in_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = open_study(StudySpec(url, "a", [{"x": 0.5}], {"rows": 3}))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    again = open_study(StudySpec(url, "a", [{"x": 0.1}], {"rows": 4}))
    assert again.user_attrs["rows"] == 3
    assert len(again.trials) == 2
    assert finished(again)[0].value == min(trial.value or 0.0 for trial in again.trials)


def test_a_study_reads_as_a_sentence_with_the_name_of_its_figure(tmp_path: Path) -> None:
    place = StudyPlace(tmp_path / "study.journal", "without fold 4", "mine: ")
    assert place.name("residual booster", "6a1c775a") == "mine: residual booster, without fold 4 [6a1c775a]"
    study = open_study(StudySpec(place.storage, place.name("residual booster", "6a1c775a"), [], {}))
    assert study.metric_names == [METRIC]


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all/studies.db", "no url at all", "oracle+none://x", "postgresql://127.0.0.1:1/none"]
)
def test_a_storage_that_cannot_be_opened_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match=r"STORAGE: cannot be opened \(.*postgresql://user@host/database"):
        open_storage(url)


def test_several_writers_are_refused_where_they_would_lock_each_other_out() -> None:
    for storage, workers in (("sqlite:///studies.db", 1), ("postgresql://user@host/database", 8), ("", 8)):
        check_writers(storage, workers)
    with pytest.raises(BadInput, match=r"SQLite does not bear 2 writers.*give WORKERS=1"):
        check_writers("sqlite:///studies.db", 2)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of a real server of its own, on a socket in a temporary folder."""
    tools = {name: shutil.which(name) for name in ("initdb", "pg_ctl", "createdb")}
    if None in tools.values():
        pytest.skip("no PostgreSQL server is installed")
    # PostgreSQL refuses to run as root.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user and subprocess.run([*as_user, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user for PostgreSQL")
    folder = Path(subprocess.run([*as_user, "mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    env = {**os.environ, "PGHOST": str(folder), "PGUSER": "tester", "LC_ALL": "C"}

    def call(name: str, *words: str) -> None:
        command = [*as_user, str(tools[name]), *words]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, cwd=folder)

    call("initdb", "-D", str(folder / "data"), "-U", "tester", "-A", "trust", "-E", "UTF8")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    call("pg_ctl", "-D", str(folder / "data"), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        call("createdb", "studies")
        yield f"postgresql://tester@/studies?host={folder}"
    finally:
        call("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_processes_share_a_database_and_get_what_a_journal_gives(postgres: str, tmp_path: Path) -> None:
    data = battles(300)
    settings = QUICK.model_copy(update={"workers": 2})
    kept = stack(data, settings, postgres, study="mine: ")
    expected = stack(data, settings, tmp_path / "study.journal")
    for name, values in expected.probabilities.items():
        np.testing.assert_array_equal(kept.probabilities[name], values)
    names = optuna.get_all_study_names(open_storage(postgres))
    assert names
    assert all(name.startswith("mine: ") for name in names)
