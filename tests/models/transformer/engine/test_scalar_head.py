import numpy as np
import pytest

from battles.swap import swap_probabilities
from models.transformer.data.training_set import hold_out
from models.transformer.engine.scalar_head import fit, readout
from oof.metrics import log_loss


@pytest.mark.parametrize(("rows", "least", "most"), [(5000, 500, 520), (600, 100, 120), (30, 10, 20)])
def test_whole_prompts_are_held_out(rows: int, least: int, most: int) -> None:
    groups = np.random.default_rng(0).integers(0, rows // 3, rows).astype(str)
    held = hold_out(groups, seed=1)
    assert set(groups[held]).isdisjoint(groups[~held])
    assert least <= held.sum() <= most
    assert np.array_equal(held, hold_out(groups, seed=1))
    assert not np.array_equal(held, hold_out(groups, seed=2))


def test_one_output_becomes_three_calibrated_probabilities() -> None:
    random = np.random.default_rng(0)
    lead = random.normal(size=4000)
    logits = np.column_stack([lead, -lead, 0.3 - np.abs(lead)])
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    votes = np.array([random.choice(3, p=row) for row in truth])
    outputs = (0.5 + 4 * lead)[:, None]  # an over-confident network, far outside of [0, 1]
    read = readout(fit([outputs[:2000]], [votes[:2000]]))
    found = read(outputs[2000:])
    assert np.allclose(found.sum(axis=1), 1)
    assert log_loss(found, votes[2000:]) < log_loss(truth[2000:], votes[2000:]) + 0.02
    # A battle with both responses exchanged has the mirrored output.
    assert np.allclose(swap_probabilities(read(1 - outputs)), read(outputs))
