"""A finished run of sample battles without language models, as its steps leave it."""

from pathlib import Path

import pytest

from tests.robustness.stages_in_process import finished_run
from tests.submission.small_run import make_small_run

SETTINGS = (
    "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 "
    "stack.trees=10 stack.workers=1 stack.clean=false tfidf.bits=12"
)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("made")
    finished_run(folder, SETTINGS, seed=1)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that has a tiny language model."""
    folder = tmp_path_factory.mktemp("small")
    make_small_run(folder)
    return folder
