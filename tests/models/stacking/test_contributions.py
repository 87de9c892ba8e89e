"""Contributions add up to the prediction that they explain, whatever the stacker is made of."""

import numpy as np
import pandas as pd
import pytest

from models.stacking.candidates import Fitted, fit
from models.stacking.contrasts import from_logits
from models.stacking.contributions import Contributions, base_weights, contributions, measure, shares, tree_gains
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import Residual
from models.stacking.settings import CANDIDATES, MIX
from models.stacking.smoothing import Smoothed
from models.stacking.studies import StudyPlace
from models.stacking.two_classes import WithoutTie
from tests.models.stacking.battles import QUICK, battles


@pytest.fixture(scope="module", params=[True, False])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    settings = QUICK.model_copy(update={"symmetric": request.param})
    journal = tmp_path_factory.mktemp("contributions") / "study.journal"
    return fit(battles(600, orders=True, bias=0.3), settings, StudyPlace(journal, "all battles"))


@pytest.fixture(scope="module")
def fresh() -> Meta:
    return battles(700, seed=8, orders=True).meta


def _check(found: Contributions, logits: np.ndarray) -> None:
    for side, expected in enumerate(from_logits(logits)):
        np.testing.assert_allclose(found.values[:, :, side].sum(axis=1), expected, atol=1e-6)


@pytest.mark.parametrize("name", CANDIDATES)
def test_contributions_sum_to_the_logits(fitted: Fitted, fresh: Meta, name: str) -> None:
    model = fitted.models[name]
    found = contributions(model, fresh)
    _check(found, model.logits(fresh))
    smoothed = Smoothed(model, 400)
    _check(contributions(smoothed, fresh), smoothed.logits(fresh))
    tieless = WithoutTie(smoothed)
    _check(contributions(tieless, fresh), tieless.logits(fresh))


def test_what_matters_contributes_and_what_does_not_hardly_does(fitted: Fitted, fresh: Meta) -> None:
    sizes = shares(contributions(fitted.models[MIX], fresh))
    assert next(iter(sizes)) == "good"
    assert sizes["good"] > sizes["weak"]
    # What kernels make of it is not in its own share.
    assert sizes["gap"] > 1.5 * sizes["length"]


def test_gains_of_trees_are_shares_and_of_inputs_that_contribute(fitted: Fitted, fresh: Meta) -> None:
    assert tree_gains(fitted.models["regression"], fresh.bases) == {}
    trees = fitted.models["handcrafted"]
    gains = tree_gains(trees, fresh.bases)
    assert sum(gains.values()) == pytest.approx(1)
    assert set(gains) <= set(contributions(trees, fresh).names)
    # What is never split on contributes nothing.
    sizes = shares(contributions(trees, fresh))
    assert all(sizes[name] == 0 for name, gain in gains.items() if gain == 0)
    assert isinstance(trees, Residual)
    splits = pd.concat([booster.trees_to_dataframe() for booster in trees.boosters]).dropna(subset="split_gain")
    expected = splits.groupby(splits["split_feature"].map(lambda column: measure(column, fresh.bases)))[
        "split_gain"
    ].sum()
    for name, gain in (expected / expected.sum()).items():
        assert gains[name] == pytest.approx(gain, rel=1e-4)
    assert tree_gains(WithoutTie(Smoothed(trees, 400)), fresh.bases) == gains
    members = tree_gains(fitted.models[MIX], fresh.bases)
    assert sum(members.values()) == pytest.approx(1)


def test_base_weights_are_the_slopes_of_the_linear_part(fitted: Fitted, fresh: Meta) -> None:
    for name in ("blend", "regression", "features"):
        weights = base_weights(fitted.models[name], fresh.bases)
        found = contributions(fitted.models[name], fresh)
        for at, base in enumerate(fresh.bases):
            lead, tie = from_logits(fresh.logs[at])
            own = found.values[:, found.names.index(base)]
            # Columns are winsorised: in the middle of their range the slope is the weight.
            for side, (key, column) in enumerate((("lead", lead), ("tie", tie))):
                middle = np.abs(column - np.median(column)) < column.std()
                slope = np.polyfit(column[middle], own[middle, side], 1)[0]
                assert slope == pytest.approx(weights[base][key], abs=0.02), (name, base, key)


def test_columns_of_one_measure_are_one_input() -> None:
    bases = ("words", "llm")
    for column, expected in (
        ("llm_lead", "llm"),
        ("llm_tie", "llm"),
        ("words_diff", "words"),
        ("size_words_diff", "words"),
        ("lines_a-lines_b", "lines"),
        ("lines_a+lines_b", "lines"),
        ("margin_tie", "margin"),
        ("llm_order_gap", "llm_order_gap"),
        ("prompt_turns", "prompt_turns"),
    ):
        assert measure(column, bases) == expected
