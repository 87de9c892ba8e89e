"""What columns add to a forest's prediction: as one walks down the trees by hand, to the last digit of the sum."""

from functools import partial

import numpy as np
import pytest

from battles.swap import SWAPPED_CLASSES
from models.stacking import blend
from models.stacking.boosters import InitScore
from models.stacking.forest import Forest, Growth, Trees, fit_forest
from models.stacking.forest_terms import log_terms, path_terms
from models.stacking.inner_cv import cross_fitted
from oof.probabilities import centred
from tests.models.stacking.battles import battles


def _trees() -> tuple[Trees, np.ndarray]:
    """Of votes that depend on two of five columns, and fresh rows; the last column is always 1."""
    rng = np.random.default_rng(5)
    values = np.column_stack([rng.normal(size=(300, 4)), np.ones(300)]).astype(np.float32)
    votes = (values[:, 0] > 0).astype(int) + (values[:, 1] > 1)
    fresh = np.column_stack([rng.normal(size=(40, 4)), np.ones(40)]).astype(np.float32)
    return Trees.grow(values, votes, Growth(12, leaf=2, columns=0.6), seed=3), fresh


def test_terms_are_the_changes_on_the_way_down() -> None:
    trees, fresh = _trees()
    expected = np.zeros((len(fresh), fresh.shape[1], 3))
    for row, of_row in zip(fresh, expected, strict=True):
        for root in trees.roots:
            node = root
            while (below := trees.children[node, int(row[trees.column[node]] > trees.threshold[node])]) != node:
                of_row[trees.column[node]] += trees.chances[below].astype(np.float64) - trees.chances[node]
                node = below
    start, terms = path_terms(trees, fresh)
    np.testing.assert_allclose(terms, expected / len(trees.roots), atol=1e-12)
    np.testing.assert_allclose(start + terms.sum(axis=1), trees.probabilities(fresh), atol=1e-6)
    assert (terms[:, 4] == 0).all()
    sizes = np.abs(terms).mean(axis=(0, 2))
    assert sizes[:2].min() > 3 * sizes[2:].max()


@pytest.mark.parametrize("symmetric", [True, False])
def test_terms_add_up_to_the_logarithms_in_both_orders(symmetric: bool) -> None:
    data, fresh = battles(300, bias=0.4), battles(60, seed=2).meta
    fit = partial(blend.optimal_blend, symmetric=symmetric)
    margin = InitScore(fit(data.meta, data.labels), fit)
    model: Forest = fit_forest(data, margin, cross_fitted(fit, data), symmetric, 3, Growth(trees=30))[0]
    found = log_terms(model, fresh)
    assert found.names[:2] == ["margin_lead", "margin_tie"]
    logits = model.scale * centred(found.start + found.terms.sum(axis=1)) + model.bias
    np.testing.assert_allclose(logits, model.logits(fresh), atol=1e-6)
    exchanged = log_terms(model, fresh.exchanged()).terms[..., SWAPPED_CLASSES]
    assert np.allclose(exchanged, found.terms, atol=1e-6) == symmetric
