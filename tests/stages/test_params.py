import json
import os
import shutil
from pathlib import Path

import pytest

from battles.errors import BadInput
from battles.files import write_json
from stages import params

YAML = """
run: {bases: [tfidf, small]}
tfidf: {kind: tfidf}
small: {kind: transformer, backbone: "models/runs/{run}/tiny/one"}
profiles:
  user: {tiny: {backbones: {one: {architecture: llama}}}}
  own: {run: {source: sample, bases: [tfidf], jobs: 2, threads: 1}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(YAML)
    Path("train.csv").write_text("battles")


def _call(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, int]:
    """Runs the stage; modification times of the stamps, made old before so that a rewrite shows."""
    folder = Path("battles/r/params")
    for path in folder.glob("*"):
        os.utime(path, ns=(1, 1))
    monkeypatch.setattr("sys.argv", ["params", "--run", "r", *words])
    params.main()
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*")}


USER = ("--profile", "user", "--train", "train.csv")


def test_a_stamp_is_rewritten_only_when_its_section_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = _call(monkeypatch, *USER)
    assert {"tfidf.json", "small.json", "stack.json", "prepare.json", "inputs.json", "run.mk"} < first.keys()
    assert set(_call(monkeypatch, *USER).values()) == {1}
    changed = _call(monkeypatch, *USER, "--overrides", "tfidf.ridge=9 stack.trials=3")
    assert {name for name, time in changed.items() if time != 1} == {"tfidf.json", "stack.json", "call.json"}
    assert json.loads(Path("battles/r/params/tfidf.json").read_text())["settings"]["ridge"] == 9


def test_an_edited_file_of_battles_needs_another_run_and_a_touched_one_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _call(monkeypatch, *USER)
    os.utime("train.csv")
    assert set(_call(monkeypatch, *USER).values()) == {1}
    Path("train.csv").write_text("battles, still being written")
    _call(monkeypatch, *USER)  # nothing was made of the first ones
    Path("battles/r/train.parquet").touch()
    Path("train.csv").write_text("other battles")
    for words in (USER, ()):  # given again or remembered
        with pytest.raises(BadInput, match=r"TRAIN: train.csv holds other battles than those that run r was made from"):
            _call(monkeypatch, *words)


def test_folds_are_the_bases_business_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, *USER)
    changed = _call(monkeypatch, *USER, "--folds", "2,0,2")
    assert {name for name, time in changed.items() if time != 1} == {"tfidf.json", "small.json", "run.json", "run.mk"}
    assert json.loads(Path("battles/r/params/small.json").read_text())["folds"] == [0, 2]


def test_make_is_told_what_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, *USER)
    fragment = Path("battles/r/params/run.mk").read_text().splitlines()
    assert "NAMES := tfidf small" in fragment
    assert "NEEDS_small := models/runs/r/tiny/one/config.json" in fragment
    assert "HAS_TEST := " in fragment
    assert "SOURCE := user" in fragment
    assert "CLEAN := tfidf" in fragment
    assert "STACK_NEEDS := features/r/train.pairs.parquet oof/r/tfidf.pairs.parquet" in fragment
    _call(monkeypatch, *USER, "--overrides", "stack.clean=false")
    fragment = Path("battles/r/params/run.mk").read_text().splitlines()
    assert {"CLEAN := ", "STACK_NEEDS := "} < set(fragment)
    shutil.rmtree("battles")
    _call(monkeypatch, "--profile", "own")
    fragment = Path("battles/r/params/run.mk").read_text().splitlines()
    assert {"NAMES := tfidf", "JOBS := 2", "THREADS := 1", "HAS_TEST := yes", "SOURCE := sample"} < set(fragment)


def test_a_run_is_not_turned_into_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, "--profile", "own")
    with pytest.raises(BadInput, match="RUN: r was made from the embedded sample, this call is of TRAIN"):
        _call(monkeypatch, *USER)
    shutil.rmtree("battles")
    _call(monkeypatch, *USER)
    table = ("--profile", "user", "--table", "train.csv", "--bases", "one")
    with pytest.raises(BadInput, match=r"this call is of TABLE; .* make clean RUN=r"):
        _call(monkeypatch, *table)
    assert all(path.stat().st_mtime_ns == 1 for path in Path("battles/r/params").glob("*"))
    shutil.rmtree("battles")
    _call(monkeypatch, *table)
    assert "SOURCE := table" in Path("battles/r/params/run.mk").read_text()


def test_a_tiny_backbone_that_is_not_declared_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"small.backbone = 'models/runs/r/tiny/two', but tiny.backbones has only one"):
        _call(monkeypatch, *USER, "--overrides", "small.backbone=models/runs/{run}/tiny/two")
    assert not Path("battles").exists()


def test_a_student_needs_its_teachers_rows_of_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    student = "small.teacher.base=tfidf"
    _call(monkeypatch, *USER, "--folds", "1", "--overrides", student)
    fragment = Path("battles/r/params/run.mk").read_text().splitlines()
    assert "NEEDS_small := models/runs/r/tiny/one/config.json oof/r/tfidf.parquet" in fragment
    assert {"CLEAN := ", "STACK_NEEDS := "} < set(fragment)  # some folds only
    folds = {
        name: json.loads(Path(f"battles/r/params/{name}.json").read_text())["folds"] for name in ("small", "tfidf")
    }
    assert folds == {"small": [1], "tfidf": None}
    _call(monkeypatch, *USER, "--overrides", f"{student} small.teacher.clean=true")
    fragment = Path("battles/r/params/run.mk").read_text().splitlines()
    assert "NEEDS_small := models/runs/r/tiny/one/config.json oof/r/tfidf.parquet oof/r/tfidf.pairs.parquet" in fragment
    assert "CLEAN := tfidf" in fragment


def test_an_edited_file_of_extra_battles_changes_its_base_only(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*USER, "--overrides", "small.extra_train=extra.csv")
    with pytest.raises(BadInput, match=r"small.extra_train: extra.csv: no such file"):
        _call(monkeypatch, *words)
    Path("extra.csv").write_text("battles")
    _call(monkeypatch, *words)
    assert set(_call(monkeypatch, *words).values()) == {1}
    Path("extra.csv").write_text("other battles")
    assert {name for name, time in _call(monkeypatch, *words).items() if time != 1} == {"small.json"}


def test_models_where_an_earlier_version_kept_them_are_refused_with_the_move(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _call(monkeypatch, *USER)
    (tmp_path / "models/r/tfidf").mkdir(parents=True)
    (tmp_path / "models/r/stack").mkdir()
    with pytest.raises(ValueError, match=r"mkdir -p models/runs/r && mv models/r/stack models/r/tfidf models/runs/r/"):
        _call(monkeypatch, *USER)
    # Run as it is typed, the move is all that is needed.
    (tmp_path / "models/runs/r").mkdir(parents=True)
    for name in ("stack", "tfidf"):
        (tmp_path / "models/r" / name).rename(tmp_path / "models/runs/r" / name)
    _call(monkeypatch, *USER)


def test_a_package_of_the_runs_name_is_no_old_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for package in ("models/r/data", "models/r/__pycache__"):
        (tmp_path / package).mkdir(parents=True)
    (tmp_path / "models/r/data/__init__.py").touch()
    _call(monkeypatch, *USER)


def test_a_run_remembers_what_it_was_called_with(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("test.csv").write_text("battles to predict")
    first = (*USER, "--test", "test.csv", "--overrides", "tfidf.ridge=9 stack.trials=3")
    _call(monkeypatch, *first)
    # No variable, and any of them alone, change nothing.
    for words in ((), USER, ("--overrides", "stack.trials=3"), ("--test", "test.csv")):
        assert set(_call(monkeypatch, *words).values()) == {1}, words
    changed = _call(monkeypatch, "--overrides", "stack.trials=4")
    assert {name for name, time in changed.items() if time != 1} == {"stack.json", "call.json"}
    assert json.loads(Path("battles/r/params/tfidf.json").read_text())["settings"]["ridge"] == 9
    _call(monkeypatch, "--overrides", "tfidf.ridge=default")
    assert json.loads(Path("battles/r/params/tfidf.json").read_text())["settings"]["ridge"] == 2.0
    assert json.loads(Path("battles/r/params/stack.json").read_text())["settings"]["trials"] == 4
    # Only the folds are those of one call.
    _call(monkeypatch, "--folds", "1")
    _call(monkeypatch)
    assert json.loads(Path("battles/r/params/tfidf.json").read_text())["folds"] is None


def test_a_run_remembers_the_format_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("test.csv").write_text("battles to predict")
    _call(monkeypatch, *USER, "--test", "test.csv", "--format", "wsdm")
    for words in ((), ("--format", "wsdm"), ("--overrides", "")):
        assert set(_call(monkeypatch, *words).values()) == {1}, words
    stamps = {
        name: json.loads(Path(f"battles/r/params/{name}.json").read_text()) for name in ("inputs", "test", "tfidf")
    }
    assert stamps["inputs"]["train"]["format"] == stamps["test"]["test"]["format"] == "wsdm"
    assert stamps["tfidf"]["depends_on"]["battles"]["format"] == "wsdm"
    # A format that is found is the files' own business: it stands in no stamp, so no earlier run changes.
    _call(monkeypatch, "--format", "auto")
    assert "format" not in json.loads(Path("battles/r/params/inputs.json").read_text())["train"]
    with pytest.raises(BadInput, match=r"FORMAT: 'arena'; choose one of auto, competition, "):
        _call(monkeypatch, "--format", "arena")


def test_a_format_is_of_battles(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="FORMAT: wsdm is given without TRAIN"):
        _call(monkeypatch, "--profile", "own", "--format", "wsdm")
    with pytest.raises(BadInput, match="FORMAT: wsdm is given beside TABLE"):
        _call(monkeypatch, "--profile", "user", "--table", "train.csv", "--bases", "one", "--format", "wsdm")


def test_a_folder_of_files_is_one_input(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("shards").mkdir()
    for name in ("a.parquet", "b.parquet"):
        Path("shards", name).write_text(name)
    _call(monkeypatch, "--profile", "user", "--train", "shards")
    Path("shards/README.md").write_text("no battles")
    assert set(_call(monkeypatch).values()) == {1}
    Path("battles/r/train.parquet").touch()
    Path("shards/b.parquet").write_text("others")
    with pytest.raises(BadInput, match="TRAIN: shards holds other battles"):
        _call(monkeypatch)


def test_a_new_test_file_is_in_no_bases_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("test.csv").write_text("battles to predict")
    _call(monkeypatch, *USER, "--test", "test.csv")
    Path("new.csv").write_text("others")
    changed = _call(monkeypatch, "--test", "new.csv")
    assert {name for name, time in changed.items() if time != 1} == {"test.json", "call.json"}


def test_prepared_files_may_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, *USER)
    Path("train.csv").unlink()
    with pytest.raises(BadInput, match=r"TRAIN: train.csv: no such file"):
        _call(monkeypatch)
    Path("battles/r/train.parquet").touch()
    assert set(_call(monkeypatch).values()) == {1}


def test_finished_models_are_not_trained_again_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, *USER)
    depends_on = json.loads(Path("battles/r/params/tfidf.json").read_text())["depends_on"]
    for fold in range(2):
        record = {"depends_on": {**depends_on, "fold_hash": "x"}, "seconds": 5400.0}
        write_json(f"models/runs/r/tfidf/fold-{fold}/fold.json", record, sealed=True)
    expected = (
        r"tfidf: 2 finished models \(fold-0, fold-1\) would be trained again, about 3.0 h, because of "
        r"settings.ridge 2.0 -> 3.0; give AGAIN=1"
    )
    stamps = {path: path.read_bytes() for path in Path("battles/r/params").iterdir()}
    with pytest.raises(BadInput, match=expected):
        _call(monkeypatch, "--overrides", "tfidf.ridge=3")
    with pytest.raises(BadInput, match=r"because of battles.prepare.seed 20 -> 21"):
        _call(monkeypatch, "--overrides", "prepare.seed=21")
    assert {path: path.read_bytes() for path in Path("battles/r/params").iterdir()} == stamps
    _call(monkeypatch, "--overrides", "stack.trials=3")  # no model depends on it
    _call(monkeypatch, "--overrides", "tfidf.ridge=3", "--again", "1")
    assert json.loads(Path("battles/r/params/tfidf.json").read_text())["settings"]["ridge"] == 3


def test_a_damaged_stamp_is_written_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    _call(monkeypatch, *USER)
    for path in Path("battles/r/params").iterdir():
        if path.name != "call.json":
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            _call(monkeypatch)
            assert path.read_bytes() == whole
    Path("battles/r/params/call.json").write_text("{")
    with pytest.raises(BadInput, match=r"call.json: damaged, .* delete it and give them again"):
        _call(monkeypatch)
