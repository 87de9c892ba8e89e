"""Make's variables reach the steps as they were given: no make and no shell expands or splits them."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from battles.sample import generate
from battles.settings import Sample
from tests.project import Project, copy_project

VARIABLES = (
    *("PROFILE", "RUN", "TRAIN", "TEST", "FORMAT", "TABLE", "SET", "FOLDS", "BASES", "FEATURES", "ALLOW_SUSPECT"),
    *("AGAIN", "WORKERS", "NPROC", "STORAGE", "BATTLES", "OUT", "CARD", "HOURS"),
    *("OWNER", "COMPETITION", "MODEL_SOURCES", "FROM", "MESSAGE", "KERNEL", "RUNS", "TEXTS"),
)
PAYLOADS = (
    "$(shell touch canary)",
    "${shell touch canary}",
    "$$(touch canary)",
    "`touch canary`",
    "'; touch canary; '",
    '"; touch canary; "',
    "x\ntouch canary\n",
    "x\n\ttouch canary",
    "$(eval $(shell touch canary))",
    "a b  c # % : = \\ $ $$ $(HOME) ~ * ? ! & | > canary",
)
# Stands in for Python: a line of JSON for each call, with its words and the environment that make gave it.
RECORDER = """#!{python}
import json, os, sys
kept = {{name: value for name, value in os.environ.items() if name.startswith("ARENA_")}}
with open({record!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], kept]) + "\\n")
"""
FRAGMENT = "NAMES := one two\nJOBS := 1\nHAS_TEST := yes\nSOURCE := user\nTRANSFORMERS := two\nCLEAN := one\n"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("project") / "clone")


@pytest.fixture
def recorded(tmp_path: Path) -> Project:
    """A copy in which every step only writes down how it was called."""
    project = copy_project(tmp_path / "clone")
    python = project.folder / ".venv/bin/python"
    python.write_text(RECORDER.format(python=sys.executable, record=str(tmp_path / "record")))
    params = project.folder / "battles/good/params"
    params.mkdir(parents=True)
    (params / "run.mk").write_text(FRAGMENT)
    for stamp in ("inputs", "test", "prepare", "features", "one", "two", "stack", "report", "run"):
        (params / f"{stamp}.json").touch()
    return project


def _calls(project: Project) -> dict[str, dict[str, str]]:
    """What was started: module → make's variables as it saw them; the record is emptied."""
    record = project.folder.parent / "record"
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    record.unlink()
    assert all(words[0] == "-m" for words, _ in calls)
    return {words[1]: {name.removeprefix("ARENA_"): value for name, value in seen.items()} for words, seen in calls}


def _no_canary(project: Project) -> None:
    assert not list(project.folder.rglob("*canary*"))


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("goal", ["submission", "oof-one", "dashboard", "predict", "bundle", "data", "clean"])
def test_every_value_arrives_as_it_was_given(recorded: Project, goal: str, payload: str) -> None:
    assert recorded.make(goal, *(f"{name}={payload}" for name in VARIABLES)).returncode == 0
    (seen,) = _calls(recorded).values()
    assert {name: seen[name] for name in VARIABLES} == dict.fromkeys(VARIABLES, payload)
    exported = recorded.make(goal, **dict.fromkeys(VARIABLES, payload))
    assert exported.returncode == 0, exported.stderr
    (seen,) = _calls(recorded).values()
    assert {name: seen[name] for name in VARIABLES} == dict.fromkeys(VARIABLES, payload)
    assert seen["EXPORTED"].split() == list(VARIABLES)
    _no_canary(recorded)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_step_of_the_second_make_sees_them_as_they_were_given(recorded: Project, payload: str) -> None:
    # RUN and NPROC stand in rules: stages.start and stages.params have checked them.
    free = [name for name in VARIABLES if name not in ("RUN", "NPROC")]
    words = [f"{name}={payload}" for name in free]
    done = recorded.make("submission", "report", "plan", *words, "RUN=good", ARENA_CALL="mark")
    assert done.returncode == 0, done.stderr
    calls = _calls(recorded)
    steps = {"prepare", "features", "base", "predict", "stack", "predict_stack", "submit", "verify", "report", "plan"}
    assert {f"stages.{step}" for step in steps} == calls.keys()
    for seen in calls.values():
        assert {name: seen[name] for name in free} == dict.fromkeys(free, payload)
    _no_canary(recorded)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_name_that_is_no_folders_name_is_refused(copied: Project, payload: str) -> None:
    for goal in ("oof", "clean", "dashboard"):
        assert "RUN: " in copied.refused(goal, f"RUN={payload}")
    _no_canary(copied)


def test_a_long_name_is_refused(copied: Project) -> None:
    assert "RUN: a name of 300 letters" in copied.refused("oof", f"RUN={'r' * 300}")


@pytest.mark.parametrize("goal", ["oof-$(shell touch canary)", "oof-`touch canary`", "oof-x;touch canary", "oof-'"])
def test_a_target_is_no_command(copied: Project, goal: str) -> None:
    assert "is no target" in copied.refused(goal)
    _no_canary(copied)


def test_exported_variables_are_said_and_passwords_are_not(copied: Project) -> None:
    found = copied.make("stack", RUN="from/shell", FOLDS="0", STORAGE="postgresql://me:secret@host/studies")
    assert "RUN: 'from/shell' must be" in found.stderr
    found = copied.make("clean", RUN="nothing", FOLDS="0", STORAGE="postgresql://me:secret@host/studies")
    for line in ("RUN=nothing", "FOLDS=0", "STORAGE"):
        assert f"note: {line} is taken from the environment\n" in found.stderr
    assert "secret" not in found.stderr
    assert "note" not in copied.refused("clean", "RUN=nothing")


def test_clean_names_the_runs_that_there_are(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    assert "there is no run 'typo'; there are none" in project.refused("clean", "RUN=typo")
    for folder in ("battles/mine", "oof/mine", "models/runs/mine", "features/mine", "models/runs/other"):
        (project.folder / folder).mkdir(parents=True)
    assert "there is no run 'typo'; there are mine, other" in project.refused("clean", "RUN=typo")
    project.made("clean", "RUN=mine")
    assert not list(project.folder.rglob("mine"))
    assert (project.folder / "models/runs/other").exists()


def test_files_with_odd_names_are_read(copied: Project, tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' \"c\" $(shell touch canary) `touch canary` #%;\nd $$HOME"
    folder.mkdir()
    data = generate(Sample(train=60, test=10))
    for name in ("train", "test"):
        getattr(data, name).to_csv(folder / f"{name} $.csv", index=False)
    files = (f"TRAIN={folder / 'train $.csv'}", f"TEST={folder / 'test $.csv'}")
    said = copied.made("prepare", "RUN=odd", "PROFILE=cpu", *files, "SET=prepare.folds=2")
    assert "train: 60 battles" in said
    assert len(pd.read_parquet(copied.folder / "battles/odd/test.parquet")) == 10
    table = folder / "predictions ;.parquet"
    table.write_bytes(b"no table")
    found = copied.make("stack", "RUN=table", f"TABLE={table}", "BASES=one", "FEATURES=a b")
    assert "predictions ;.parquet" in found.stderr
    assert "no such file" not in found.stderr
    _no_canary(copied)
