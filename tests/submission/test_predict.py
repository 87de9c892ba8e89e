"""Predictions from the saved models alone: those of `make submission`, byte for byte, wherever the models lie."""

import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import read_json, write_json
from battles.reading import read_battles
from stages import predict_battles
from submission.predict import Predictor
from submission.table import to_csv
from tests.robustness.stages_in_process import RUN, Outcome, call

MODELS = Path("models", "runs", RUN)


@pytest.fixture
def alone(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the run's models, the test battles and what `make submission` made of them."""
    shutil.copytree(made / MODELS, tmp_path / MODELS)
    shutil.copy(made / "test.csv", tmp_path)
    shutil.copy(made / "submission" / RUN / "submission.csv", tmp_path / "expected.csv")
    for path in (tmp_path / MODELS).rglob("oof.parquet"):
        path.unlink()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predict(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Outcome:
    for name, value in {"RUN": RUN, "BATTLES": "test.csv", **variables}.items():
        monkeypatch.setenv(f"ARENA_{name}", value)
    return call(predict_battles.main)


def test_the_models_alone_give_the_submission(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = predict(monkeypatch)
    assert outcome.code == 0, outcome
    assert "submission/r/predictions.csv holds 20 rows" in outcome.err
    assert Path("submission/r/predictions.csv").read_bytes() == Path("expected.csv").read_bytes()
    assert predict(monkeypatch, OUT="here.csv").code == 0
    assert Path("here.csv").read_bytes() == Path("expected.csv").read_bytes()


def test_json_lines_come_in_and_predictions_go_out(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pd.read_csv("test.csv", dtype=str).to_dict("records")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(map(json.dumps, rows)).encode())))
    outcome = predict(monkeypatch, BATTLES="-")
    assert outcome.out == Path("expected.csv").read_text()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"id": 1}')))
    assert predict(monkeypatch, BATTLES="-").err.startswith("error: standard input: columns prompt, response_a")


def test_a_table_in_memory_gives_the_same(alone: Path) -> None:
    predictor = Predictor(MODELS)
    battles = read_battles("test.csv", voted=False)
    assert to_csv(predictor.predict(battles)) == Path("expected.csv").read_text()
    lists = battles.assign(**{name: battles[name].map(json.loads) for name in ("prompt", "response_a", "response_b")})
    assert to_csv(predictor.predict(lists.sample(frac=1, random_state=1)).sort_values("id")) == to_csv(
        predictor.predict(battles).sort_values("id")
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "a"}, "battles: row 2, id 'a', column id: row 1 has the same id"),
        ({"prompt": "no JSON"}, "battles: row 2, id 'b', column prompt: 'no JSON' is not JSON"),
        ({"response_b": [3]}, "battles: row 2, id 'b', column response_b: turn 1 is 3"),
        ({"response_a": float("nan")}, "battles: row 2, id 'b', column response_a: nan is not a list"),
    ],
)
def test_a_row_in_memory_that_is_no_battle_is_named(alone: Path, changes: dict[str, object], message: str) -> None:
    rows = [{"id": name, "prompt": ["x"], "response_a": ["y"], "response_b": np.array(["z", None])} for name in "ab"]
    rows[1] |= changes
    with pytest.raises(BadInput, match=re.escape(message)):
        Predictor(MODELS).predict(pd.DataFrame(rows))
    with pytest.raises(BadInput, match="battles: no battles"):
        Predictor(MODELS).predict(pd.DataFrame(rows).head(0))


def test_battles_of_any_text_are_predicted(alone: Path) -> None:
    odd = pd.DataFrame(
        {
            "id": ["a,b", '"', "-1", "語"],
            "prompt": [[None], [], ["شلام", None], ["\ud800"]],
            "response_a": [[None], [""], ["x" * 100_000], ["語" * 999]],
            "response_b": [["y"], [None, None], ["\0"], []],
        }
    )
    predicted = Predictor(MODELS).predict(odd)
    assert predicted["id"].tolist() == odd["id"].tolist()
    assert predicted.iloc[:, 1:].sum(axis=1).sub(1).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["tfidf/base.json", "tfidf/fold-1/model/weights.npz", "features/style.npz", "stack"])
def test_missing_or_damaged_models_are_refused(alone: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = MODELS / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:-9])
    outcome = predict(monkeypatch)
    assert outcome.code == 2
    assert f"{MODELS}/{name}" in outcome.err
    assert "and run `make stack` again, or copy the run's folder in models/runs/ whole" in outcome.err
    assert not Path("submission").exists()


def test_models_of_another_stage_of_the_run_are_refused(alone: Path) -> None:
    path = MODELS / "tfidf" / "base.json"
    record = read_json(path, sealed=True)
    del record["models"]["fold-2"]
    write_json(path, record, sealed=True)
    with pytest.raises(BadInput, match=r"tfidf/base.json: not what the stack was fitted on"):
        Predictor(MODELS)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RUN": "none"}, "there are no models of a run 'none'"),
        ({"RUN": ".."}, "names a folder"),
        ({"BATTLES": ""}, "BATTLES: not given"),
        ({"BATTLES": "no.csv"}, "no.csv: no such file"),
    ],
)
def test_what_is_not_there_is_said(
    alone: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    outcome = predict(monkeypatch, **variables)
    assert (outcome.code, message in outcome.err) == (2, True), outcome
