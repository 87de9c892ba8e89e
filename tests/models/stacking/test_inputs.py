from pathlib import Path

import numpy as np
import pandas as pd

from battles.files import write_table
from models.stacking.inputs import test_inputs as read_test_inputs
from models.stacking.inputs import training_inputs
from oof.table import MEAN, PLAIN, SWAPPED, write, write_test

IDS = list("abcd")
FOLDS = pd.DataFrame({"id": IDS, "fold": [0, 1, 0, 1], "group": IDS})


def test_a_battle_read_in_one_order_only_has_no_disagreement_of_the_orders(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    plain, swapped = generator.dirichlet([1, 1, 1], 4), generator.dirichlet([1, 1, 1], 4)
    swapped[[1, 2]] = np.nan
    variants = {MEAN: np.where(np.isnan(swapped), plain, (plain + swapped) / 2), PLAIN: plain, SWAPPED: swapped}
    write(tmp_path / "base.parquet", FOLDS, variants, {})
    write_test(tmp_path / "base.test.parquet", IDS, variants, {})
    write_table(
        tmp_path / "features.parquet", pd.DataFrame({"id": IDS, "words": np.arange(4.0)}), {"swap": {"words": "same"}}
    )
    meta, probabilities, covered = training_inputs(
        {"base": tmp_path / "base.parquet"}, tmp_path / "features.parquet", FOLDS
    )
    test = read_test_inputs({"base": tmp_path / "base.test.parquet"}, tmp_path / "features.parquet", FOLDS["id"])
    assert covered.all()
    assert np.array_equal(probabilities["base"], variants[MEAN])
    for found in (meta, test):
        values = dict(zip(found.disagreement.even.names, found.disagreement.even.values.T, strict=True))
        assert set(values) == {"base_position_tilt", "base_order_gap"}
        for column in values.values():
            assert (column[[1, 2]] == 0).all()
            assert (column[[0, 3]] != 0).all()
