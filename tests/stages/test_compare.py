"""`make compare` on runs as the steps leave them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from battles.files import read_json, read_metadata, read_table, write_json, write_table
from battles.folds import fold_hash, make_folds
from battles.sample import generate
from battles.schema import labels
from battles.settings import Sample
from oof import table
from oof.metrics import accuracy, log_loss
from stages import compare
from tests.robustness.stages_in_process import STEPS, Outcome, call, check_refusal, resolve

SETTINGS = (
    "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.trees=10 stack.workers=1 stack.clean=false tfidf.bits=12"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `r`, `unsure` (its stack is half as sure, 7 trials) and `other` (of another split)."""
    folder = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        generate(Sample(train=150, test=10, seed=3)).train.to_csv("train.csv", index=False)
        outcomes = [resolve("--profile", "cpu", "--train", "train.csv", "--overrides", SETTINGS)]
        outcomes += [
            call(STEPS[name][0], *STEPS[name][1]) for name in ("prepare", "features", "base", "pairs", "stack")
        ]
        assert all(outcome.code == 0 for outcome in outcomes), outcomes
        for room in ("battles", "oof"):
            for run in ("unsure", "other"):
                shutil.copytree(f"{room}/r", f"{room}/{run}")
        folds = read_table("battles/r/folds.parquet")
        values = table.read("oof/r/stack.parquet", folds).probabilities
        _write_stack("unsure", folds, values / 2 + 1 / 6)
        stamp = Path("battles/unsure/params/stack.json")
        changed = read_json(stamp, sealed=True)
        changed["settings"]["trials"] = 7
        write_json(stamp, changed, sealed=True)
        battles = read_table("battles/r/train.parquet")
        split = make_folds(battles, 3, seed=99)
        metadata = read_metadata("battles/r/folds.parquet") | {"fold_hash": fold_hash(split)}
        write_table("battles/other/folds.parquet", split, metadata)
        write_table("battles/other/train.parquet", battles, metadata)
        _write_stack("other", split, values)
    return folder


def _write_stack(run: str, folds: pd.DataFrame, values: object) -> None:
    path = f"oof/{run}/stack.parquet"
    table.write(path, folds, {table.MEAN: values}, read_metadata(path))  # type: ignore[dict-item]


def _compare(made: Path, runs: str) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        patch.setenv("ARENA_RUNS", runs)
        return call(compare.main)


def test_two_runs_stand_side_by_side(made: Path) -> None:
    outcome = _compare(made, "r, unsure")
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    assert lines[0].startswith("150 battles, 3 classes, fold hash ")
    assert "to first" in lines[1]
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:4]}
    folds = read_table(made / "battles/r/folds.parquet")
    votes = labels(read_table(made / "battles/r/train.parquet"))
    found = {run: table.read(made / f"oof/{run}/stack.parquet", folds) for run in ("r", "unsure")}
    for run, cells in rows.items():
        values = found[run].probabilities
        assert float(cells[0]) == pytest.approx(log_loss(values, votes), abs=5e-5)
        assert float(cells[4]) == pytest.approx(accuracy(values, votes), abs=5e-5)
    seconds = [read_metadata(made / f"oof/r/{name}.parquet") for name in ("tfidf", "stack")]
    total = sum(one["train_seconds"] + one["inference_seconds"] for one in seconds)
    assert float(rows["r"][-1]) == pytest.approx(total, abs=0.06)
    assert rows["r"][2:4] == ["0.0000", "0.0000"]
    assert float(rows["unsure"][2]) == pytest.approx(float(rows["unsure"][0]) - float(rows["r"][0]), abs=1.1e-4)
    assert ["stack.trials", "1", "7"] in [line.split() for line in lines]
    assert all(len(line) <= 120 for line in lines)


def test_runs_of_different_splits_are_refused(made: Path) -> None:
    said = check_refusal(_compare(made, "r,unsure,other"), "RUNS: other has another split than r")
    assert "prepare.seed" in said


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ("", "RUNS: ''; name two or more different runs"),
        ("r", "name two or more"),
        ("r,r", "name two or more"),
        ("r,none", "RUNS: there is no run 'none'"),
        ("r,../up", "RUN: '../up' must be letters"),
    ],
)
def test_what_cannot_be_compared_is_refused(made: Path, runs: str, expected: str) -> None:
    check_refusal(_compare(made, runs), expected)


def test_a_run_without_a_stack_says_what_to_do(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy/oof/unsure/stack.parquet").unlink()
    assert "run `make stack` first" in check_refusal(_compare(tmp_path / "copy", "r,unsure"), "stack.parquet")
    assert json.loads((made / "battles/unsure/params/stack.json").read_text())["settings"]["trials"] == 7
