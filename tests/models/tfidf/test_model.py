from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from battles.schema import WINNERS, labels
from battles.swap import swap_battles, swap_probabilities
from models.tfidf import hashing
from models.tfidf.base_model import open_base
from models.tfidf.model import Differences, TfidfModel, _Ridge, _squared_idf, differences, fit
from models.tfidf.settings import Tfidf
from tests.features.battles import odd, styled

SETTINGS = Tfidf(bits=14)


def log_loss(probabilities: np.ndarray, votes: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(votes)), votes]).mean())


def prior_loss(votes: np.ndarray) -> float:
    shares = np.bincount(votes, minlength=3) / len(votes)
    return log_loss(np.tile(shares, (len(votes), 1)), votes)


@pytest.fixture(scope="module")
def model() -> TfidfModel:
    return fit(styled(500)[0], SETTINGS)


def test_exchanging_the_responses_exchanges_the_probabilities_exactly(model: TfidfModel) -> None:
    for battles in (styled(80, seed=4)[0], odd()):
        plain, swapped = model.predict(battles), model.predict(swap_battles(battles))
        np.testing.assert_array_equal(swap_probabilities(swapped), plain)


def test_training_on_exchanged_battles_gives_the_same_model(model: TfidfModel) -> None:
    battles, fresh = styled(500)[0], styled(50, seed=4)[0]
    np.testing.assert_allclose(fit(swap_battles(battles), SETTINGS).predict(fresh), model.predict(fresh), atol=1e-3)


def test_predictions_are_probabilities_and_better_than_the_prior(model: TfidfModel) -> None:
    fresh, _ = styled(400, seed=4)
    predicted = model.predict(fresh)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-12)
    assert log_loss(predicted, labels(fresh)) < prior_loss(labels(fresh)) - 0.05


def test_odd_texts_are_predicted(model: TfidfModel) -> None:
    assert np.isfinite(model.predict(odd())).all()
    assert model.predict(odd().head(0)).shape == (0, 3)


def test_shuffled_votes_stay_near_the_prior() -> None:
    battles, _ = styled(500)
    fresh, _ = styled(400, seed=4)
    battles[list(WINNERS)] = battles[list(WINNERS)].to_numpy()[np.random.default_rng(1).permutation(len(battles))]
    predicted = fit(battles, SETTINGS).predict(fresh)
    assert log_loss(predicted, labels(fresh)) > prior_loss(labels(fresh)) - 0.03
    assert np.abs(predicted[:, 0] - predicted[:, 1]).mean() < 0.1


def test_saved_model_predicts_the_same(model: TfidfModel, tmp_path: Path) -> None:
    fresh, _ = styled(40, seed=4)
    model.save(tmp_path / "model")
    loaded = TfidfModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(fresh), model.predict(fresh))
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".npz", ".json"}


def test_votes_of_a_fold_do_not_reach_its_predictions(tmp_path: Path) -> None:
    battles, folds = styled()
    number = folds["fold"].to_numpy()
    learn, held_out = np.flatnonzero(number != 0), np.flatnonzero(number == 0)
    changed = battles.copy()
    changed.loc[held_out, list(WINNERS)] = np.roll(changed.loc[held_out, list(WINNERS)].to_numpy(), 1, axis=1)
    fits = [open_base(SETTINGS, table, None)[0] for table in (battles, changed)]
    np.testing.assert_array_equal(*(one(0, learn, held_out, tmp_path).valid[""] for one in fits))


def test_a_fold_is_what_fitting_on_its_training_rows_gives(tmp_path: Path) -> None:
    battles, folds = styled()
    fresh, _ = styled(30, seed=4)
    number = folds["fold"].to_numpy()
    learn, held_out = np.flatnonzero(number != 1), np.flatnonzero(number == 1)
    fit_model, predict_test = open_base(SETTINGS, battles, fresh)
    result = fit_model(1, learn, held_out, tmp_path)
    alone = fit(battles.iloc[learn], SETTINGS)
    np.testing.assert_array_equal(result.valid[""], alone.predict(battles.iloc[held_out]))
    assert result.test is not None
    np.testing.assert_array_equal(result.test[""], alone.predict(fresh))
    np.testing.assert_array_equal(predict_test(tmp_path, len(held_out))[""], result.test[""])


def test_conjugate_gradients_solve_the_ridge_of_each_subset() -> None:
    rng = np.random.default_rng(2)
    grams = sparse.random(40, 200, density=0.2, format="csr", dtype=np.float32, rng=rng)
    gap = rng.normal(size=40)
    seen = Differences(grams, gap, np.zeros((40, 3)))
    importance, targets = _squared_idf(grams, Tfidf(bits=10, min_battles=1)), rng.choice([-1.0, 0, 1], 40)
    use = (rng.random((40, 2)) < 0.7).astype(np.float32)
    weights, gap_weights = _Ridge(seen, importance, targets, 0.7).solve(use, 0.5)
    kernel = (grams.multiply(importance) @ grams.T).toarray() + 0.5 * np.outer(gap, gap)
    for column in range(2):
        rows = np.flatnonzero(use[:, column])
        dual = np.zeros(40)
        dual[rows] = np.linalg.solve(kernel[np.ix_(rows, rows)] + 0.7 * np.eye(len(rows)), targets[rows])
        np.testing.assert_allclose(weights[:, column], importance * (grams.T @ dual), atol=5e-3)
        np.testing.assert_allclose(gap_weights[column], 0.5 * gap @ dual, atol=5e-3)


def test_the_length_weight_is_chosen_where_it_helps() -> None:
    battles, _ = styled(500)
    alone = {length: fit(battles, Tfidf(bits=14, length=length)) for length in (0.0, 0.05)}
    chosen = fit(battles, Tfidf(bits=14, length=(0.0, 0.05)))
    np.testing.assert_array_equal(chosen.weights, alone[chosen.length].weights)
    assert chosen.calibration.values() == alone[chosen.length].calibration.values()
    # Votes that follow the longer answer alone.
    lengths = np.array([[len(battle[f"response_{side}"]) for side in "ab"] for _, battle in battles.iterrows()])
    battles[list(WINNERS)] = np.eye(3, dtype=np.int64)[np.where(lengths[:, 0] > lengths[:, 1], 0, 1)]
    assert fit(battles, Tfidf(bits=14, length=(0.0, 0.05))).length == 0.05


def test_rows_of_ngrams_are_counted_as_in_a_slow_reference() -> None:
    grams = hashing.Ngrams((2,), (), 16)
    row = hashing.hashed_rows([["abab"]], grams).toarray()[0]
    # Start mark, a, b, a, b, end mark: "ab" twice, four others once, less the doubled one.
    weights = sorted(row[row > 0])
    norm = np.sqrt((1 + np.log(2)) ** 2 + 3)
    np.testing.assert_allclose(weights, np.array([1, 1, 1, 1 + np.log(2)]) / norm, rtol=1e-5)


def test_differences_of_equal_responses_are_empty() -> None:
    battles = styled(20)[0]
    battles["response_b"] = battles["response_a"]
    assert differences(battles, SETTINGS).grams.nnz == 0


@pytest.mark.parametrize("count", [6, 20])
def test_few_battles(count: int) -> None:
    battles = styled(60)[0].head(count)
    assert np.isfinite(fit(battles, SETTINGS).predict(battles)).all()


def test_only_words_or_only_characters() -> None:
    battles = styled(80)[0]
    for settings in (Tfidf(bits=12, chars=()), Tfidf(bits=12, words=())):
        assert np.isfinite(fit(battles, settings).predict(battles)).all()
