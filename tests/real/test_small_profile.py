"""PROFILE=small for real: SmolLM2 from the package index, two stages on real battles, a loss that only learning gives.

Only `make test-real` runs it. The first stage learns from other people's battles, the second from one fold's; the files
are ../shared's, or REAL_TRAIN and REAL_FURTHER (several: with a colon between them). REAL_SET goes to SET, to try it
with less: then only that it works is checked.
"""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from battles.files import read_metadata, read_table
from battles.schema import labels
from oof import table
from oof.metrics import log_loss
from tests.project import ROOT, copy_project

SHARED = ROOT.parent / "shared" / "data"
TRAIN = Path(os.environ.get("REAL_TRAIN") or SHARED / "lmsys_dev_1488.csv")
FURTHER = [
    Path(name)
    for name in (
        os.environ.get("REAL_FURTHER") or f"{SHARED / 'tulu_human_eval.csv'}:{SHARED / 'vicuna80_human.csv'}"
    ).split(":")
]
LESS = os.environ.get("REAL_SET", "")
# Of fold 0 of the 1,488 battles: the vote frequencies have 1.0963.
LEARNT = 1.08
# The second stage goes on from the first, at a lower rate.
SECOND = "smollm2.init_from=models/runs/first/smollm2/fold-0/model smollm2.learning_rate=1e-4"

pytestmark = [
    pytest.mark.skipif(os.environ.get("REAL") != "1", reason="make test-real: a language model is trained"),
    pytest.mark.skipif(
        not all(path.exists() for path in (TRAIN, *FURTHER)),
        reason=f"needs battles, {TRAIN} and {', '.join(map(str, FURTHER))}: REAL_TRAIN=path REAL_FURTHER=path:path",
    ),
]


def test_a_real_language_model_learns_from_real_battles(tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    backbones = ROOT / "backbones"
    if backbones.is_dir():  # converted already: it is checked by hash
        shutil.copytree(backbones, tmp_path / "backbones")
    further = pd.concat([pd.read_csv(path, keep_default_na=False) for path in FURTHER], ignore_index=True)
    further.assign(id=further.index).to_csv(tmp_path / "further.csv", index=False)
    print(project.made("backbone", "NAME=smollm2"))
    first = (f"SET={LESS}",) if LESS else ()
    print(project.made("oof-smollm2", "PROFILE=small", "RUN=first", "TRAIN=further.csv", "FOLDS=0", *first))
    second = f"SET={SECOND} {LESS}"
    print(project.made("oof-smollm2", "PROFILE=small", "RUN=real", f"TRAIN={TRAIN.resolve()}", "FOLDS=0", second))
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
