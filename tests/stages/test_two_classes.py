"""A whole run on battles without ties, step by step in this process: two classes from prepare to report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles import prompt
from battles.files import read_json, read_metadata, read_table
from battles.reading import read_battles
from battles.sample import generate
from battles.schema import turns
from battles.settings import Sample
from oof import table
from oof.nested import read_pairs
from stages import verify
from submission.predict import Predictor
from submission.table import to_csv
from tests.robustness.stages_in_process import STEPS, call, resolve

SETTINGS = (
    "prepare.folds=3 prepare.ties=false stack.trials=1 stack.rounds=6 stack.trees=10 stack.workers=1 tfidf.bits=12"
)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each step said; the working folder stays that of the run."""
    folder = tmp_path_factory.mktemp("two")
    data = generate(Sample(train=260, test=20, seed=3))
    voted = data.train[data.train["winner_tie"] == 0]
    # As the WSDM Cup has them: plain texts, the winner in words.
    columns = ("prompt", "response_a", "response_b")
    texts = {name: [prompt.text(row) for row in turns(voted[name])] for name in columns}
    winner = np.where(voted["winner_model_a"] == 1, "model_a", "model_b")
    named = voted[["id", "model_a", "model_b"]].assign(**texts, winner=winner, language="English")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        named.to_parquet("train.parquet")
        data.test.to_csv("test.csv", index=False)
        words = ("--profile", "cpu", "--train", "train.parquet", "--test", "test.csv", "--overrides", SETTINGS)
        outcome = resolve(*words)
        assert outcome.code == 0, outcome
        lines = {}
        for name, (main, more) in STEPS.items():
            outcome = call(main, *more)
            assert outcome.code == 0, (name, outcome)
            lines[name] = outcome.out
        outcome = call(verify.main)
        assert outcome.code == 0, outcome
        lines["verify"] = outcome.out
        lines["alone"] = to_csv(Predictor("models/runs/r").predict(read_battles("test.csv", voted=False)))
    return {"folder": str(folder), **lines}


def test_the_classes_are_said(said: dict[str, str]) -> None:
    assert "classes: two, as no voted battle is a tie" in said["prepare"]
    assert "warning: no battle has the vote" not in said["prepare"] + said["stack"]
    assert "two classes, no ties: accuracy 0." in said["stack"]
    assert "two-class log loss 0." in said["stack"]
    assert "FAILED" not in said["verify"]
    assert read_metadata(Path(said["folder"], "battles/r/folds.parquet"))["ties"] is False


def test_no_table_gives_a_tie_anything(said: dict[str, str]) -> None:
    folder = Path(said["folder"])
    folds = read_table(folder / "battles/r/folds.parquet")
    for name in ("tfidf", "stack"):
        predicted = table.read(folder / f"oof/r/{name}.parquet", folds).probabilities
        ids = read_table(folder / "battles/r/test.parquet")["id"].tolist()
        tested = table.read_test(folder / f"oof/r/{name}.test.parquet", ids).probabilities
        for values in (predicted, tested):
            assert (values[:, 2] == 0).all()
            assert values[:, 0].std() > 0
    # Rows by models without two folds, from which the nested stacker learns.
    pairs = read_pairs(folder / "oof/r/tfidf.pairs.parquet", folds)
    assert np.nansum(pairs[..., 2]) == 0
    assert np.nanstd(pairs[..., 0]) > 0
    submission = pd.read_csv(folder / "submission/r/submission.csv")
    assert (submission["winner_tie"] == 0).all()
    sides = submission[["winner_model_a", "winner_model_b"]].to_numpy()
    assert np.abs(sides.sum(axis=1) - 1).max() < 1e-8
    assert sides.min() >= 1e-6
    assert said["alone"] == (folder / "submission/r/submission.csv").read_text()


def test_figures_are_of_two_classes(said: dict[str, str]) -> None:
    folder = Path(said["folder"])
    metrics = read_json(folder / "oof/r/metrics.json", sealed=True)
    assert metrics["classes"] == 2
    prior = metrics["candidates"]["prior"]
    assert prior["log_loss"] == pytest.approx(np.log(2), abs=0.02)
    figures = json.loads((folder / "report/r/metrics.json").read_text())
    assert figures["classes"] == 2
    assert np.shape(figures["models"]["stack"]["confusion"]) == (2, 2)
    assert set(figures["models"]["stack"]["classes"]) == {"winner_model_a", "winner_model_b"}
    f1 = [row["f1"] for row in figures["models"]["tfidf"]["classes"].values()]
    assert figures["models"]["tfidf"]["macro_f1"] == pytest.approx(np.mean(f1))
    assert "there are two classes" in (folder / "report/r/index.html").read_text()
