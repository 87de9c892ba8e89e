"""From nothing to a submission, as a user calls it, on a cut-down sample."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from battles.files import read_metadata, read_table
from battles.paths import RunPaths
from battles.schema import labels
from oof import table
from stages.report_extras import of_the_truth
from submission.predict import Predictor, limited_threads
from tests.project import Project, copy_project

SMALL = (
    "sample.train=240 sample.test=40 prepare.folds=3 tiny.backbones.roberta.steps=3 tiny.backbones.llama.steps=3 "
    "tiny.backbones.gemma2.steps=3 roberta.epochs=1 llama.epochs=1 gemma2.epochs=1 stack.trials=2 stack.rounds=20"
)
BASES = ("gemma2", "roberta", "llama", "tfidf")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return copy_project(tmp_path_factory.mktemp("project") / "clone")


@pytest.fixture(scope="module")
def said(project: Project) -> str:
    """What the first `make submission` printed."""
    return project.made("submission", f"SET={SMALL}")


def _submission(project: Project, run: str = "sample") -> pd.DataFrame:
    return pd.read_csv(project.folder / "submission" / run / "submission.csv", dtype={"id": str})


def _changed(project: Project, *words: str) -> set[str]:
    """The steps whose files a call of make wrote: `room/step`."""
    before = project.times()
    project.made(*words)
    after = project.times()
    changed = {path for path in after if after[path] != before.get(path)} | (before.keys() - after.keys())
    parts = (path.replace("models/runs/", "models/").split("/") for path in changed if "/params/" not in path)
    return {f"{part[0]}/{part[2].split('.')[0]}" for part in parts}


@pytest.mark.usefixtures("said")
def test_the_submission_is_what_the_competition_takes(project: Project) -> None:
    submission = _submission(project)
    test = pd.read_csv(project.folder / "battles/sample/source/test.csv", dtype=str)
    assert list(submission.columns) == ["id", "winner_model_a", "winner_model_b", "winner_tie"]
    assert submission["id"].tolist() == test["id"].tolist()
    values = submission.iloc[:, 1:].to_numpy()
    assert values.min() >= 1e-6
    assert np.abs(values.sum(axis=1) - 1).max() < 1e-8
    assert values.std(axis=0).min() > 0
    manifest = json.loads((project.folder / "submission/sample/manifest.json").read_text())
    assert manifest["submission"]["rows"] == 40
    assert {f"oof/sample/{name}.test.parquet" for name in BASES} < set(manifest["artefacts"])


def test_what_takes_seconds_comes_before_the_training_of_language_models(said: str) -> None:
    rows = re.findall(r"^(\S.*?) +(\d+\.\d) +\d+\.\d +\d+\.\d$", said[said.index("\nstep ") :], re.MULTILINE)
    began = {step: float(seconds) for step, seconds in rows}
    cheap = [began[step] for step in ("features", "base tfidf", "base tfidf pairs")]
    assert max(cheap) < min(began[f"base {name}"] for name in BASES if name != "tfidf")


def test_the_run_says_how_good_everything_is(project: Project, said: str) -> None:
    shown = {line.split()[0] for line in said.splitlines() if line}
    repeated = re.search(r"^not shown, as they repeat another: (.*)$", said, re.MULTILINE)
    shown |= {pair.split(" = ")[0] for pair in repeated[1].split(", ")} if repeated else set()
    assert {*BASES, "stack", "equal_blend", "regression", "booster"} <= shown
    gap = said[said.index("log loss on the sample's test battles") :]
    figures = {line.split()[0]: float(line.split()[1]) for line in gap.splitlines()[1:] if "% of the gap" in line}
    assert figures["Bayes-optimal"] < min(figures[name] for name in (*BASES, "submission", "prior"))
    assert set(figures) == {"prior", *BASES, "submission", "Bayes-optimal"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        votes = labels(read_table("battles/sample/train.parquet"))
        reported = of_the_truth(RunPaths("sample"), list(BASES), votes)
    assert {name: round(reported[name].loss, 4) for name in BASES} == {name: figures[name] for name in BASES}
    # The file's probabilities are rounded.
    assert reported["stack"].loss == pytest.approx(figures["submission"], abs=1e-4)
    metrics = json.loads((project.folder / "oof/sample/metrics.json").read_text())
    assert {"log_loss", "accuracy", "macro_f1", "seconds"} <= metrics["bases"]["tfidf"].keys()


@pytest.mark.usefixtures("said")
def test_every_out_of_fold_table_holds_the_contract(project: Project) -> None:
    folds = read_table(project.folder / "battles/sample/folds.parquet")
    for name in (*BASES, "stack"):
        path = project.folder / f"oof/sample/{name}.parquet"
        predictions = table.read(path, folds)
        assert predictions.covered.all()
        assert (predictions.plain is not None) == (name in ("gemma2", "roberta", "llama"))
        said_of_it = read_metadata(path)
        assert {"base", "backbone", "params_hash", "code_version", "libraries", "device"} <= said_of_it.keys()
    for name in BASES[:3]:
        assert (project.folder / f"models/runs/sample/{name}/fold-2/curve.csv").exists()


@pytest.mark.usefixtures("said")
def test_the_saved_models_of_every_kind_give_the_submission(project: Project) -> None:
    project.made("predict", "RUN=sample", "BATTLES=battles/sample/source/test.csv")
    room = project.folder / "submission/sample"
    assert (room / "predictions.csv").read_bytes() == (room / "submission.csv").read_bytes()
    (room / "predictions.csv").unlink()
    # Whatever ships: each base's own predictions are those of its test table, to the bit.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        battles, predictor = read_table("battles/sample/test.parquet"), Predictor("models/runs/sample")
        with limited_threads(predictor.threads, torch_too=True):
            for name in BASES:
                expected = table.read_test(f"oof/sample/{name}.test.parquet", battles["id"].tolist())
                found = predictor.variants(name, battles)
                np.testing.assert_array_equal(found[table.MEAN], expected.probabilities)
                if name != "tfidf":
                    np.testing.assert_array_equal(found[table.SWAPPED], expected.swapped)


@pytest.mark.usefixtures("said")
def test_a_bundle_of_language_models_predicts_under_its_clock(project: Project, tmp_path: Path) -> None:
    project.made("bundle", "RUN=sample")
    shutil.copy(project.folder / "battles/sample/source/test.csv", tmp_path)
    script = project.folder / "submission/sample/bundle/predict.py"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, str(script), "--input", str(tmp_path), "--hours", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 battles, expected log loss") == 3 * 3 * 2  # three bases, folds, two orders
    expected = (project.folder / "submission/sample/submission.csv").read_bytes()
    assert (tmp_path / "submission.csv").read_bytes() == expected
    shutil.rmtree(script.parent)


@pytest.mark.usefixtures("said")
def test_a_second_call_finds_nothing_to_do(project: Project) -> None:
    before = project.times()
    assert "up to date" in project.made("submission")  # the run remembers what it was called with
    assert project.times() == before


@pytest.mark.usefixtures("said")
def test_a_changed_section_reruns_what_reads_it_and_what_follows(project: Project) -> None:
    stack = {"models/stack", "oof/stack", "oof/metrics"}
    submit = {"submission/submission", "submission/manifest"}
    assert _changed(project, "submission", "SET=stack.trials=3") == stack | submit
    tfidf = {"models/tfidf", "oof/tfidf"}
    refused = project.refused("submission", "SET=tfidf.ridge=3")
    assert "tfidf: 6 finished models" in refused  # three folds, three pairs of folds
    assert "because of settings.ridge 2.0 -> 3.0; give AGAIN=1" in refused
    assert _changed(project, "submission", "SET=tfidf.ridge=3", "AGAIN=1") >= stack | tfidf
    assert _changed(project, "oof", "SET=llama.epochs=2", "AGAIN=1") == {"models/llama", "oof/llama"}


def _as_user(project: Project, folder: Path) -> list[str]:
    """Words that give the sample's own files as a user's, TF-IDF only, without its truth."""
    folder.mkdir()
    for name in ("train.csv", "test.csv"):
        (folder / name).write_bytes((project.folder / "battles/sample/source" / name).read_bytes())
    return [f"TRAIN={folder / 'train.csv'}", f"TEST={folder / 'test.csv'}", f"SET={SMALL} run.bases=[tfidf]"]


@pytest.mark.usefixtures("said")
def test_the_truth_never_reaches_a_model(project: Project, tmp_path: Path) -> None:
    project.made("submission", "RUN=seeing", f"SET={SMALL} run.bases=[tfidf]")
    said = project.made("submission", "RUN=blind", *_as_user(project, tmp_path / "blind"))
    assert not (project.folder / "battles/blind/source").exists()
    assert "Bayes" not in said
    pd.testing.assert_frame_equal(_submission(project, "seeing"), _submission(project, "blind"), check_exact=True)


@pytest.mark.usefixtures("said")
def test_other_battles_need_another_run_and_other_test_battles_no_training(project: Project, tmp_path: Path) -> None:
    words = ["RUN=edited", *_as_user(project, tmp_path / "edited")]
    project.made("oof", *words)
    assert _changed(project, "oof", "RUN=edited") == set()
    train, test = tmp_path / "edited" / "train.csv", tmp_path / "edited" / "test.csv"
    whole = train.read_bytes()
    pd.read_csv(train, dtype=str, keep_default_na=False).iloc[:-1].to_csv(train, index=False)
    assert "holds other battles than those that run edited was made from" in project.refused("oof", "RUN=edited")
    train.write_bytes(whole)
    pd.read_csv(test, dtype=str, keep_default_na=False).iloc[:-1].to_csv(test, index=False)
    before = {path: time for path, time in project.times().items() if path.endswith("fold.json")}
    assert _changed(project, "oof", "RUN=edited") == {"battles/test", "models/tfidf", "oof/tfidf"}
    after = project.times()
    assert all(after[path] == time for path, time in before.items())
    out_of_fold = project.folder / "oof/edited/tfidf.parquet"
    assert out_of_fold.stat().st_mtime_ns < (project.folder / "oof/edited/tfidf.test.parquet").stat().st_mtime_ns


@pytest.mark.usefixtures("said")
def test_without_test_battles_all_but_the_submission_works(project: Project, tmp_path: Path) -> None:
    train, _, overrides = _as_user(project, tmp_path / "alone")
    words = ["RUN=alone", train, overrides]
    assert "TEST: not given" in project.make("submission", *words).stderr
    page = project.folder / "report/alone/index.html"
    for _ in range(2):  # made, then up to date
        assert project.made("report", *words).splitlines()[-1] == f"open {page.resolve().as_uri()}"
    assert page.exists()
    assert (project.folder / "oof/alone/stack.parquet").exists()
    assert not list((project.folder / "oof/alone").glob("*.test.parquet"))
    assert not (project.folder / "submission/alone").exists()


@pytest.mark.usefixtures("said")
def test_some_folds_only_are_stacked_and_said(project: Project) -> None:
    words = ["RUN=partial", "FOLDS=0,2", f"SET={SMALL} run.bases=[tfidf]"]
    said = project.made("stack", *words)
    assert "battles are left out, as their folds were not run" in said
    folds = read_table(project.folder / "battles/partial/folds.parquet")
    for name in ("tfidf", "stack"):
        predictions = table.read(project.folder / f"oof/partial/{name}.parquet", folds, partial=True)
        assert np.array_equal(predictions.covered, folds["fold"].isin([0, 2]).to_numpy())
    assert project.made("oof-tfidf", *words).endswith("oof/partial/tfidf.parquet is up to date\n")


def _predictions(path: Path) -> list[str]:
    """A table of two honest bases and one that remembers the votes; the words that stack the honest ones."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.5, 1.5, 1.5], 400)
    votes = np.array([rng.choice(3, p=row) for row in truth])
    table = pd.DataFrame({"id": np.arange(400), "label": votes, "words_diff": truth[:, 0] - truth[:, 1]})
    winners = ("winner_model_a", "winner_model_b", "winner_tie")
    for name, weight in (("one", 0.8), ("two", 0.6)):
        mixed = weight * truth + (1 - weight) * rng.dirichlet([2, 2, 2], 400)
        table[[f"{name}_{winner}" for winner in winners]] = mixed
    table[[f"memory_{winner}" for winner in winners]] = 0.7 * truth + 0.3 * np.eye(3)[votes]
    table.loc[:9, [f"two_{winner}" for winner in winners]] = np.nan
    table.to_parquet(path)
    small = "SET=stack.trials=1 stack.rounds=20 prepare.folds=3"
    return ["stack", f"TABLE={path}", "BASES=one,two", "FEATURES=words_diff", "RUN=elsewhere", small]


def test_predictions_made_elsewhere_are_stacked(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    words = _predictions(tmp_path / "predictions.parquet")
    said = project.made(*words)
    assert "390 of 400 rows are covered by all of one, two; 1 features; 3 folds (new)" in said
    assert "nats lost by the optimal blend without a base: one +" in said
    stack = read_table(project.folder / "oof/elsewhere/stack.parquet")
    assert stack["id"].tolist() == [str(number) for number in range(10, 400)]
    metrics = json.loads((project.folder / "oof/elsewhere/metrics.json").read_text())
    assert metrics["candidates"]["stack"]["log_loss"] < metrics["candidates"]["prior"]["log_loss"] - 0.05
    assert set(metrics["leave_one_out"]) == {"one", "two"}
    assert _changed(project, *words) == set()
    # As the refusal of a damaged model says.
    (project.folder / "models/runs/elsewhere/stack/stack.json").unlink()
    assert _changed(project, *words) == {"models/stack", "oof/stack", "oof/metrics"}
    pd.testing.assert_frame_equal(read_table(project.folder / "oof/elsewhere/stack.parquet"), stack)

    suspect = [word.replace("BASES=one,two", "BASES=one,memory") for word in words]
    refusal = project.make(*suspect)
    assert refusal.returncode == 2
    assert "base memory: it is " in refusal.stderr
    assert "ALLOW_SUSPECT=1" in refusal.stderr
    project.made(*suspect, "ALLOW_SUSPECT=1")
    assert "needs battles" in project.make("oof", *words[1:]).stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stack", "TABLE=params.yaml"], "BASES: not given"),
        (["stack", "TABLE=params.yaml", "BASES=one", "TRAIN=train.csv"], "TRAIN: train.csv is given beside TABLE"),
        (["stack", "BASES=one"], "BASES: one is given without TABLE"),
        (["oof", "NPROC=two"], "NPROC: 'two'; give a number of processes"),
        (["oof-nope"], "no base model of that name"),
        (["oof", "PROFILE=huge"], "PROFILE: 'huge' is not in params.yaml"),
        (["oof", "RUN=../up"], "RUN: '../up' must be letters"),
        (["oof", "RUN=runs"], "RUN: 'runs' is the folder in models/"),
        (
            ["stack", "TABLE=params.yaml", "BASES=inputs", "RUN=t"],
            "base 'inputs' is there twice or is a name of the project's",
        ),
        (["oof", "SET=llama.epoch=1"], "llama.epoch = 1: Extra inputs are not permitted"),
        (["oof", "SET=run.bases=[stack]"], "base 'stack' is there twice or is a name of the project's own"),
        (["oof", "FOLDS=7"], "FOLDS: '7'; give numbers from 0 to 4"),
        (["oof", "PROFILE=cpu"], "TRAIN: not given"),
        (["oof", "PROFILE=cpu", "TRAIN=nowhere.csv"], "TRAIN: nowhere.csv: no such file"),
        (["submission", "TEST=test.csv"], "TEST: test.csv is given without TRAIN"),
        (["dashboard", "RUN=none"], "models/runs/none/stack/study.journal: no study yet"),
        (["clean", "RUN=.."], "RUN: '..' must be letters"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(tmp_path: Path, words: list[str], expected: str) -> None:
    project = copy_project(tmp_path / "clone")
    if words[0] == "oof-nope":
        project.made("prepare", f"SET={SMALL}")
    assert expected in project.refused(*words, *([f"SET={SMALL}"] if words[0] == "oof-nope" else []))


def test_a_broken_file_is_refused_with_its_row_and_nothing_written(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    (project.folder / "bad.csv").write_text(
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,x,y,"[""p""]","[""a""]","[""b""]",1,1,0\n'
    )
    result = project.make("oof", "PROFILE=cpu", "TRAIN=bad.csv")
    assert result.returncode == 2
    assert "bad.csv" in result.stderr
    assert "row 1" in result.stderr
    assert not list((project.folder / "battles").rglob("*.parquet"))


def test_two_processes_make_the_table_that_one_makes(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    for run, count in (("one", 1), ("two", 2)):
        project.made("oof-llama", f"RUN={run}", f"NPROC={count}", "FOLDS=0", f"SET={SMALL}")
    folds = read_table(project.folder / "battles/two/folds.parquet")
    alone, jointly = (table.read(project.folder / f"oof/{run}/llama.parquet", folds, True) for run in ("one", "two"))
    first = folds["fold"].to_numpy() == 0
    assert jointly.covered.tolist() == first.tolist()
    np.testing.assert_allclose(jointly.probabilities[first], alone.probabilities[first], atol=1e-3)
    record = json.loads((project.folder / "models/runs/two/llama/fold-0/fold.json").read_text())
    assert record["processes"] == 2
    refusal = project.make("oof-llama", "RUN=two", "NPROC=2", "LAUNCH=.venv/bin/python -m", f"SET={SMALL}")
    assert "NPROC: 2, but 1 processes were started" in refusal.stderr


def test_cleaning_takes_one_run_only(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    for run in ("one", "two"):
        project.made("prepare", f"RUN={run}", f"SET={SMALL}")
    project.made("clean", "RUN=one")
    assert not (project.folder / "battles/one").exists()
    assert (project.folder / "battles/two/train.parquet").exists()
    assert (project.folder / "battles/schema.py").exists()
