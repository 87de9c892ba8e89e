from pathlib import Path

import numpy as np
import pandas as pd

from battles.files import write_table
from models.stacking.inputs import NestedRows, TrainingInputs, training_inputs
from models.stacking.inputs import test_inputs as read_test_inputs
from models.stacking.meta_features import make_meta
from oof.nested import write_pairs
from oof.table import MEAN, PLAIN, SWAPPED, write, write_test
from tests.models.stacking.battles import battles

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
    bases = {"base": tmp_path / "base.parquet"}
    training = training_inputs(bases, tmp_path / "features.parquet", FOLDS, np.array([0, 1, 2, 0]))
    test = read_test_inputs({"base": tmp_path / "base.test.parquet"}, tmp_path / "features.parquet", FOLDS["id"])
    assert np.array_equal(training.probabilities["base"], variants[MEAN])
    for found in (training.data.meta, test):
        values = dict(zip(found.disagreement.even.names, found.disagreement.even.values.T, strict=True))
        assert set(values) == {"base_position_tilt", "base_order_gap"}
        for column in values.values():
            assert (column[[1, 2]] == 0).all()
            assert (column[[0, 3]] != 0).all()


def test_battles_that_a_base_does_not_cover_are_left_out_of_everything(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name, missing in (("one", []), ("two", [1, 3])):
        values = generator.dirichlet([1, 1, 1], 4)
        values[missing] = np.nan
        stamp = {"train_seconds": 3.0, "inference_seconds": 0.5} if name == "one" else {"train_seconds": None}
        write(tmp_path / f"{name}.parquet", FOLDS, {MEAN: values}, stamp)
    columns = pd.DataFrame({"id": IDS, "words": np.arange(4.0)})
    write_table(tmp_path / "features.parquet", columns, {"swap": {"words": "same"}})
    bases = {name: tmp_path / f"{name}.parquet" for name in ("one", "two")}
    training = training_inputs(bases, tmp_path / "features.parquet", FOLDS, np.array([0, 1, 2, 0]))
    assert training.covered.tolist() == [True, False, True, False]
    assert len(training.data) == len(training.probabilities["one"]) == 2
    assert training.data.labels.tolist() == [0, 2]
    assert training.data.groups is not None
    assert training.data.groups.tolist() == ["a", "c"]
    assert training.data.meta.features.even.values[:, 0].tolist() == [0, 2]
    assert training.seconds == {"one": 3.5}
    everything = training.of_all(training.probabilities["one"])
    assert np.isnan(everything).all(axis=1).tolist() == [False, True, False, True]
    left_out, few, missing = training.notes()
    assert left_out == "2 of 4 battles are left out, as their folds were not run by every base"
    assert few.startswith("warning: 2 battles are too few")
    assert missing.startswith(
        "warning: no battle has the vote winner_model_b; its probability is a guess of about 1 in 5"
    )


def test_enough_battles_of_all_classes_are_worth_no_note() -> None:
    data = battles(200)
    assert TrainingInputs(data, {}, np.ones(200, dtype=bool), {}, data.rows).notes() == []
    fewer = data.rows(np.arange(199))
    assert len(TrainingInputs(fewer, {}, np.ones(199, dtype=bool), {}, fewer.rows).notes()) == 1


def test_outside_of_a_fold_stand_nested_rows_and_inside_of_it_the_plain_ones(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    ids = list("abcdef")
    folds = pd.DataFrame({"id": ids, "fold": [0, 1, 2, 0, 1, 2], "group": ids})
    plain = {name: generator.dirichlet([1, 1, 1], 6) for name in ("cheap", "dear")}
    for name, values in plain.items():
        write(tmp_path / f"{name}.parquet", folds, {MEAN: values}, {})
    pairs = generator.dirichlet([1, 1, 1], (3, 6))
    numbers = folds["fold"].to_numpy()
    for fold in range(3):
        pairs[fold, numbers == fold] = np.nan
    write_pairs(tmp_path / "cheap.pairs.parquet", folds, pairs, {})
    columns = pd.DataFrame({"id": ids, "words": np.arange(6.0), "strength_diff": np.arange(6.0)})
    write_table(tmp_path / "features.parquet", columns, {"swap": {"words": "same", "strength_diff": "negate"}})
    outside = [pd.DataFrame({"id": folds["id"][numbers != fold], "without": fold}) for fold in range(3)]
    learnt = pd.concat(outside, ignore_index=True).assign(strength_diff=100.0 + np.arange(12))
    write_table(tmp_path / "nested.parquet", learnt, {})

    bases = {name: tmp_path / f"{name}.parquet" for name in plain}
    votes = np.array([0, 1, 2, 0, 1, 2])
    nested = NestedRows.read({"cheap": tmp_path / "cheap.pairs.parquet"}, tmp_path / "nested.parquet", folds)
    training = training_inputs(bases, tmp_path / "features.parquet", folds, votes, nested=nested)
    without = training_inputs(bases, tmp_path / "features.parquet", folds, votes)
    assert np.array_equal(training.data.meta.logs, without.data.meta.logs)
    for fold in range(3):
        rest = numbers != fold
        rows = training.outside(fold)
        assert np.array_equal(rows.labels, votes[rest])
        expected = make_meta({"cheap": pairs[fold, rest], "dear": plain["dear"][rest]})
        assert np.array_equal(rows.meta.logs, expected.logs)
        assert np.array_equal(
            rows.meta.features.odd.values[:, 0], learnt.loc[learnt["without"] == fold, "strength_diff"]
        )
        assert np.array_equal(rows.meta.features.even.values[:, 0], np.arange(6.0)[rest])
        assert np.array_equal(without.outside(fold).meta.logs, without.data.meta.logs[:, rest])
