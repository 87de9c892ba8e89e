"""Contributions add up to the prediction that they explain, whatever the stacker is made of."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.stacking.candidates import Fitted, fit
from models.stacking.contrasts import from_logits
from models.stacking.contributions import (
    Contributions,
    base_weights,
    contributions,
    measure,
    nested_contributions,
    shares,
    tree_gains,
)
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import Residual
from models.stacking.settings import CANDIDATES, MIX
from models.stacking.smoothing import Smoothed
from models.stacking.stacker import stack
from models.stacking.studies import StudyPlace
from models.stacking.two_classes import WithoutTie
from oof.probabilities import log_probabilities
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


def test_nested_contributions_are_of_the_model_of_the_fold(fitted: Fitted, fresh: Meta) -> None:
    """Models of different inputs: what one of them lacks adds nothing to the battles of its fold."""
    models = {0: fitted.models[MIX], 1: fitted.models["blend"], 4: fitted.models["handcrafted"]}
    folds = np.random.default_rng(2).choice([*models], len(fresh))
    found = nested_contributions(models, folds, fresh)
    for fold, model in models.items():
        at = np.flatnonzero(folds == fold)
        own = contributions(model, fresh.rows(at))
        assert set(own.names) < set(found.names) or fold == 0
        for place, name in enumerate(found.names):
            expected = own.values[:, own.names.index(name)] if name in own.names else 0.0
            np.testing.assert_allclose(found.values[at, place], np.broadcast_to(expected, (len(at), 2)), atol=1e-9)
    logits = np.stack([models[int(fold)].logits(fresh.rows(np.array([row])))[0] for row, fold in enumerate(folds[:40])])
    _check(Contributions(found.names, found.values[:40]), logits)


def test_no_vote_is_in_what_explains_its_own_battle(tmp_path: Path) -> None:
    """A forest's leaves hold the votes that it was grown on: the one of the battle's fold has others."""
    data = battles(400)
    nested = stack(data, QUICK, tmp_path / "study.journal")
    forests = {fold: one.models["forest"] for fold, one in nested.outer.items()}
    found = nested_contributions(forests, data.folds, data.meta)
    _check(found, log_probabilities(nested.probabilities["forest"]))
    remembered = contributions(nested.final.models["forest"], data.meta)
    votes = (data.labels == 0).astype(float) - (data.labels == 1)
    of_vote = [np.corrcoef(one.values.sum(axis=1)[:, 0], votes)[0, 1] for one in (found, remembered)]
    assert of_vote[1] > of_vote[0] + 0.2


def test_what_matters_contributes_and_what_does_not_hardly_does(fitted: Fitted, fresh: Meta) -> None:
    sizes = shares(contributions(fitted.models[MIX], fresh))
    assert next(iter(sizes)) == "good"
    assert sizes["good"] > sizes["weak"]
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
