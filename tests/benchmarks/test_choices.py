"""What replaces a choice of the stack is fitted as the stack fits its own."""

import numpy as np
import pytest

from benchmarks.choices import BEST, FORESTS, KERNEL, PARAMS, Fold, replaced, report
from benchmarks.real_battles import Split
from models.stacking.level1_data import Level1Data
from tests.models.stacking.battles import QUICK, battles

FIRST, *_ = PARAMS


@pytest.fixture(scope="module")
def folds() -> tuple[list[Fold], Level1Data]:
    data = battles(300)
    split = Split(data, {fold: data.rows(data.folds != fold) for fold in range(2)})
    settings = QUICK.model_copy(update={"bag": 2})
    return [replaced(split, fold, settings) for fold in split.outside], data


def test_the_params_of_a_single_trial_give_the_trees_of_the_stack(folds: tuple[list[Fold], Level1Data]) -> None:
    for fold in folds[0]:
        for title in (FIRST, BEST):
            inner, outer = fold.others[title]["handcrafted"]
            np.testing.assert_allclose(inner, fold.recorded.inner["handcrafted"], atol=1e-9)
            np.testing.assert_allclose(outer, fold.recorded.outer["handcrafted"], atol=1e-9)


def test_other_params_forests_and_widths_predict_otherwise(folds: tuple[list[Fold], Level1Data]) -> None:
    for fold in folds[0]:
        for title in PARAMS:
            if title != FIRST:
                found = fold.others[title]["handcrafted"][1]
                assert np.abs(found - fold.recorded.outer["handcrafted"]).max() > 1e-4
        for title in FORESTS:
            assert np.abs(fold.others[title]["forest"][1] - fold.recorded.outer["forest"]).max() > 1e-4
        assert np.abs(fold.others[KERNEL]["kernel"][1]).max() > 0


def test_the_report_has_a_line_for_each_choice(folds: tuple[list[Fold], Level1Data]) -> None:
    held, data = folds
    start, *lines = report([held, held], data)
    assert start.startswith("as it is")
    assert [line[:68].rstrip() for line in lines] == [BEST, *PARAMS, *FORESTS, KERNEL]
    assert all(line.endswith("+0.0000 ± 0.0000") for line in lines[:2])
