from pathlib import Path

import numpy as np
import pytest

from battles.swap import swap_probabilities
from models.stacking import serialization
from models.stacking.blend import prior
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.settings import STACK
from models.stacking.smoothing import FEWEST_VOTES, Smoothed, few_votes, smooth, smoothed, smoothed_fit
from models.stacking.stacker import stack
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import softmax
from tests.models.stacking.battles import QUICK, battles


def test_a_smoothed_prior_counts_one_more_vote_of_every_class() -> None:
    data, labels = battles(10), np.array([0] * 7 + [1] * 3)
    model = smoothed(prior(data.meta, labels, symmetric=False), labels)
    np.testing.assert_allclose(softmax(model.logits(data.meta))[0], np.array([8, 4, 1]) / 13, atol=1e-6)


def test_nothing_is_less_probable_than_one_vote() -> None:
    logits = np.array([[400.0, 0.0, -800.0], [0.0, 0.0, 0.0]])
    probabilities = softmax(smooth(logits, 10))
    np.testing.assert_allclose(probabilities, [[11 / 13, 1 / 13, 1 / 13], [1 / 3] * 3], atol=1e-12)
    back = swap_probabilities(softmax(smooth(swap_probabilities(logits), 10)))
    np.testing.assert_allclose(back, probabilities, atol=1e-15)


def test_enough_votes_of_every_class_leave_a_model_as_it_is() -> None:
    meta, labels = battles(3 * FEWEST_VOTES).meta, np.repeat([0, 1, 2], FEWEST_VOTES)
    model = prior(meta, labels, symmetric=False)
    assert smoothed(model, labels) is model
    assert isinstance(smoothed_fit(lambda m, y: model)(meta, labels[1:]), Smoothed)
    assert not few_votes(labels)
    assert few_votes(np.zeros(1000, dtype=int))


def _stack(data: Level1Data, folder: Path) -> tuple[dict[str, np.ndarray], str]:
    nested = stack(data, QUICK, folder / "study.journal")
    fresh = data.meta.exchanged()
    serialization.save(folder / "saved", nested.final.models, nested.shipped, {})
    for name, model in nested.final.models.items():
        np.testing.assert_array_equal(serialization.load(folder / "saved", name).logits(fresh), model.logits(fresh))
    return dict(nested.probabilities), nested.shipped


@pytest.mark.parametrize("seed", range(4))
def test_ten_battles_are_not_stacked_worse_than_the_prior_beyond_noise(seed: int, tmp_path: Path) -> None:
    data = battles(10, seed=seed)
    probabilities, shipped = _stack(data, tmp_path)
    losses = {name: row_losses(values, data.labels) for name, values in probabilities.items()}
    reference = losses["prior"]
    for name in (STACK, shipped):
        noise = paired_standard_error(losses[name], reference)
        assert losses[name].mean() <= reference.mean() + 2 * noise
        assert losses[name].max() <= np.log(8 + 3) + 1e-9  # fitted on eight of them
    assert reference.mean() < 1.5


def test_useless_bases_on_few_battles_ship_the_prior(tmp_path: Path) -> None:
    data = battles(40)
    sure = np.random.default_rng(3).dirichlet([0.05, 0.05, 0.05], 40)
    probabilities, shipped = _stack(Level1Data(make_meta({"sure": sure}), data.labels, data.folds), tmp_path)
    assert shipped == "prior"
    assert log_loss(probabilities["best_base"], data.labels) > 2
    assert log_loss(probabilities[STACK], data.labels) < log_loss(probabilities["prior"], data.labels) + 0.1


@pytest.mark.parametrize("rows", [10, 300])
def test_a_class_without_votes_keeps_the_probability_of_one_vote(rows: int, tmp_path: Path) -> None:
    data = battles(rows)
    one_class = Level1Data(data.meta, np.zeros(rows, dtype=int), data.folds)
    probabilities, _ = _stack(one_class, tmp_path)
    outside = rows * 4 // 5
    for name, values in probabilities.items():
        assert values.min() >= 1 / (outside + 3) - 1e-12, name
    assert log_loss(probabilities[STACK], one_class.labels) <= log_loss(probabilities["prior"], one_class.labels) + 1e-3
