"""What the stage refuses before it writes anything, and what it writes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import file_hash, read_table, write_json
from battles.paths import RunPaths
from oof import table as oof_table
from stages import table

WINNERS = ("winner_model_a", "winner_model_b", "winner_tie")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A table of 300 battles in which `leak` was made from the votes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["table", "--run", "r"])
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([2, 2, 2], 300)
    votes = np.array([rng.choice(3, p=row) for row in truth])
    given = pd.DataFrame(
        {"id": np.arange(300), "label": votes, "leak": votes * 5.0, "words_diff": rng.normal(size=300)}
    )
    given[[f"one_{winner}" for winner in WINNERS]] = truth
    return given


def _run(given: pd.DataFrame, features: list[str], allow_suspect: bool = False) -> None:
    given.to_parquet("given.parquet")
    params = RunPaths("r").params
    source = {"path": "given.parquet", "sha256": file_hash("given.parquet"), "bases": ["one"], "features": features}
    write_json(params / "inputs.json", {"table": source}, sealed=True)
    write_json(params / "run.json", {"allow_suspect": allow_suspect}, sealed=True)
    write_json(params / "prepare.json", {"settings": {"folds": 3, "seed": 1}, "hash": "0"}, sealed=True)
    table.main()


def test_features_made_from_the_votes_are_refused_unless_allowed(source: pd.DataFrame) -> None:
    with pytest.raises(BadInput, match=r"^FEATURES: column leak: .* or, if it was made .* give ALLOW_SUSPECT=1$"):
        _run(source, ["words_diff", "leak"])
    assert not Path("oof").exists()
    assert not Path("features").exists()
    _run(source, ["words_diff", "leak"], allow_suspect=True)
    assert read_table("features/r/train.parquet").columns.tolist() == ["id", "words_diff", "leak"]


def test_what_a_run_of_battles_would_have_written_is_there(source: pd.DataFrame) -> None:
    _run(source, ["words_diff"])
    folds = read_table("battles/r/folds.parquet")
    assert folds["id"].tolist() == source["id"].astype("str").tolist()
    predictions = oof_table.read("oof/r/one.parquet", folds)
    np.testing.assert_allclose(predictions.probabilities, source[[f"one_{winner}" for winner in WINNERS]])
    assert predictions.metadata["device"] == "elsewhere"
