from pathlib import Path

import optuna
import pytest

from models.stacking import journal
from models.stacking.studies import open_storage


def _study(path: Path, trials: int) -> optuna.Study:
    study = optuna.create_study(storage=open_storage(path), study_name="one", load_if_exists=True)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=trials)
    return study


def test_a_good_journal_is_left_alone_and_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    assert journal.repair(path, None) is None
    _study(path, 2)
    sealed, raw = journal.seal(path), path.read_bytes()
    assert journal.repair(path, sealed) is None
    assert path.read_bytes() == raw
    _study(path, 1)
    assert journal.repair(path, sealed) is None
    assert len(_study(path, 0).trials) == 3


def test_an_unfinished_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    _study(path, 2)
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    said = journal.repair(path, None)
    assert said is not None
    assert "unfinished" in said
    assert path.read_bytes() == raw[: raw[:-1].rfind(b"\n") + 1]
    assert len(_study(path, 1).trials) == 3


@pytest.mark.parametrize("kind", ["line", "flip", "shorter", "emptied", "bytes"])
def test_a_damaged_journal_is_put_aside(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "study.journal"
    _study(path, 2)
    raw, sealed = path.read_bytes(), journal.seal(path)
    lines = raw.splitlines(keepends=True)
    path.write_bytes(
        {
            "line": b"".join([lines[0], b"{\n", *lines[1:]]),
            "flip": raw.replace(b'"values":[0.', b'"values":[1.', 1),
            "shorter": b"".join(lines[:-1]),
            "emptied": b"",
            "bytes": b"\xff\xfe\n" + raw,
        }[kind]
    )
    assert path.read_bytes() != raw
    said = journal.repair(path, sealed)
    assert said == f"{path}: damaged; it is put aside as study.journal.damaged and its trials are made again"
    assert not path.exists()
    assert len(_study(path, 2).trials) == 2
