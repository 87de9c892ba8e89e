"""Learning curves of a finished run: of all battles they are the run's own figures, and the report shows them."""

import json
from pathlib import Path

import numpy as np
import pytest

from battles.files import read_table
from battles.paths import RunPaths
from battles.schema import labels
from oof import table
from oof.metrics import row_losses
from report.inputs import read
from stages import learning, report, report_extras
from tests.robustness.stages_in_process import RUN, STEPS, call, finished_run

SETTINGS = "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 stack.trees=10 stack.workers=1 tfidf.bits=12"
BEFORE_REPORT = [name for name in STEPS if name not in ("predict", "predict stack", "submit", "report")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curves")
    finished_run(folder, SETTINGS, seed=3, steps=BEFORE_REPORT)
    return folder


def test_of_all_battles_a_curve_is_the_run_itself(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    paths = RunPaths(RUN)
    inputs = read(paths, ["tfidf"])
    plans = learning.plans(RUN, report_extras.training_inputs(inputs, ["tfidf"]), ["tfidf"])
    counted: list[int] = []
    texts, regression = learning.measured(plans, 45, counted.append)
    assert sum(counted) == 45
    assert sum(unit > 0 for unit in counted) > 5
    votes = labels(read_table(paths.train_battles))
    own = table.read(paths.predictions("tfidf"), inputs.folds).probabilities
    assert list(texts.curve.losses) == ["tfidf alone", "tfidf and handcrafted columns"]
    assert texts.curve.rows.tolist() == list(range(90))
    # What `make oof-tfidf` fitted on everything outside of a fold is fitted here again.
    assert texts.curve.losses["tfidf alone"][-1] == pytest.approx(row_losses(own, votes), rel=1e-6)
    assert not np.allclose(texts.curve.losses["tfidf alone"][0], row_losses(own, votes), rtol=1e-3)
    assert list(regression.curve.losses) == ["stacker's regression, bases as they are"]
    assert all(np.isfinite(values).all() for values in regression.curve.losses.values())


def test_the_report_holds_them_and_many_texts_are_not_read_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr(learning, "MOST_TEXTS", 89)
    assert call(report.main).code == 0
    figures = json.loads(Path("report", RUN, "metrics.json").read_text())["learning"]
    assert [list(one["models"]) for one in figures] == [["stacker's regression, bases as they are"]]
    assert "TF-IDF is not fitted again, as there are more than 89 battles" in figures[0]["fixed"]
    page = Path("report", RUN, "index.html").read_text(encoding="utf-8")
    assert 'id="learning"' in page
    # Of a run of somebody's own battles those of the sample and of its backbones say nothing.
    assert list(report_extras.settings(RUN, ["tfidf"])) == ["prepare", "features", "stack", "tfidf"]
