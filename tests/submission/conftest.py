"""A finished run of sample battles without language models, as its steps leave it."""

from pathlib import Path

import pytest

from battles.sample import generate
from battles.settings import Sample
from tests.robustness.stages_in_process import STEPS, call, resolve

SETTINGS = "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 stack.workers=1 stack.clean=false tfidf.bits=12"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = generate(Sample(train=90, test=20, seed=1))
        data.train.to_csv("train.csv", index=False)
        data.test.to_csv("test.csv", index=False)
        words = ("--profile", "cpu", "--train", "train.csv", "--test", "test.csv", "--overrides", SETTINGS)
        outcomes = [resolve(*words), *(call(main, *more) for main, more in STEPS.values())]
        assert all(outcome.code == 0 for outcome in outcomes), outcomes
    return folder
