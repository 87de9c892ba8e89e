"""The forest candidate: extremely randomised trees (Geurts et al. 2006) on the bases and the handcrafted columns.

Boosted trees are small and each corrects the ones before. These are deep, grown apart from one another on drawn columns
and thresholds, and averaged: they err elsewhere, and a thousand battles suffice for them. scikit-learn grows them; what
is kept are arrays of numbers, which need no pickle to be saved and predict the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier

from battles.swap import SWAPPED_CLASSES
from models.stacking.blend import convex_weights
from models.stacking.boosters import InitScore
from models.stacking.inner_cv import MetaModel, cross_fitted
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import Meta
from models.stacking.residual_booster import Design, average_orders, columns
from oof.probabilities import centred, log_probabilities

# Rows that a tree is grown on, at most: of more, every tree draws so many with replacement. It bounds time and memory.
TREE_ROWS = 8192
# Rows that are sent down all trees at once.
_CHUNK = 1024


class Growth(NamedTuple):
    """How trees are grown; `benchmarks.choices` says what other values give.

    trees: how many. leaf: battles in a leaf, at least. columns: the share of them that is drawn for a split.
    """

    trees: int = 300
    leaf: int = 1
    columns: float = 0.3


@dataclass(frozen=True)
class Trees:
    """Decision trees as arrays over the nodes of all of them.

    roots (trees,): the nodes where they begin. column, threshold (nodes,): a row goes to the first of children (nodes,
    2) where its column is at most the threshold, else to the second. Leaves are their own children. chances (nodes, 3):
    shares of the votes in a leaf. All float32 or int32.
    """

    roots: np.ndarray
    column: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    chances: np.ndarray

    @classmethod
    def grow(cls, values: np.ndarray, labels: np.ndarray, growth: Growth, seed: int) -> "Trees":
        """Grows them on rows (n, columns), float32, and votes (n,); `growth.leaf` counts rows here."""
        drawn = TREE_ROWS if len(labels) > TREE_ROWS else None
        forest = ExtraTreesClassifier(
            growth.trees,
            min_samples_leaf=growth.leaf,
            max_features=growth.columns,
            bootstrap=drawn is not None,
            max_samples=drawn,
            random_state=seed,
        ).fit(values, labels)
        parts = [tree.tree_ for tree in forest.estimators_]
        starts = np.cumsum([0, *(part.node_count for part in parts)])
        children = np.concatenate(
            [
                np.column_stack([part.children_left, part.children_right]) + start
                for part, start in zip(parts, starts, strict=False)
            ]
        )
        column = np.concatenate([part.feature for part in parts])
        leaves = np.flatnonzero(column < 0)
        column[leaves], children[leaves] = 0, leaves[:, None]
        chances = np.zeros((len(column), 3), dtype=np.float32)
        chances[:, forest.classes_] = np.concatenate([part.value[:, 0] for part in parts])
        return cls(
            starts[:-1].astype(np.int32),
            column.astype(np.int32),
            _rounded_down(np.concatenate([part.threshold for part in parts])),
            children.astype(np.int32),
            chances,
        )

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """The mean over the trees of the shares of votes in the leaves of the rows (n, columns): (n, 3), float64."""
        result, trees = np.zeros((len(values), 3)), len(self.roots)
        for start in range(0, len(values), _CHUNK):
            some = values[start : start + _CHUNK]
            leaves = np.tile(self.roots, len(some))
            # Of each row in each tree: its place in `leaves`, its node so far, where the row begins. Leaves are done.
            waiting, nodes = np.arange(len(leaves)), leaves.copy()
            rows = np.repeat(np.arange(len(some)), trees) * some.shape[1]
            while len(waiting):
                above = some.ravel()[rows + self.column[nodes]] > self.threshold[nodes]
                following = self.children[nodes, above.view(np.int8)]
                leaves[waiting] = following
                moved = following != nodes
                waiting, nodes, rows = waiting[moved], following[moved], rows[moved]
            result[start : start + _CHUNK] = self.chances[leaves].reshape(-1, trees, 3).mean(axis=1, dtype=np.float64)
        return result


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 numbers that are not above: a float32 is at most the one where it is at most the other."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


@dataclass(frozen=True)
class Forest:
    """A fitted forest: `scale` times its log-probabilities, plus `bias` (3,).

    Its columns are those of a booster whose margin is `margin`. A symmetric one is grown on both orders of every
    battle, and averaged over both when it predicts.
    """

    margin: MetaModel
    trees: Trees
    symmetric: bool
    scale: float
    bias: np.ndarray

    def logits(self, meta: Meta) -> np.ndarray:
        """Centred logits (n, 3)."""
        return self.scale * _logits(self.trees, meta, self.margin.logits(meta), self.symmetric) + self.bias

    def arrays(self) -> dict[str, np.ndarray]:
        """The trees and the bias by name, to be saved."""
        return {field.name: getattr(self.trees, field.name) for field in fields(Trees)} | {"bias": self.bias}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], margin: MetaModel, symmetric: bool, scale: float) -> "Forest":
        """The one whose `arrays` these are."""
        trees = Trees(**{name: array for name, array in arrays.items() if name != "bias"})
        return cls(margin, trees, symmetric, scale, arrays["bias"])


def fit_forest(
    data: Level1Data,
    margin: InitScore,
    held_out: np.ndarray,
    symmetric: bool,
    seed: int,
    growth: Growth,
) -> tuple[Forest, np.ndarray]:
    """A forest grown on all battles, and its out-of-fold logits (n, 3).

    held_out (n, 3): the margin's out-of-fold logits, which the forest is grown on. Scale and bias are fitted on the
    forest's own; of the out-of-fold logits, on those of the other folds. With a single fold nothing can be held out:
    the shares of votes in the leaves stand as they are then.
    """
    trees = _grow(data, held_out, symmetric, seed, growth)
    if data.fold_count < 2:
        return Forest(margin.margin, trees, symmetric, 1.0, np.zeros(3)), _logits(trees, data.meta, held_out, symmetric)
    raw = _held_out(data, margin, symmetric, seed, growth)
    scale, bias = _calibrated(raw, data.labels, symmetric)
    inner = np.zeros_like(raw)
    for fold in np.unique(data.folds):
        held = data.folds == fold
        of_others, offset = _calibrated(raw[~held], data.labels[~held], symmetric)
        inner[held] = of_others * raw[held] + offset
    return Forest(margin.margin, trees, symmetric, scale, bias), inner


def _held_out(data: Level1Data, margin: InitScore, symmetric: bool, seed: int, growth: Growth) -> np.ndarray:
    """Logits (n, 3) before scale and bias, of each fold by a forest grown on the others."""
    result = np.zeros((len(data), 3))
    for held, rest, out in data.splits():
        trees = _grow(rest, cross_fitted(margin.fit, rest), symmetric, seed, growth)
        result[held] = _logits(trees, out.meta, margin.fit(rest.meta, rest.labels).logits(out.meta), symmetric)
    return result


def _calibrated(raw: np.ndarray, labels: np.ndarray, symmetric: bool) -> tuple[float, np.ndarray]:
    """Scale and bias (3,) of the lowest log loss of held-out logits (n, 3)."""
    weights, bias = convex_weights(raw[None], labels, symmetric)
    return float(weights[0]), bias


def _grow(data: Level1Data, margin: np.ndarray, symmetric: bool, seed: int, growth: Growth) -> Trees:
    values = columns(data.meta, margin, Design(bases=True, symmetric=symmetric)).to_numpy()
    votes = np.concatenate([data.labels, np.array(SWAPPED_CLASSES)[data.labels]]) if symmetric else data.labels
    return Trees.grow(values, votes, growth._replace(leaf=growth.leaf * (1 + symmetric)), seed)


def _logits(trees: Trees, meta: Meta, margin: np.ndarray, symmetric: bool) -> np.ndarray:
    """Centred logits (n, 3) before scale and bias; margin (n, 3) are those of the margin."""
    table = columns(meta, margin, Design(bases=True, symmetric=symmetric)).to_numpy()
    chances = trees.probabilities(table)
    return centred(log_probabilities(average_orders(chances) if symmetric else chances))
