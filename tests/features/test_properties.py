"""Properties of the feature columns that hold for battles with any Unicode in them."""

import numpy as np
import pandas as pd
from hypothesis import given, settings

from battles.schema import ID, to_json
from battles.swap import swap_battles, swap_columns
from features.settings import Features
from features.table import fit, handcrafted
from tests.battles.strategies import Battle, battles, table


@settings(derandomize=True, deadline=None, max_examples=40)
@given(rows=battles())
def test_columns_are_finite_and_do_what_they_declare_when_a_and_b_are_exchanged(rows: list[Battle]) -> None:
    frame = table(rows)
    plain, swap = handcrafted(frame)
    assert plain[ID].tolist() == frame[ID].tolist()
    values = plain.drop(columns=ID)
    assert set(values) == set(swap)
    assert (values.dtypes == np.float32).all()
    assert np.isfinite(values.to_numpy()).all()
    swapped = handcrafted(swap_battles(frame))[0].drop(columns=ID)
    pd.testing.assert_frame_equal(swap_columns(values, swap), swapped, check_exact=True)


@settings(derandomize=True, deadline=None, max_examples=10)
@given(rows=battles(min_size=8, max_size=12))
def test_strength_is_finite_and_exchanges_with_the_responses(rows: list[Battle]) -> None:
    # Few names, so that models meet again; a fold for each half of the rows.
    frame = table(rows).assign(
        model_a=[f"m{number % 3}" for number in range(len(rows))],
        model_b=[f"m{(number + 1) % 3}" for number in range(len(rows))],
        prompt=[to_json([str(number)]) for number in range(len(rows))],
    )
    folds = pd.DataFrame({ID: frame[ID], "fold": np.arange(len(rows)) % 2})
    train, _, swap, model = fit(frame, folds, Features(), jobs=1)
    test, _ = model.columns(frame, jobs=1)
    for features in (train, test):
        assert np.isfinite(features.drop(columns=ID).to_numpy()).all()
    swapped = fit(swap_battles(frame), folds, Features(), jobs=1).table
    expected = swap_columns(train.drop(columns=ID), swap)
    pd.testing.assert_frame_equal(expected, swapped.drop(columns=ID), rtol=1e-3, atol=1e-4)
