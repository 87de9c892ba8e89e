"""The kernel candidate: exact symmetry, the closed form of kernel ridge regression, and what it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from battles.errors import BadInput
from battles.swap import swap_columns, swap_probabilities
from models.calibration import Calibration
from models.stacking import kernel, serialization
from models.stacking.kernel import KernelRidge, Shape, Space, fit_kernel
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta, make_meta
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import battles, raw_battles

SHAPE = Shape(0.2, 3.0, Calibration(1.5, np.array([-0.3, 0.1, 0.2]), np.zeros(2), np.ones(2)))


def _fitted(rows: int = 300) -> tuple[KernelRidge, Level1Data]:
    data = battles(rows)
    return KernelRidge.fit(data.meta, data.labels, SHAPE), data


def _alone(data: Level1Data) -> tuple[KernelRidge, np.ndarray]:
    return fit_kernel(data, np.zeros((len(data), 3)), 1.0)


def _exchanged(rows: int, seed: int) -> tuple[Meta, Meta]:
    given, _ = raw_battles(rows, seed)
    swapped = {name: swap_probabilities(values) for name, values in given["probabilities"].items()}
    features = swap_columns(given["features"], given["swap"])
    return make_meta(**given), make_meta(swapped, {}, features, given["swap"])


def test_exchanging_the_responses_exchanges_the_prediction() -> None:
    model, _ = _fitted()
    plain, exchanged = _exchanged(100, seed=4)
    expected = swap_probabilities(softmax(model.logits(plain)))
    np.testing.assert_allclose(softmax(model.logits(exchanged)), expected, atol=1e-10)


def test_both_orders_of_the_training_battles_teach_the_same() -> None:
    _, labels = raw_battles(200)
    plain, exchanged = _exchanged(200, seed=0)
    fresh = battles(50, seed=3).meta
    one = KernelRidge.fit(plain, labels, SHAPE)
    other = KernelRidge.fit(exchanged, np.array([1, 0, 2])[labels], SHAPE)
    np.testing.assert_allclose(one.logits(fresh), other.logits(fresh), atol=1e-6)


def test_with_all_battles_as_landmarks_it_is_kernel_ridge_regression() -> None:
    model, data = _fitted(150)
    points = Space.fit(data.meta).points(data.meta)
    signs = (data.labels == 0).astype(float) - (data.labels == 1)
    ties = (data.labels == 2).astype(float)
    for side, (gram, target) in enumerate(
        zip(kernel._kernels(points, points, SHAPE.gamma), (signs, ties - ties.mean()), strict=True)
    ):
        assert np.linalg.eigvalsh(gram).min() > -1e-9
        exact = gram @ np.linalg.solve(gram + SHAPE.penalty * np.eye(150), target)
        np.testing.assert_allclose(gram @ model.weights[:, side], exact, atol=1e-5)


def test_the_lead_is_a_difference_of_one_function_of_single_responses() -> None:
    """Without a prompt, lead(A, B) + lead(B, C) = lead(A, C)."""
    rng = np.random.default_rng(1)
    a, b, c, others = (rng.normal(size=(20, 4)) for _ in range(4))
    none = np.zeros((20, 0))
    landmarks = kernel.Points(others, rng.normal(size=(20, 4)), none, none)

    def lead(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return kernel._kernels(kernel.Points(first, second, none, none), landmarks, 0.3)[0]

    np.testing.assert_allclose(lead(a, b) + lead(b, c), lead(a, c), atol=1e-12)


def test_it_learns_what_no_straight_line_is() -> None:
    rng = np.random.default_rng(2)
    given, _ = raw_battles(1500)
    given["probabilities"] = {"none": np.full((1500, 3), 1 / 3)}
    side = rng.normal(size=(2, 1500))
    # Readers like what is neither short nor long.
    liking = -np.square(side)
    given["features"] = given["features"].assign(length_a=side[0], length_b=side[1]).astype("float32")
    chances = np.column_stack([*np.exp(2 * liking), np.full(1500, 0.05)])
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in chances])
    data = Level1Data(make_meta(**given), labels, np.arange(1500) % 5)
    rest, held = data.rows(data.folds > 0), data.rows(data.folds == 0)
    model, _ = _alone(rest)
    prior = log_loss(np.tile(np.bincount(rest.labels) / len(rest), (len(held), 1)), held.labels)
    assert log_loss(softmax(model.logits(held.meta)), held.labels) < prior - 0.15


def test_few_landmarks_are_drawn_and_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    data, fresh = battles(900), battles(500, seed=8)
    full = log_loss(softmax(_alone(data)[0].logits(fresh.meta)), fresh.labels)
    monkeypatch.setattr(kernel, "LANDMARKS", 150)
    monkeypatch.setattr(kernel, "CHUNK", 64)
    model, _ = _alone(data)
    assert model.weights.shape == (150, 2)
    assert log_loss(softmax(model.logits(fresh.meta)), fresh.labels) == pytest.approx(full, abs=0.02)


def test_the_votes_of_a_fold_do_not_reach_its_held_out_scores() -> None:
    data = battles(200)
    turned = np.where(data.folds == 1, (data.labels + 1) % 3, data.labels)
    before, after = (kernel._held_out(one, 0.2, [3.0])[0] for one in (data, replace(data, labels=turned)))
    np.testing.assert_array_equal(before[data.folds == 1], after[data.folds == 1])
    assert np.abs(before - after)[data.folds == 2].max() > 1e-3


def test_the_votes_of_a_fold_do_not_choose_its_calibration() -> None:
    data = battles(200)
    (scores,) = kernel._held_out(data, 0.2, [3.0])
    turned = replace(data, labels=np.where(data.folds == 1, (data.labels + 1) % 3, data.labels))
    before, after = (kernel._cross_calibrated(scores, one) for one in (data, turned))
    np.testing.assert_array_equal(before[data.folds == 1], after[data.folds == 1])
    assert np.abs(before - after)[data.folds == 2].max() > 1e-3


def test_many_battles_are_calibrated_on_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    data = battles(600)
    monkeypatch.setattr(kernel, "CHOSEN_ON", 200)
    monkeypatch.setattr(kernel, "GAMMAS", (0.2,))
    monkeypatch.setattr(kernel, "PENALTIES", (3.0,))
    model, inner = _alone(data)
    (scores,) = kernel._held_out(data, 0.2, [3.0])
    assert model.calibration.scale == Calibration.fit(scores[:, 0], scores[:, 1:], data.labels).scale
    np.testing.assert_array_equal(inner, kernel._cross_calibrated(scores, data))


def _two_shapes(data: Level1Data) -> dict[tuple[float, float], np.ndarray]:
    """Held-out scores of two shapes: of the lead alone, the first better; the second knows the other half of it."""
    rng = np.random.default_rng(3)
    lead = (data.labels == 0).astype(float) - (data.labels == 1)
    noise = rng.normal(size=(2, len(data)))
    ties = (data.labels == 2) + rng.normal(scale=3, size=len(data))
    return {
        (0.06, 10.0): np.column_stack([lead + noise[0], ties]),
        (0.6, 1.0): np.column_stack([lead + 1.2 * noise[1], ties]),
    }


def test_another_shape_is_chosen_where_the_average_is_better_with_it() -> None:
    data = battles(600)
    tried = _two_shapes(data)
    first, second = tried
    # What it is averaged with errs as the first shape does, so that the first adds nothing.
    same = 4 * kernel._cross_calibrated(tried[first], data)
    assert kernel._chosen(tried, data, same, 0.5) == second
    nothing = np.zeros((600, 3))
    assert kernel._chosen(tried, data, nothing, 0.5) == first


def test_a_shape_that_is_better_in_the_average_by_chance_is_not_chosen() -> None:
    data = battles(600)
    first = _two_shapes(data)[0.06, 10.0]
    close = first + np.random.default_rng(5).normal(scale=0.02, size=first.shape)
    others = kernel._cross_calibrated(first, data)
    for tried in ({(0.06, 10.0): first, (0.2, 3.0): close}, {(0.06, 10.0): close, (0.2, 3.0): first}):
        losses = {
            shape: log_loss(softmax(kernel._cross_calibrated(s, data)), data.labels) for shape, s in tried.items()
        }
        assert kernel._chosen(tried, data, others, 0.2) == min(losses, key=losses.__getitem__)


def test_a_single_fold_is_fitted_with_the_first_width() -> None:
    data = battles(60)
    model, inner = _alone(replace(data, folds=np.zeros(60, dtype=int)))
    assert model.gamma == kernel.GAMMAS[0]
    np.testing.assert_allclose(inner, model.logits(data.meta), atol=1e-9)


def test_a_saved_one_predicts_the_same_and_damage_is_said(tmp_path: Path) -> None:
    model, _ = _fitted(120)
    fresh = battles(40, seed=6).meta
    serialization.save(tmp_path, {"kernel": model}, "kernel", {})
    np.testing.assert_array_equal(serialization.load(tmp_path).logits(fresh), model.logits(fresh))
    path = tmp_path / "kernel.kernel.npz"
    path.write_bytes(path.read_bytes()[:-9] + b"something")
    with pytest.raises(BadInput, match=r"kernel\.kernel\.npz: damaged \(it is not what was written\)"):
        serialization.load(tmp_path)
