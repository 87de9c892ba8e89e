from dataclasses import replace

import numpy as np
import pytest
import torch

from models.transformer.data.targets import Targets
from models.transformer.engine.loss import loss_sum, preference
from models.transformer.settings import Teacher, Transformer

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 3))
VOTES = RANDOM.dirichlet([1, 1, 1], 6)
GUIDE = RANDOM.dirichlet([1, 1, 1], 6)
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.1, 1.0, 3.0])


def _loss(
    logits: np.ndarray,
    votes: np.ndarray,
    guide: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    **changes: object,
) -> float:
    settings = Transformer.model_validate({"backbone": "none", **changes})
    return float(loss_sum(torch.from_numpy(logits), _targets(votes, guide, weights), settings))


def _targets(votes: np.ndarray, guide: np.ndarray | None = None, weights: np.ndarray | None = None) -> Targets:
    """In double precision, to compare with NumPy."""
    return Targets(*(None if part is None else torch.from_numpy(part) for part in (votes, guide, weights)))  # type: ignore[arg-type]


def _softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values)
    return powers / powers.sum(axis=1, keepdims=True)


def test_votes_are_learnt_by_cross_entropy() -> None:
    expected = -(VOTES * np.log(_softmax(LOGITS))).sum()
    assert _loss(LOGITS, VOTES) == pytest.approx(expected)
    assert _loss(LOGITS, np.eye(3)[[0, 1, 2, 2, 1, 0]]) == pytest.approx(
        -np.log(_softmax(LOGITS))[range(6), [0, 1, 2, 2, 1, 0]].sum()
    )


@pytest.mark.parametrize("cosine", [0.0, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_teacher_is_learnt_by_divergence_and_cosine(temperature: float, cosine: float) -> None:
    student, teacher = _softmax(LOGITS / temperature), _softmax(np.log(GUIDE) / temperature)
    divergence = (teacher * np.log(teacher / student)).sum(axis=1) * temperature**2
    norms = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    divergence += cosine * (1 - (student * teacher).sum(axis=1) / norms)
    hard = -(VOTES * np.log(_softmax(LOGITS))).sum(axis=1)
    guide = GUIDE.copy()
    guide[4:] = np.nan  # extra battles, which no teacher has seen
    expected = (0.7 * hard + 0.3 * divergence)[:4].sum() + hard[4:].sum()
    teaching = {"base": "x", "weight": 0.3, "temperature": temperature, "cosine": cosine}
    assert _loss(LOGITS, VOTES, guide, teacher=teaching) == pytest.approx(expected)


def test_a_row_counts_by_its_weight_whatever_the_loss() -> None:
    for changes in ({}, {"objective": "mse"}, {"teacher": {"base": "x", "cosine": 1.0}}):
        guide = GUIDE if "teacher" in changes else None
        alone = [
            _loss(LOGITS[at : at + 1], VOTES[at : at + 1], None if guide is None else guide[at : at + 1], **changes)
            for at in range(6)
        ]
        assert _loss(LOGITS, VOTES, guide, WEIGHTS, **changes) == pytest.approx(WEIGHTS @ alone)
        assert _loss(LOGITS, VOTES, guide, np.ones(6), **changes) == pytest.approx(sum(alone))


def test_a_certain_teacher_and_one_without_a_row_give_finite_gradients() -> None:
    logits = torch.from_numpy(LOGITS).requires_grad_()
    guide = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    guide[3:] = np.nan
    teacher = Teacher(base="x", temperature=2.0, cosine=1.0)
    loss_sum(logits, _targets(VOTES, guide), Transformer(backbone="none", teacher=teacher)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_names_are_guessed_beside_the_votes() -> None:
    names = np.array([[0, 3], [1, -1], [2, 2], [-1, -1], [3, 0], [1, 2]])
    guesses = RANDOM.normal(size=(6, 8))
    by_place = np.log(_softmax(guesses.reshape(12, 4))).reshape(6, 2, 4)
    expected = np.zeros(6)
    for row, pair in enumerate(names):
        expected[row] = -sum(by_place[row, place, name] for place, name in enumerate(pair) if name >= 0) / 2
    settings = Transformer(backbone="none", names_weight=0.3)
    logits = torch.from_numpy(np.concatenate([LOGITS, guesses], axis=1))
    for weights in (None, WEIGHTS):
        targets = _targets(VOTES, None, weights)
        with_names = replace(targets, names=torch.from_numpy(names))
        votes = loss_sum(torch.from_numpy(LOGITS), targets, settings)
        found = float(loss_sum(logits, with_names, settings) - votes)
        assert found == pytest.approx(0.3 * float(expected.sum() if weights is None else weights @ expected))
    shown = with_names.shown(torch.tensor([True, False, True, False, False, False]))
    assert shown.names is not None
    assert shown.names.tolist() == [[3, 0], [1, -1], [2, 2], [-1, -1], [3, 0], [1, 2]]


def test_exchanged_battles_have_exchanged_votes_and_teachers() -> None:
    targets = Targets.of(VOTES, GUIDE, WEIGHTS)
    swapped = torch.tensor([True, False, True, False, False, False])
    shown = targets.shown(swapped)
    assert shown.teacher is not None
    assert targets.teacher is not None
    for after, before in ((shown.votes, targets.votes), (shown.teacher, targets.teacher)):
        assert torch.equal(after[swapped], before[swapped][:, [1, 0, 2]])
        assert torch.equal(after[~swapped], before[~swapped])
    assert torch.equal(targets.votes, torch.from_numpy(VOTES).float())
    some = shown.rows(np.array([5, 0]))
    assert some.weights is not None
    assert some.weights.tolist() == [3.0, 1.0]
    assert torch.equal(some.votes, shown.votes[[5, 0]])


def test_one_output_learns_whether_a_is_preferred() -> None:
    votes = np.eye(3)[[0, 1, 2]]
    assert preference(torch.from_numpy(votes)).tolist() == [1.0, 0.0, 0.5]
    outputs = np.array([[0.9], [0.4], [-0.5]])
    assert _loss(outputs, votes, objective="mse") == pytest.approx(0.01 + 0.16 + 1.0)
