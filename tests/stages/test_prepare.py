"""The first two stages: the sample's files, the checks on both inputs before anything is written, the split."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import file_hash, read_metadata, read_table, write_json
from battles.folds import fold_hash, make_folds
from battles.reading import read_battles
from battles.sample import generate
from battles.settings import Prepare, Sample
from stages import prepare, sample
from stages.common import guarded

SETTINGS = Sample(train=120, test=30, seed=1)
OUTPUTS = ("train.parquet", "test.parquet", "folds.parquet")


def stamp(name: str, value: object) -> None:
    path = Path("battles/try/params", f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value, sealed=True)


def inputs(train: str, test: str | None) -> None:
    """As `stages.params` stamps them."""
    train_source, test_source = ({"path": path, "sha256": _sha256(path)} for path in (train, test or ""))
    stamp("inputs", {"train": train_source, "table": None})
    stamp("test", {"test": test and test_source})


def _sha256(path: str) -> str:
    return file_hash(path) if Path(path).is_file() else "0" * 64


def run() -> None:
    """The stage as make calls it: first for the test battles, where there are some, then for the voted ones."""
    arguments = list(sys.argv)
    if json.loads(Path("battles/try/params/test.json").read_text())["test"]:
        sys.argv = [*arguments, "--test"]
        prepare.main()
    sys.argv = arguments
    prepare.main()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a run `try` with the sample's files and all stamps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage", "--run", "try"])
    data = generate(SETTINGS)
    data.train.to_csv("train.csv", index=False)
    data.test.to_csv("test.csv", index=False)
    stamp("sample", {"settings": SETTINGS.model_dump(), "hash": "s"})
    stamp("prepare", {"settings": Prepare(folds=4).model_dump(), "hash": "p"})
    inputs("train.csv", "test.csv")
    return tmp_path / "battles/try"


def test_battles_and_split_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    train = read_battles("train.csv", voted=True)
    pd.testing.assert_frame_equal(read_table(folder / "train.parquet"), train)
    pd.testing.assert_frame_equal(read_table(folder / "test.parquet"), read_battles("test.csv", voted=False))
    folds = read_table(folder / "folds.parquet")
    pd.testing.assert_frame_equal(folds, make_folds(train, 4, Prepare().seed))
    metadata = read_metadata(folder / "folds.parquet")
    assert metadata["fold_hash"] == fold_hash(folds)
    assert metadata["source_sha256"] == file_hash("train.csv")
    assert read_metadata(folder / "test.parquet")["source_sha256"] == file_hash("test.csv")
    out = capsys.readouterr().out
    assert "train: 120 battles" in out
    assert "test: 30 battles" in out
    assert len(out.splitlines()) <= 6


def test_without_a_test_file_there_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs("train.csv", None)
    run()
    assert not (folder / "test.parquet").exists()
    assert (folder / "folds.parquet").exists()
    assert "TEST=" in capsys.readouterr().out


def test_another_test_file_leaves_the_voted_battles_alone(folder: Path) -> None:
    run()
    voted = {name: (folder / name).stat().st_mtime_ns for name in ("train.parquet", "folds.parquet")}
    read_battles("test.csv", voted=False).head(3).to_csv("few.csv", index=False)
    inputs("train.csv", "few.csv")
    sys.argv = [*sys.argv, "--test"]
    prepare.main()
    assert len(read_table(folder / "test.parquet")) == 3
    assert {name: (folder / name).stat().st_mtime_ns for name in voted} == voted


def test_ids_in_both_files_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs("train.csv", "train.csv")
    run()
    assert "note: 120 ids" in capsys.readouterr().out
    assert "winner_tie" not in read_table(folder / "test.parquet").columns


def test_bad_input_in_either_file_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = Path("test.csv").read_text()
    Path("test.csv").write_text(good + good.splitlines()[-1] + "\n")
    with pytest.raises(SystemExit) as ended:
        guarded(run)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: test.csv: row 31, id ")
    assert error.count("\n") == 1
    assert not any((folder / name).exists() for name in OUTPUTS)


def test_too_many_folds_write_nothing(folder: Path) -> None:
    generate(SETTINGS).train.head(40).to_csv("train.csv", index=False)
    inputs("train.csv", None)
    stamp("prepare", {"settings": Prepare(folds=50).model_dump(), "hash": "p"})
    with pytest.raises(BadInput, match=r"^prepare\.folds: 50"):
        prepare.main()
    assert not any((folder / name).exists() for name in OUTPUTS)


def test_the_sample_is_written_as_user_files(folder: Path) -> None:
    sample.main()
    data = generate(SETTINGS)
    source = folder / "source"
    assert (source / "train.csv").read_bytes() == Path("train.csv").read_bytes()
    assert (source / "test.csv").read_bytes() == Path("test.csv").read_bytes()
    pd.testing.assert_frame_equal(read_table(source / "truth.parquet"), data.truth, check_dtype=False)
    own = {kind: {"path": f"battles/try/source/{kind}.csv", "sha256": None} for kind in ("train", "test")}
    stamp("inputs", {"train": own["train"], "table": None})
    stamp("test", {"test": own["test"]})
    run()
    assert read_metadata(folder / "train.parquet")["source_sha256"] == file_hash(source / "train.csv")


def test_few_battles_and_a_class_without_a_vote_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert "warning: 120 voted battles; from fewer than 200" in capsys.readouterr().out
    train = generate(Sample(train=300, test=10, seed=2)).train
    train.to_csv("train.csv", index=False)
    inputs("train.csv", "test.csv")
    run()
    assert "warning" not in capsys.readouterr().out
    train[train["winner_model_b"] == 0].to_csv("train.csv", index=False)
    inputs("train.csv", "test.csv")
    run()
    assert "warning: no battle has the vote winner_model_b;" in capsys.readouterr().out


def test_two_classes_are_said_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = generate(Sample(train=300, test=10, seed=2)).train
    train[train["winner_tie"] == 0].to_csv("train.csv", index=False)
    inputs("train.csv", "test.csv")
    for asked, ties in (("auto", len(train[train["winner_tie"] == 0]) < 200), (False, False), (True, True)):
        stamp("prepare", {"settings": Prepare(folds=4, ties=asked).model_dump(), "hash": "p"})
        run()
        out = capsys.readouterr().out
        assert ("classes: two, as no voted battle is a tie" in out) == (not ties)
        assert ("warning: no battle has the vote winner_tie" in out) == ties
        assert read_metadata(folder / "folds.parquet")["ties"] is ties
    train.to_csv("train.csv", index=False)
    inputs("train.csv", "test.csv")
    stamp("prepare", {"settings": Prepare(folds=4, ties=False).model_dump(), "hash": "p"})
    with pytest.raises(BadInput, match=r"^prepare\.ties: false, but \d+ of 300 voted battles are ties"):
        prepare.main()


@pytest.mark.parametrize(("file", "variable"), [("train.csv", "TRAIN"), ("test.csv", "TEST")])
@pytest.mark.parametrize("when", ["before", "while it is read", "while it is read, and back"])
def test_a_file_that_changes_after_it_was_stamped_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, variable: str, when: str
) -> None:
    """The stamp's hash goes into every key: other battles under it would pass as those."""
    good = Path(file).read_bytes()
    other = generate(SETTINGS.model_copy(update={"seed": 2}))
    changed = getattr(other, file.removesuffix(".csv")).to_csv(index=False).encode()

    def read(path: str, voted: bool, format: str, count: Callable[[int], None]) -> pd.DataFrame:
        if path == file:
            Path(file).write_bytes(changed)
        battles = read_battles(path, voted, format=format)
        if path == file and when.endswith("back"):
            Path(file).write_bytes(good)
        return battles

    if when == "before":
        Path(file).write_bytes(changed)
    else:
        monkeypatch.setattr(prepare, "read_battles", read)
    with pytest.raises(BadInput, match=f"^{variable}: {file} has changed since this call of make began; .* again$"):
        run()
    assert not (folder / file.replace(".csv", ".parquet")).exists()
    monkeypatch.setattr(prepare, "read_battles", read_battles)
    inputs("train.csv", "test.csv")  # the next call stamps what is there now
    run()
    expected = read_battles(file, voted=variable == "TRAIN")
    pd.testing.assert_frame_equal(read_table(folder / file.replace(".csv", ".parquet")), expected)
