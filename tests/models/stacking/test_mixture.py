"""Which weights the mix is shrunk to."""

import numpy as np
import pytest

from models.stacking.level1_data import Level1Data
from models.stacking.mixture import WEIGHTS, mix_weights
from oof.metrics import log_loss
from oof.probabilities import centred, softmax
from tests.models.stacking.battles import battles

NAMES = list(WEIGHTS)


def _mix(noise: dict[str, float], data: Level1Data, penalty: float = 1e9) -> dict[str, float]:
    """The fitted weights by name, of members that see the truth through more or less noise."""
    rng = np.random.default_rng(4)
    truth = np.eye(3)[data.labels]
    logs = np.stack([centred(1.5 * truth + rng.normal(scale=noise.get(name, 1.0), size=truth.shape)) for name in NAMES])
    weights, _, logits = mix_weights(logs, data, WEIGHTS, False, penalty)
    assert log_loss(softmax(logits), data.labels) < 1.0
    return dict(zip(NAMES, weights, strict=True))


def test_the_mix_is_shrunk_to_the_average() -> None:
    weights = _mix({}, battles(400))
    assert weights == pytest.approx(WEIGHTS, abs=1e-3)


def test_a_kernel_that_harms_is_left_out() -> None:
    weights = _mix({"kernel": 6.0}, battles(400))
    assert weights["kernel"] == pytest.approx(0, abs=1e-3)
    assert weights["forest"] == pytest.approx(0.25, abs=1e-3)
    assert weights["handcrafted"] == pytest.approx(0.25, abs=1e-3)
    assert weights["regression"] == pytest.approx(0.25, abs=1e-3)


def test_bases_that_are_far_better_than_the_features_stand_alone() -> None:
    weights = _mix(dict.fromkeys(NAMES, 4.0) | {"regression": 0.2}, battles(400))
    assert weights == pytest.approx({name: float(name == "regression") for name in NAMES}, abs=1e-3)


def test_a_kernel_that_is_worse_by_less_than_noise_stays() -> None:
    """The average without it is better on some draws, but not beyond a standard error."""
    kept = [_mix({"kernel": 1.15}, battles(200, seed))["kernel"] for seed in range(6)]
    assert sum(weight > 0.1 for weight in kept) >= 5


def test_a_mix_without_a_kernel_has_only_the_bases_to_fall_back_on() -> None:
    data, rng = battles(300), np.random.default_rng(2)
    truth = np.eye(3)[data.labels]
    logs = np.stack([centred(truth + rng.normal(scale=scale, size=truth.shape)) for scale in (0.2, 5.0)])
    weights, _, _ = mix_weights(logs, data, {"regression": 0.2, "booster": 0.8}, False, 1e9)
    np.testing.assert_allclose(weights, [1, 0], atol=1e-3)
