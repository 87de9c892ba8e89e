"""What each column adds to a forest's log-probabilities.

On its way down a tree a battle changes its shares of votes at every split; the change is the split column's, and the
changes on the path add up to the leaf less the root (Saabas 2014; `treeinterpreter`). From probabilities to their
logarithms a term is scaled by the slope between the root and the prediction (the rescale rule of DeepLIFT; Shrikumar et
al. 2017, arXiv:1704.02685, section 3.5.1), so that the terms still add up.
"""

from typing import NamedTuple

import numpy as np

from battles.swap import SWAPPED_CLASSES
from models.stacking.forest import Forest, Trees
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import Design, average_orders, column_names, columns
from oof.probabilities import log_probabilities

# Probabilities that are no further apart than this have the slope of the logarithm itself.
_SAME = 1e-9


class LogTerms(NamedTuple):
    """The logarithms of n battles' probabilities are start (3,) and the sum of terms (n, columns, 3)."""

    names: list[str]
    start: np.ndarray
    terms: np.ndarray


def log_terms(forest: Forest, meta: Meta) -> LogTerms:
    """Of log-probabilities before they are centred, scaled and shifted."""
    design = Design(bases=True, symmetric=forest.symmetric)
    start, changes = path_terms(forest.trees, columns(meta, forest.margin.logits(meta), design).to_numpy())
    if forest.symmetric:
        plain, exchanged = np.split(changes, 2)
        changes = (plain + exchanged[..., SWAPPED_CLASSES]) / 2
        start = average_orders(np.stack([start, start]))[0]
    return LogTerms(column_names(meta, design), log_probabilities(start), changes * _slopes(start, changes)[:, None])


def path_terms(trees: Trees, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean shares of votes in the roots, (3,), and how the columns change them for the rows (n, columns) of `values`:
    (n, columns, 3)."""
    rows, width = values.shape
    result, count = np.zeros((rows * width, 3)), len(trees.roots)
    at, nodes = np.repeat(np.arange(rows), count), np.tile(trees.roots, rows)
    while len(nodes):
        column = trees.column[nodes]
        above = values[at, column] > trees.threshold[nodes]
        following = trees.children[nodes, above.view(np.int8)]
        moved = following != nodes  # leaves are their own children
        at, nodes, following, column = at[moved], nodes[moved], following[moved], column[moved]
        change = trees.chances[following].astype(np.float64) - trees.chances[nodes]
        for number in range(3):
            result[:, number] += np.bincount(at * width + column, change[:, number], rows * width)
        nodes = following
    return trees.chances[trees.roots].mean(axis=0, dtype=np.float64), (result / count).reshape(rows, width, 3)


def _slopes(start: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Slopes (n, 3) of the logarithm between the probabilities `start` (3,) and those after all `changes`."""
    gap = changes.sum(axis=1)
    steps = log_probabilities(start + gap) - log_probabilities(start)
    near = np.abs(gap) <= _SAME
    return np.asarray(np.where(near, 1 / np.maximum(start, _SAME), steps / np.where(near, 1.0, gap)))
