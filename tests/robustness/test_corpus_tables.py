"""Every malformed table of predictions made elsewhere ends in one line, every good one in the run's tables."""

from pathlib import Path

import pytest

from battles.files import read_table
from oof.table import read
from tests.robustness.corpus_tables import tables
from tests.robustness.stages_in_process import RUN, TABLE, call, check_refusal, resolve, snapshot

TABLES = tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    case = TABLES[name]
    Path(case.file).write_bytes(case.raw)
    for kind in ("train", "folds"):
        path = Path("battles", RUN, f"{kind}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"of an earlier call")
    before = snapshot(Path())
    words = ("--table", case.file, "--bases", case.bases, "--features", case.features)
    outcome = resolve("--profile", "table", *words)
    if outcome.code == 0:
        outcome = call(TABLE)
    if case.good:
        assert outcome.code == 0, outcome
        folds = read_table(Path("battles", RUN, "folds.parquet"))
        for base in case.bases.split(","):
            assert read(Path("oof", RUN, f"{base}.parquet"), folds).covered.all()
    else:
        check_refusal(outcome, case.file, "BASES", "base ", "FEATURES")
        assert {path: raw for path, raw in snapshot(Path()).items() if path in before} == before
        assert not Path("oof").exists()
