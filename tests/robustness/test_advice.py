"""Whoever does what a refusal of a damaged file says gets on, and to the same predictions."""

import re
from pathlib import Path

import pytest

from battles.sample import generate
from battles.settings import Sample
from tests.project import Project, copy_project

ADVICE = re.compile(r"delete (\S+) and run `make (\w+)` again")
SMALL = (
    "SET=prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 stack.trees=10 stack.workers=1 tfidf.bits=12 "
    "stack.clean=false"
)
SUBMISSION = "submission/r/submission.csv"
MODELS = "models/runs/r"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, bytes]:
    project = copy_project(tmp_path_factory.mktemp("project") / "clone")
    data = generate(Sample(train=90, test=20, seed=3))
    data.train.to_csv(project.folder / "train.csv", index=False)
    data.test.to_csv(project.folder / "test.csv", index=False)
    project.made("submission", "RUN=r", "PROFILE=cpu", "TRAIN=train.csv", "TEST=test.csv", SMALL)
    return project, (project.folder / SUBMISSION).read_bytes()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{MODELS}/tfidf/fold-1/model/weights.npz", ("predict", "RUN=r", "BATTLES=test.csv")),
        (f"{MODELS}/features/style.npz", ("predict", "RUN=r", "BATTLES=test.csv")),
        (f"{MODELS}/stack/stack.json", ("predict", "RUN=r", "BATTLES=test.csv")),
        (f"{MODELS}/stack/nested/without-fold-1/stack.json", ("report", "RUN=r")),
        ("submission/r/manifest.json", ("verify", "RUN=r")),
    ],
)
def test_what_a_refusal_advises_mends_the_run(made: tuple[Project, bytes], name: str, words: tuple[str, ...]) -> None:
    project, submission = made
    path: Path = project.folder / name
    path.write_bytes(path.read_bytes()[:-9])
    refused = project.refused(*words)
    assert name in refused
    advice = ADVICE.search(refused)
    assert advice, refused
    (project.folder / advice[1]).unlink()
    project.made(advice[2], "RUN=r")
    project.made(*words)
    project.made("submission", "RUN=r")
    assert (project.folder / SUBMISSION).read_bytes() == submission
