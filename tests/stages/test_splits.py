"""`make stack SPLITS=n`, and the call that it makes of each further split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_json, read_table
from battles.schema import WINNERS
from oof.metrics import log_loss
from stages import splits, start
from stages.remembered import Call
from tests.project import copy_project
from tests.robustness.stages_in_process import RUN, TABLE, call, check_refusal, resolve

SETTINGS = "prepare.folds=2 stack.trials=1 stack.rounds=2 stack.bag=1 stack.trees=10 stack.workers=1"


def test_a_split_is_the_same_call_with_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENA_WORKERS", "3")
    call = Call("cpu", "a b.csv", "test.csv", "wsdm", "stack.trials=2 prepare.seed=4", allow_suspect="1", texts="no")
    assert splits.variables_of(call, 5) == {
        "PROFILE": "cpu",
        "TRAIN": "a b.csv",
        "FORMAT": "wsdm",
        "SET": "stack.trials=2 prepare.seed=5",
        "ALLOW_SUSPECT": "1",
        "WORKERS": "3",
    }


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Predictions of 90 rows by two bases, and votes drawn from them."""
    rng = np.random.default_rng(5)
    truth = rng.dirichlet([2.0, 2.0, 2.0], 90)
    columns = {"id": np.arange(90), "label": [rng.choice(3, p=row) for row in truth]}
    for base in ("one", "two"):
        noisy = truth * rng.lognormal(sigma=0.5, size=truth.shape)
        noisy /= noisy.sum(axis=1, keepdims=True)
        columns |= {f"{base}_{name}": noisy[:, place] for place, name in enumerate(WINNERS)}
    return pd.DataFrame(columns)


def test_further_splits_are_runs_of_their_own_and_their_mean_is_written(table: pd.DataFrame, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    table.to_parquet(project.folder / "given.parquet")
    said = project.made(
        "stack",
        "RUN=r",
        "SPLITS=2",
        "TABLE=given.parquet",
        "BASES=one,two",
        f"SET=prepare.seed=8 {SETTINGS}",
    )
    figures = read_json(project.folder / "oof/r/splits.json", sealed=True)
    assert figures["seeds"] == [8, 9]
    tables = [read_table(project.folder / f"oof/{run}/stack.parquet") for run in ("r", "r.split-9")]
    assert not np.array_equal(tables[0]["fold"], tables[1]["fold"])
    for place, found in enumerate(tables):
        expected = log_loss(found[list(WINNERS)].to_numpy(), table["label"].to_numpy())
        assert figures["models"]["stack"]["splits"][place] == pytest.approx(expected)
    assert f"{figures['models']['stack']['mean']:.4f}" in said


def test_folds_of_the_tables_own_are_refused(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARENA_RUN", RUN)
    monkeypatch.setenv("ARENA_SPLITS", "2")
    table.assign(fold=np.arange(90) % 2).to_parquet("given.parquet")
    made = resolve("--profile", "table", "--table", "given.parquet", "--bases", "one,two"), call(TABLE)
    assert [outcome.code for outcome in made] == [0, 0], made
    check_refusal(call(splits.main), "SPLITS: given.parquet has folds of its own")


def test_splits_without_the_stack_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN": RUN, "SPLITS": "2", "GOALS": "report"}.items():
        monkeypatch.setenv(f"ARENA_{name}", value)
    check_refusal(call(start.main), "SPLITS: 2 is given without its target")


@pytest.mark.parametrize("text", ["0", "21", "-1", "two", "1.5"])
def test_a_wrong_number_of_splits_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARENA_SPLITS", text)
    with pytest.raises(BadInput, match=r"SPLITS: .*give how many"):
        splits.split_count()
