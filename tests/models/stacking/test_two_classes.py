"""Battles without ties: what the stacker says is what a two-class stacker would."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from battles.swap import swap_probabilities
from models.calibration import Calibration
from models.stacking import serialization
from models.stacking.blend import optimal_blend
from models.stacking.candidates import fit
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.settings import CANDIDATES, STACK
from models.stacking.smoothing import few_votes, smoothed, smoothed_logits
from models.stacking.stacker import leave_one_out, stack
from models.stacking.studies import StudyPlace
from models.stacking.two_classes import WithoutTie, without_tie
from oof.metrics import log_loss
from oof.probabilities import softmax, without_ties
from tests.models.stacking.battles import QUICK, raw_battles


def two_classes(rows: int, seed: int = 0) -> tuple[dict[str, np.ndarray], Level1Data]:
    """The bases' probabilities and the level-1 data of about `rows` battles, none a tie."""
    given, labels = raw_battles(2 * rows, seed)
    kept = np.flatnonzero(labels < 2)[:rows]
    bases = {name: without_ties(values[kept]) for name, values in given["probabilities"].items()}
    meta = make_meta(bases, {}, given["features"].iloc[kept].reset_index(drop=True), given["swap"])
    return bases, Level1Data(meta, labels[kept], np.arange(len(kept)) % 5, ties=False)


def test_no_candidate_gives_a_tie_anything_and_all_are_saved(tmp_path: Path) -> None:
    _, data = two_classes(300)
    nested = stack(data, QUICK, tmp_path / "study.journal")
    assert set(nested.probabilities) == {*CANDIDATES, STACK}
    for values in nested.probabilities.values():
        assert (values[:, 2] == 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    losses = {name: log_loss(values, data.labels) for name, values in nested.probabilities.items()}
    shares = np.bincount(data.labels) / len(data)
    assert losses["prior"] == pytest.approx(-(shares * np.log(shares)).sum(), abs=5e-3)
    assert losses[STACK] < losses["best_base"] < losses["prior"]
    assert all(np.isfinite(loss) for loss in nested.final.inner.values())
    serialization.save(tmp_path / "saved", nested.final.models, nested.shipped, {})
    fresh = two_classes(100, seed=4)[1].meta
    for name, model in nested.final.models.items():
        assert isinstance(model, WithoutTie)
        np.testing.assert_array_equal(serialization.load(tmp_path / "saved", name).logits(fresh), model.logits(fresh))


def test_symmetric_candidates_exchange_with_the_battles(tmp_path: Path) -> None:
    _, data = two_classes(200)
    fitted = fit(data, QUICK.model_copy(update={"symmetric": True}), StudyPlace(tmp_path / "journal", "all"))
    fresh = two_classes(100, seed=8)[1].meta
    for name, model in fitted.models.items():
        back = swap_probabilities(softmax(model.logits(fresh.exchanged())))
        np.testing.assert_allclose(back, softmax(model.logits(fresh)), atol=1e-6, err_msg=name)


def test_the_blend_is_the_one_of_two_classes() -> None:
    """The slow reference: weights of log-odds and a constant, by the log loss of A against B alone."""
    bases, data = two_classes(400)
    odds = np.stack([np.log(values[:, 0] / values[:, 1]) for values in bases.values()], axis=1)
    wins = data.labels == 0

    def loss(x: np.ndarray) -> float:
        p = expit(odds @ x[:2] + x[2])
        return float(-np.log(np.where(wins, p, 1 - p)).mean())

    best = minimize(loss, np.array([0.5, 0.5, 0.0]), method="L-BFGS-B", bounds=[(0, None), (0, None), (None, None)])
    pool = smoothed(optimal_blend(data.meta, data.labels, symmetric=False), data.labels, ties=False)
    assert log_loss(softmax(pool.logits(data.meta)), data.labels) == pytest.approx(best.fun, abs=1e-5)


def test_a_calibration_without_ties_is_the_one_of_two_classes() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=400)
    wins = rng.random(400) < expit(1.7 * scores)
    calibration = Calibration.fit(scores, np.empty((400, 0)), np.where(wins, 0, 1))
    best = minimize(lambda x: -np.log(np.where(wins, expit(x[0] * scores), expit(-x[0] * scores))).mean(), [1.0])
    found = without_ties(calibration.probabilities(scores, np.empty((400, 0))))
    np.testing.assert_allclose(found[:, 0], expit(best.x[0] * scores), atol=2e-3)


def test_few_votes_are_smoothed_by_the_rule_of_two_classes() -> None:
    labels = np.array([0] * 7 + [1] * 3)
    logits = np.tile(np.log([0.7, 0.3, 1e-9]), (10, 1))
    np.testing.assert_allclose(softmax(smoothed_logits(logits, labels, ties=False))[0], [8 / 12, 4 / 12, 0], atol=1e-6)
    assert few_votes(np.repeat([0, 1], 50))
    assert not few_votes(np.repeat([0, 1], 50), ties=False)


def test_the_tie_is_gone_and_the_lead_stays() -> None:
    logits = np.random.default_rng(0).normal(0, 20, (50, 3))
    found = softmax(without_tie(logits))
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found, without_ties(softmax(logits)), atol=1e-12)


def test_rows_of_a_data_set_know_that_there_are_no_ties_and_bases_are_compared_without() -> None:
    bases, data = two_classes(300)
    assert not data.rows(np.arange(10)).ties
    assert not next(data.splits())[1].ties
    found = leave_one_out(bases, data.labels, data.folds, None, QUICK, ties=False)
    assert set(found) == {"good", "weak"}
    assert found["good"]["change"] > max(found["weak"]["change"], 0.03)
    # Ties that are possible and never occur make next to no difference.
    assert leave_one_out(bases, data.labels, data.folds, None, QUICK)["good"]["change"] == pytest.approx(
        found["good"]["change"], abs=0.02
    )
