"""What columns add to a kernel's scores: gradients as differences give them, sums to the score, exchanged in sign."""

import numpy as np

from models.calibration import Calibration
from models.stacking import kernel, kernel_terms
from models.stacking.kernel import KernelRidge, Points, Shape
from models.stacking.kernel_terms import score_terms
from models.stacking.meta_features import Meta
from tests.models.stacking.battles import battles

SHAPE = Shape(0.6, 1.0, Calibration(1.5, np.array([-0.3, 0.1, 0.2]), np.zeros(2), np.ones(2)))


def _fitted() -> tuple[KernelRidge, Meta]:
    data = battles(300)
    return KernelRidge.fit(data.meta, data.labels, SHAPE), battles(50, seed=4).meta


def _scores(model: KernelRidge, points: Points) -> np.ndarray:
    return kernel._scores(points, model.landmarks, model.gamma, model.weights)


def test_terms_add_up_to_the_scores_and_the_right_columns_matter() -> None:
    model, fresh = _fitted()
    found = score_terms(model, fresh)
    assert found.names == ["length_a-length_b", "good_lead", "weak_lead", "even"]
    np.testing.assert_allclose(
        found.start + found.terms.sum(axis=1), _scores(model, model.space.points(fresh)), atol=1e-9
    )
    sizes = np.abs(found.terms[:, :, 0]).mean(axis=0)
    assert sizes[1:3].min() > sizes[0]  # the votes do not depend on the length
    # The start is the average battle, of which nothing is known.
    average = Points(*(np.zeros((1, part.shape[1])) for part in model.landmarks))
    np.testing.assert_allclose(found.start, _scores(model, average)[0], atol=1e-12)


def test_gradients_are_those_of_small_differences() -> None:
    model, fresh = _fitted()
    points, step = model.space.points(fresh).rows(np.arange(5)), 1e-5
    slopes = kernel_terms._slopes(model, points)
    for number, (part, slope) in enumerate(zip(points, slopes, strict=True)):
        for column in range(part.shape[1]):
            moved = [
                points._replace(**{points._fields[number]: part + sign * step * np.eye(part.shape[1])[column]})
                for sign in (1, -1)
            ]
            difference = (_scores(model, moved[0]) - _scores(model, moved[1])) / (2 * step)
            # The pair makes the tie, all else the lead.
            np.testing.assert_allclose(slope[:, column], difference[:, int(number == 3)], atol=1e-6)


def test_exchanged_a_lead_has_the_other_sign_and_a_tie_the_same() -> None:
    model, fresh = _fitted()
    plain, exchanged = score_terms(model, fresh).terms, score_terms(model, fresh.exchanged()).terms
    np.testing.assert_allclose(exchanged, plain * (-1, 1), atol=1e-10)
