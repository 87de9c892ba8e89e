import numpy as np
import pytest
import torch

from models.transformer.engine.loss import as_shown, loss_sum, preference
from models.transformer.settings import Teacher, Transformer

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 3))
VOTES = RANDOM.dirichlet([1, 1, 1], 6)
GUIDE = RANDOM.dirichlet([1, 1, 1], 6)


def _loss(logits: np.ndarray, targets: np.ndarray, **changes: object) -> float:
    settings = Transformer.model_validate({"backbone": "none", **changes})
    return float(loss_sum(torch.from_numpy(logits), torch.from_numpy(targets), settings))


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values)
    return powers / powers.sum(axis=1, keepdims=True)


def test_votes_are_learnt_by_cross_entropy() -> None:
    expected = -(VOTES * np.log(_softmax(LOGITS))).sum()
    assert _loss(LOGITS, VOTES) == pytest.approx(expected)
    assert _loss(LOGITS, np.eye(3)[[0, 1, 2, 2, 1, 0]]) == pytest.approx(
        -np.log(_softmax(LOGITS))[range(6), [0, 1, 2, 2, 1, 0]].sum()
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_teacher_is_learnt_by_divergence(temperature: float) -> None:
    student, teacher = _softmax(LOGITS / temperature), _softmax(np.log(GUIDE) / temperature)
    divergence = (teacher * np.log(teacher / student)).sum(axis=1) * temperature**2
    hard = -(VOTES * np.log(_softmax(LOGITS))).sum(axis=1)
    targets = np.stack([VOTES, GUIDE], axis=1)
    targets[4:, 1] = np.nan  # extra battles, which no teacher has seen
    expected = (0.7 * hard + 0.3 * divergence)[:4].sum() + hard[4:].sum()
    found = _loss(LOGITS, targets, teacher={"base": "x", "weight": 0.3, "temperature": temperature})
    assert found == pytest.approx(expected)


def test_a_certain_teacher_and_one_without_a_row_give_finite_gradients() -> None:
    logits = torch.from_numpy(LOGITS).requires_grad_()
    targets = torch.from_numpy(np.stack([VOTES, np.eye(3)[[0, 1, 2, 0, 1, 2]]], axis=1))
    targets[3:, 1] = np.nan
    loss_sum(logits, targets, Transformer(backbone="none", teacher=Teacher(base="x", temperature=2.0))).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_exchanged_battles_have_exchanged_votes_and_teachers() -> None:
    targets = torch.from_numpy(np.stack([VOTES, GUIDE], axis=1))
    swapped = torch.tensor([True, False, True, False, False, False])
    shown = as_shown(targets, swapped)
    assert torch.equal(shown[swapped], targets[swapped][..., [1, 0, 2]])
    assert torch.equal(shown[~swapped], targets[~swapped])
    assert torch.equal(targets, torch.from_numpy(np.stack([VOTES, GUIDE], axis=1)))


def test_one_output_learns_whether_a_is_preferred() -> None:
    votes = np.eye(3)[[0, 1, 2]]
    assert preference(torch.from_numpy(votes)).tolist() == [1.0, 0.0, 0.5]
    outputs = np.array([[0.9], [0.4], [-0.5]])
    assert _loss(outputs, votes, objective="mse") == pytest.approx(0.01 + 0.16 + 1.0)
