"""Every malformed file of battles ends in one line, every odd but good one in its battles; what was there stays."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from battles.files import read_table
from tests.robustness.corpus import BattleFile, battle_files
from tests.robustness.corpus_rows import as_csv, rows
from tests.robustness.stages_in_process import RUN, STEPS, call, check_refusal, resolve, snapshot

FILES = battle_files()
SETTINGS = ("--profile", "cpu", "--overrides", "prepare.folds=2")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("battles", RUN)
    folder.mkdir(parents=True)
    for name in ("train", "folds", "test"):
        (folder / f"{name}.parquet").write_bytes(b"of an earlier call")


def _artefacts() -> dict[str, bytes]:
    return {name: raw for name, raw in snapshot(Path("battles")).items() if "/params/" not in name}


def _check(file: BattleFile, variable: str) -> None:
    Path(file.file).write_bytes(file.raw)
    shutil.rmtree(Path("battles", RUN, "params"), ignore_errors=True)  # a run keeps to the battles of its first call
    before = _artefacts()
    words = ("--train", file.file) if variable == "train" else ("--train", "voted.csv", "--test", file.file)
    outcome = resolve(*SETTINGS, *words)
    if outcome.code == 0:
        main, more = STEPS["prepare" if variable == "train" else "prepare test"]
        outcome = call(main, *more)
    if file.ids is None:
        check_refusal(outcome, file.file, "prepare.folds")
        assert _artefacts() == before
    else:
        assert outcome.code == 0, outcome
        assert read_table(Path("battles", RUN, f"{variable}.parquet"))["id"].tolist() == file.ids


@pytest.mark.parametrize("name", FILES)
def test_a_training_file(name: str) -> None:
    _check(FILES[name], "train")


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if "vote" not in name and "win" not in name])
def test_a_test_file(name: str) -> None:
    file = FILES[name]
    # What a test file need not have, or may have.
    if any(word in name for word in ("without model", "one prompt for all", "another header")):
        file = BattleFile(file.file, file.raw, [row["id"] for row in rows()])
    Path("voted.csv").write_bytes(as_csv(rows()))
    _check(file, "test")


def test_paths_that_are_no_files() -> None:
    Path("folder.csv").mkdir()
    Path("loop.csv").symlink_to("loop.csv")
    Path("gone.csv").symlink_to("nowhere")
    before = _artefacts()
    for path in ("folder.csv", "loop.csv", "gone.csv", "nowhere.csv", "", ".", "/", "/dev/null"):
        check_refusal(resolve(*SETTINGS, "--train", path), "TRAIN", f"{path}: a folder without a file of battles")
        assert _artefacts() == before


def test_good_texts_are_kept_to_the_letter() -> None:
    for name, file in FILES.items():
        if file.ids is not None and name.startswith("csv") and "quoted" not in name:
            _check(file, "train")
    wanted = pd.read_csv("train.csv", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    found = read_table(Path("battles", RUN, "train.parquet"))
    assert found["response_a"].tolist() == wanted["response_a"].tolist()
