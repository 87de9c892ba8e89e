"""PROFILE=small for real: SmolLM2 from the package index, one fold of real battles, a loss that only learning gives.

Only `make test-real` runs it. REAL_TRAIN is a file of battles (by default ../shared's 1,488 of the competition);
REAL_SET goes to SET, to try it with less: then only that it works is checked.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from battles.files import read_metadata, read_table
from battles.schema import labels
from oof import table
from oof.metrics import log_loss
from tests.project import ROOT, copy_project

TRAIN = Path(os.environ.get("REAL_TRAIN") or ROOT.parent / "shared" / "data" / "lmsys_dev_1488.csv")
LESS = os.environ.get("REAL_SET", "")
# Of fold 0 of the 1,488 battles: the vote frequencies have 1.0963.
LEARNT = 1.08

pytestmark = [
    pytest.mark.skipif(os.environ.get("REAL") != "1", reason="make test-real: a language model is trained"),
    pytest.mark.skipif(not TRAIN.exists(), reason=f"needs battles, {TRAIN}: REAL_TRAIN=path"),
]


def test_a_real_language_model_learns_from_real_battles(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    backbones = ROOT / "backbones"
    if backbones.is_dir():  # converted already: it is checked by hash
        shutil.copytree(backbones, tmp_path / "backbones")
    print(project.made("backbone", "NAME=smollm2"))
    changes = (f"SET={LESS}",) if LESS else ()
    print(project.made("oof-smollm2", "PROFILE=small", "RUN=real", f"TRAIN={TRAIN.resolve()}", "FOLDS=0", *changes))
    folds = read_table(tmp_path / "battles" / "real" / "folds.parquet")
    votes = labels(read_table(tmp_path / "battles" / "real" / "train.parquet"))
    path = tmp_path / "oof" / "real" / "smollm2.parquet"
    found, rows = table.read(path, folds, partial=True), (folds["fold"] == 0).to_numpy()
    assert (found.covered == rows).all()
    assert found.swapped is not None
    loss, about = log_loss(found.probabilities[rows], votes[rows]), read_metadata(path)
    print(json.dumps({"log_loss": loss, "device": about["device"], "seconds": about["train_seconds"]}))
    if not LESS:
        assert loss < LEARNT
