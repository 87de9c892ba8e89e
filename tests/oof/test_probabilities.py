import numpy as np

from oof.probabilities import class_count, without_ties


def test_without_ties_the_rest_is_shared_out_in_proportion() -> None:
    values = np.array([[0.2, 0.6, 0.2], [np.nan] * 3, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    expected = [[0.25, 0.75, 0.0], [np.nan] * 3, [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    np.testing.assert_allclose(without_ties(values), expected)
    # Doing it twice changes nothing, and a stack of tables is done at once.
    np.testing.assert_allclose(without_ties(without_ties(values)), without_ties(values), rtol=1e-15)
    np.testing.assert_array_equal(without_ties(np.stack([values, values]))[1], without_ties(values))


def test_classes_are_counted_by_what_ties_are_given() -> None:
    values = np.array([[0.2, 0.6, 0.2], [np.nan] * 3])
    assert class_count(values) == 3
    assert class_count(without_ties(values)) == 2
