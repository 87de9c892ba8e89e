"""One base's step: what its key holds, its teacher, its extra battles, whose predictions the test battles get."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.transformer.library_warnings import quiet

quiet()

from battles.errors import BadInput  # noqa: E402  # after the libraries are quiet
from battles.files import read_json, read_metadata, read_table  # noqa: E402
from battles.paths import RunPaths  # noqa: E402
from battles.sample import generate  # noqa: E402
from battles.schema import WINNERS  # noqa: E402
from battles.settings import Sample  # noqa: E402
from models.transformer import fold_mean  # noqa: E402
from models.transformer.data.teacher import teacher_probabilities  # noqa: E402
from models.transformer.settings import Teacher  # noqa: E402
from oof import table  # noqa: E402
from stages import base, params, predict, prepare  # noqa: E402
from tests.models.transformer.checkpoints import make_checkpoint  # noqa: E402

DATA = generate(Sample(train=50, test=10, seed=3))
YAML = """
run: {bases: [small, tfidf]}
prepare: {folds: 3}
tfidf: {kind: tfidf, bits: 10, chars: [], min_battles: 1}
small: {kind: transformer, backbone: "%s", max_length: 72, epochs: 1, batch_size: 20, lora: {rank: 2}, eval_battles: 0}
profiles: {user: {}}
"""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints"), "llama")


class Run:
    """A run `r` in the working folder; its steps are called as make calls them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        self.call(params.main, "--profile", "user", "--train", "train.csv", "--test", "test.csv")
        self.call(prepare.main, "--test")
        self.call(prepare.main)

    def call(self, main: object, *words: str) -> None:
        self.patch.setattr("sys.argv", ["stage", "--run", "r", *words])
        assert callable(main)
        main()

    def make(self, name: str, overrides: str = "", pairs: bool = False, again: bool = False) -> table.Predictions:
        """The base's out-of-fold table and, but for `pairs`, its predictions of the test battles."""
        self.call(params.main, "--overrides", overrides, *(["--again", "1"] if again else []))
        flags = [*(["--pairs"] if pairs else []), *(["--again"] if again else [])]
        self.call(base.main, "--name", name, *flags)
        if not pairs:
            self.call(predict.main, "--name", name)
        return table.read(Path(f"oof/r/{name}.parquet"), read_table("battles/r/folds.parquet"))

    def test(self) -> np.ndarray:
        ids = read_table("battles/r/test.parquet")["id"].tolist()
        return table.read_test("oof/r/small.test.parquet", ids).probabilities

    def trained(self) -> dict[str, int]:
        """When each model was finished."""
        return {path.parent.name: path.stat().st_mtime_ns for path in Path("models/runs/r/small").glob("*/fold.json")}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML % backbone)
    DATA.train.to_csv("train.csv", index=False)
    DATA.test.to_csv("test.csv", index=False)
    return Run(monkeypatch)


def test_the_best_fold_is_chosen_without_training_again_and_a_refit_is_one_more_model(run: Run) -> None:
    first = run.make("small").probabilities
    mean, trained = run.test(), run.trained()
    assert set(trained) == {"fold-0", "fold-1", "fold-2"}
    assert np.array_equal(run.make("small", "small.test_from=best small.checkpoint_minutes=1").probabilities, first)
    best = read_metadata("oof/r/small.test.parquet")["test_of"]
    rows = read_table(Path("models/runs/r/small", best.replace(" ", "-"), "test.parquet"))
    assert np.array_equal(run.test(), rows[table.columns(table.MEAN)].to_numpy())
    assert run.trained() == trained
    assert np.array_equal(run.make("small", "small.test_from=refit").probabilities, first)
    assert set(run.trained()) == {*trained, "refit"}
    assert all(run.trained()[fold] == time for fold, time in trained.items())
    assert not np.allclose(run.test(), mean)
    assert read_metadata("oof/r/small.test.parquet")["test_of"] == "refit"


def test_the_mean_of_the_adapters_predicts_where_it_says_what_the_folds_say(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run.make("small").probabilities
    mean, trained = run.test(), run.trained()
    # The heads of so small a model start far apart, and it is hardly trained: their mean is not near enough.
    monkeypatch.setattr(fold_mean, "TOLERANCE", 0.1)
    assert np.array_equal(run.make("small", "small.test_from=adapters").probabilities, first)
    said = capsys.readouterr().out
    assert "small: the mean of the adapters is 0.0" in said
    assert "it predicts" in said
    assert set(run.trained()) == {*trained, "adapters-0-1-2"}
    assert all(run.trained()[fold] == time for fold, time in trained.items())
    assert read_metadata("oof/r/small.test.parquet")["test_of"] == (
        "one model with the mean of the adapters of folds 0, 1, 2"
    )
    assert 0 < np.abs(run.test() - mean).mean() < 0.1
    record = read_json(Path("models/runs/r/small/base.json"), sealed=True)
    assert list(record["models"]) == ["adapters-0-1-2"]
    assert read_json(Path("models/runs/r/small/adapters-0-1-2/model/adapter_config.json"))["r"] == 6

    # Too far apart, and all folds predict as before.
    shutil.rmtree("models/runs/r/small/adapters-0-1-2")
    monkeypatch.setattr(fold_mean, "TOLERANCE", -1.0)
    assert np.array_equal(run.make("small", "small.test_from=adapters").probabilities, first)
    assert "so all folds predict" in capsys.readouterr().out
    assert read_metadata("oof/r/small.test.parquet")["test_of"] == "mean of folds 0, 1, 2"
    np.testing.assert_allclose(run.test(), mean, atol=1e-12)
    run.make("small", "small.test_from=adapters")
    assert "small adapters 0 1 2: already there" in capsys.readouterr().out


def test_a_second_stage_starts_each_fold_from_a_model_that_has_not_seen_its_prompts(run: Run, backbone: Path) -> None:
    """Of two bases of one run: the folds of the first are those of the second."""
    second = YAML.replace("[small, tfidf]", "[small, second, tfidf]") % backbone
    second += f"second: {{kind: transformer, backbone: '{backbone}', max_length: 72, epochs: 1, lora: {{rank: 2}}, "
    second += "eval_battles: 0, init_from: models/runs/r/small/fold-0/model}\n"
    Path("params.yaml").write_text(second)
    run.make("small")
    run.call(params.main)
    with pytest.raises(BadInput, match=r"fold-0/model has learnt from the prompts of .* battles of fold 1"):
        run.call(base.main, "--name", "second")
    assert not list(Path("models/runs/r/second").glob("fold-*"))
    own = "second.init_from=models/runs/r/small/fold-{fold}/model second.learning_rate=1e-30 second.weight_decay=0"
    started, first = run.make("second", own), run.make("small", own)
    np.testing.assert_allclose(started.probabilities, first.probabilities, atol=1e-6)


def test_a_new_test_file_is_predicted_by_the_models_that_are_there(run: Run) -> None:
    out_of_fold, trained = run.make("small").probabilities, run.trained()
    whole = run.test()
    DATA.test.iloc[::-1].head(4).to_csv("new.csv", index=False)
    run.call(params.main, "--test", "new.csv")
    run.call(prepare.main, "--test")
    run.call(predict.main, "--name", "small")
    assert run.trained() == trained
    np.testing.assert_allclose(run.test(), whole[::-1][:4], rtol=0, atol=1e-5)
    assert np.array_equal(run.make("small").probabilities, out_of_fold)
    assert run.trained() == trained


def test_a_students_folds_depend_on_its_teachers_rows(run: Run) -> None:
    with pytest.raises(BadInput, match=r"oof/r/tfidf.parquet: no such file; run `make oof-tfidf` first"):
        run.make("small", "small.teacher.base=tfidf")
    run.make("tfidf")
    student = run.make("small").probabilities
    trained = run.trained()
    run.make("small")
    assert run.trained() == trained
    with pytest.raises(BadInput, match=r"small: 3 finished models \(fold-0, .*because of teacher"):
        run.make("small", "tfidf.ridge=9", again=False)
    run.make("tfidf", "tfidf.ridge=9", again=True)
    again = run.make("small", again=True).probabilities
    assert not np.array_equal(student, again)
    assert all(run.trained()[fold] != time for fold, time in trained.items())
    clean = "small.teacher.clean=true"
    with pytest.raises(BadInput, match=r"tfidf.pairs.parquet: no such file"):
        run.make("small", clean, again=True)
    run.make("tfidf", pairs=True, again=True)
    assert len(list(Path("models/runs/r/tfidf").glob("pair-*/fold.json"))) == 3
    assert not np.array_equal(run.make("small", again=True).probabilities, again)


def test_extra_battles_are_read_checked_and_part_of_the_key(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    extra = DATA.train.head(12).assign(winner_model_a=0.5, winner_model_b=0.25, winner_tie=0.25)
    extra["prompt"] = [json.dumps([f"new {number}"]) for number in range(12)]
    extra.loc[0, "prompt"] = DATA.train["prompt"][0]
    plain = run.make("small").probabilities
    with pytest.raises(BadInput, match=r"small.extra_train: extra.parquet: no such file"):
        run.make("small", "small.extra_train=extra.parquet", again=True)
    extra.to_parquet("extra.parquet")
    learnt = run.make("small", "small.extra_train=extra.parquet", again=True).probabilities
    assert not np.array_equal(plain, learnt)
    assert len(learnt) == 50
    said = capsys.readouterr().out
    assert said.count("learns from 11 extra battles; 1 left out, as battles of the run have their prompts") == 3
    extra.assign(winner_model_a=0.25, winner_model_b=0.5).to_parquet("extra.parquet")
    assert not np.array_equal(run.make("small", "small.extra_train=extra.parquet", again=True).probabilities, learnt)
    extra.assign(winner_model_a=0.3).to_parquet("extra.parquet")
    with pytest.raises(BadInput, match=r"extra.parquet: row 1, id .* 0.3, 0.25, 0.25 sum to 0.8"):
        run.make("small", "small.extra_train=extra.parquet", again=True)


def test_further_battles_of_several_files_count_by_their_weights(run: Run) -> None:
    extra = DATA.train.head(20)
    extra = extra.assign(prompt=[json.dumps([f"new {number}"]) for number in range(len(extra))])
    extra.head(12).to_csv("one.csv", index=False)
    extra.tail(8).to_parquet("other.parquet")
    extra.to_csv("both.csv", index=False)
    alone = run.make("small", "small.extra_train=both.csv").probabilities
    files = 'small.extra_train=[{"path":one.csv,"weight":%s},{"path":other.parquet}]'
    # In the order of one file, and at the same weight, they are the same battles.
    assert np.array_equal(run.make("small", files % "1", again=True).probabilities, alone)
    less = run.make("small", files % "0.1", again=True).probabilities
    assert not np.allclose(less, alone, atol=1e-6)
    trained = run.trained()
    run.make("small", files % "0.1")
    assert run.trained() == trained
    with pytest.raises(BadInput, match=r"small.extra_train: gone.csv: no such file"):
        run.make("small", 'small.extra_train=[{"path":one.csv},{"path":gone.csv}]', again=True)
    extra.tail(7).to_parquet("other.parquet")
    with pytest.raises(BadInput, match=r"small: 3 finished models .*because of extra_train.sha256"):
        run.make("small", files % "0.1")


def test_a_teacher_may_be_a_file_and_several_are_their_mean(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.make("tfidf")
    folds = read_table("battles/r/folds.parquet")
    rows = table.read(Path("oof/r/tfidf.parquet"), folds).probabilities
    by_base = run.make("small", "small.teacher.base=tfidf small.teacher.weight=1").probabilities
    # In another order, beside battles that are not the run's.
    shuffled = np.random.default_rng(0).permutation(len(rows))
    known = pd.DataFrame(rows[shuffled], columns=list(WINNERS)).assign(id=folds["id"].to_numpy()[shuffled])
    other = pd.DataFrame([["unknown", 0.2, 0.3, 0.5]], columns=["id", *WINNERS])
    pd.concat([other, known]).to_csv("rows.csv", index=False)
    by_file = "small.teacher.base=null small.teacher.file=rows.csv small.teacher.shares=null"
    np.testing.assert_allclose(run.make("small", by_file, again=True).probabilities, by_base, atol=1e-6)
    known.assign(**dict.fromkeys(WINNERS, 1 / 3)).to_parquet("even.parquet")
    mean = (rows + 2 * np.full((len(rows), 3), 1 / 3)) / 3
    teacher = Teacher(base="tfidf", file=["rows.csv", "even.parquet"], shares=[1, 1, 4])
    np.testing.assert_allclose(teacher_probabilities(RunPaths("r"), teacher, folds)[1], mean, atol=1e-12)
    several = "small.teacher.base=[tfidf] small.teacher.file=[even.parquet] small.teacher.shares=[1,2]"
    taught = run.make("small", several, again=True).probabilities
    assert np.abs(taught - by_base).max() > 1e-4
    known.drop(index=3).to_csv("rows.csv", index=False)
    missing = rf"rows.csv: no probabilities for 1 of the run's 50 training battles, id {known['id'][3]} the first"
    with pytest.raises(BadInput, match=missing):
        run.make("small", by_file, again=True)
    known.assign(winner_tie=2.0).to_csv("rows.csv", index=False)
    with pytest.raises(BadInput, match=r"rows.csv: row 1 .*, its probabilities: .* give three probabilities that sum"):
        run.make("small", by_file, again=True)
    known.drop(columns="winner_tie").to_csv("rows.csv", index=False)
    with pytest.raises(BadInput, match=r"rows.csv: no column winner_tie; .*; give id, winner_model_a"):
        run.make("small", by_file, again=True)
    with pytest.raises(BadInput, match=r"small.teacher.file: gone.csv: no such file"):
        run.make("small", "small.teacher.file=gone.csv", again=True)


def test_without_ties_no_order_of_a_language_model_gives_them_anything(run: Run) -> None:
    both = run.make("small")
    DATA.train[DATA.train["winner_tie"] == 0].to_csv("sides.csv", index=False)
    run.call(params.main, "--run", "two", "--profile", "user", "--train", "sides.csv", "--test", "test.csv")
    run.call(params.main, "--run", "two", "--overrides", "prepare.ties=false")
    for main, words in ((prepare.main, ("--test",)), (prepare.main, ()), (base.main, ("--name", "small"))):
        run.call(main, "--run", "two", *words)
    run.call(predict.main, "--run", "two", "--name", "small")
    predicted = table.read(Path("oof/two/small.parquet"), read_table("battles/two/folds.parquet"))
    tested = table.read_test("oof/two/small.test.parquet", read_table("battles/two/test.parquet")["id"].tolist())
    for found in (predicted, tested):
        assert found.plain is not None
        assert found.swapped is not None
        for values in (found.probabilities, found.plain, found.swapped):
            assert (values[:, 2] == 0).all()
            assert values[:, 0].std() > 0
    assert (both.probabilities[:, 2] > 0).all()
    # The models themselves are those of three classes, so `prepare.ties` costs no training.
    trained = {path: path.stat().st_mtime_ns for path in Path("models/runs/two").rglob("fold.json")}
    run.call(params.main, "--run", "two", "--overrides", "prepare.ties=true")
    run.call(prepare.main, "--run", "two")
    run.call(base.main, "--run", "two", "--name", "small")
    assert {path: path.stat().st_mtime_ns for path in Path("models/runs/two").rglob("fold.json")} == trained
    folds = read_table("battles/two/folds.parquet")
    assert (table.read(Path("oof/two/small.parquet"), folds).probabilities[:, 2] > 0).all()


def test_soft_votes_are_refused_among_the_training_battles(run: Run) -> None:
    DATA.train.assign(winner_model_a=0.5, winner_model_b=0.5, winner_tie=0.0).to_csv("train.csv", index=False)
    with pytest.raises(BadInput, match=r"'0\.5' is not a vote"):
        run.call(prepare.main)
    assert pd.read_parquet("battles/r/train.parquet")["winner_tie"].dtype == np.int8
