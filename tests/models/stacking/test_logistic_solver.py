from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from battles.errors import BadInput
from battles.swap import swap_probabilities
from models.stacking import logistic_solver
from models.stacking.contrasts import from_logits, to_logits
from models.stacking.logistic import Regression, Strength, choose_strength
from models.stacking.logistic_solver import Linear, Scaler, newton
from models.stacking.meta_features import Block, Parts, make_meta
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles


def _objective(coefficients: np.ndarray, lead: np.ndarray, tie: np.ndarray, penalties: np.ndarray, labels: np.ndarray):
    width = lead.shape[1]
    logits = to_logits(lead @ coefficients[:width], tie @ coefficients[width:])
    chosen = softmax(logits)[np.arange(len(labels)), labels]
    return -np.log(chosen).sum() + 0.5 * (penalties * coefficients**2).sum()


def test_lead_and_tie_are_the_two_freedoms_of_centred_logits() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 3))
    np.testing.assert_allclose(softmax(to_logits(*from_logits(logits))), softmax(logits), atol=1e-12)


def test_newton_ends_where_the_gradient_vanishes() -> None:
    rng = np.random.default_rng(1)
    lead, tie, labels = rng.normal(size=(200, 4)), rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    penalties = rng.uniform(0.1, 5, 7)
    found = newton(lambda rows: (lead[rows], tie[rows]), penalties, np.zeros((200, 3)), labels)
    gradient = approx_fprime(found, _objective, 1e-6, lead, tie, penalties, labels)
    assert np.abs(gradient).max() < 1e-2


def test_without_penalty_it_is_scikit_learns_multinomial_regression() -> None:
    rng = np.random.default_rng(2)
    columns = rng.normal(size=(400, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(columns @ rng.normal(size=(3, 3)))])
    design = np.hstack([columns, np.ones((400, 1))])
    found = newton(lambda rows: (design[rows], design[rows]), np.zeros(8), np.zeros((400, 3)), labels)
    reference = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(columns, labels)
    mine = softmax(to_logits(design @ found[:4], design @ found[4:]))
    np.testing.assert_allclose(mine, reference.predict_proba(columns), atol=1e-4)


def test_rows_in_chunks_give_what_they_give_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels

    def logits() -> np.ndarray:
        return Regression.fit(meta, labels, Strength(20.0), features=True).logits(meta)

    at_once = logits()
    monkeypatch.setattr(logistic_solver, "CHUNK", 77)
    np.testing.assert_allclose(logits(), at_once, atol=1e-9)


def test_separable_votes_do_not_diverge() -> None:
    column = np.linspace(-1, 1, 60)[:, None]
    labels = np.where(column[:, 0] > 0, 0, 1)
    found = newton(
        lambda rows: (column[rows], np.ones((60, 1))[rows]), np.array([1e-3, 0.0]), np.zeros((60, 3)), labels
    )
    assert np.isfinite(found).all()


def test_a_symmetric_regression_exchanges_with_the_battles() -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels
    tied = Regression.fit(meta, labels, Strength(20.0, symmetric=True), features=True)
    np.testing.assert_allclose(swap_probabilities(tied.logits(meta.exchanged())), tied.logits(meta), atol=1e-10)


def test_a_huge_penalty_leaves_the_offset() -> None:
    data = battles(300)
    meta, labels = data.meta, data.labels
    model = Regression.fit(meta, labels, Strength(1e12), features=False)
    np.testing.assert_allclose(softmax(model.logits(meta)), softmax(model.pool.logits(meta)), atol=1e-3)


def test_scaler_clips_standardises_and_drops_constants() -> None:
    rng = np.random.default_rng(4)
    columns = np.column_stack([rng.standard_t(1.2, 2000), np.full(2000, 3.0)])
    scaler = Scaler.fit(columns, odd=False)
    scaled = scaler.transform(columns)
    assert scaled[:, 0].std() == pytest.approx(1)
    assert np.abs(scaled[:, 1]).max() == 0
    assert np.abs(scaler.transform(columns * 1e6)[:, 0]).max() < 30
    odd = Scaler.fit(columns, odd=True)
    np.testing.assert_array_equal(odd.transform(-columns), -odd.transform(columns))


def test_other_columns_than_those_of_the_fit_are_refused() -> None:
    odd, even = Block(("x",), np.array([[0.0], [1.0], [2.0]])), Block(("y",), np.array([[1.0], [0.0], [3.0]]))
    model = Linear.fit(Parts(odd, even), np.array([0, 1, 2]), np.zeros((3, 3)), 1.0, False)
    with pytest.raises(BadInput, match="columns"):
        model.logits(Parts(even, odd), np.zeros((3, 3)))


def test_useless_features_are_penalised_more_than_useful_ones() -> None:
    data = battles(600)
    useful = choose_strength(data, True, (False,), 600)
    given, _ = raw_battles(600)
    rng = np.random.default_rng(0)
    for i in range(30):
        given["features"][f"noise_{i}"] = rng.normal(size=600)
        given["swap"][f"noise_{i}"] = "negate"
    noisy = replace(data, meta=make_meta(**given))
    assert choose_strength(noisy, True, (False,), 600).penalty > useful.penalty
    one_fold = replace(data, folds=np.zeros(600))
    assert choose_strength(one_fold, True, (True, False), 600) == Strength(symmetric=True)


def test_softmax_survives_large_logits() -> None:
    assert np.allclose(softmax(np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])), [[1, 0, 0], [1 / 3] * 3])
