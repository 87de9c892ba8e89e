from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.stacking.level1_data import Level1Data
from models.stacking.settings import Stack
from models.stacking.subsets import Losses, Subsets, fit_subsets, inputs_of, one_order
from oof.metrics import log_loss
from oof.model_store import Variants
from oof.probabilities import softmax, without_ties
from oof.table import MEAN, PLAIN, SWAPPED
from tests.models.stacking.battles import raw_battles

ROWS = 500
LATE = ("good", "weak")
ONE = Stack(workers=1)


def drawn(seed: int = 0, rows: int = ROWS) -> tuple[dict[str, Variants], tuple, Level1Data]:
    given, labels = raw_battles(rows, seed, orders=True)
    variants = {
        name: {MEAN: values, PLAIN: given["orders"][name][0], SWAPPED: given["orders"][name][1]}
        for name, values in given["probabilities"].items()
    }
    features = (given["features"], given["swap"])
    return variants, features, Level1Data(inputs_of(variants, *features), labels, np.arange(rows) % 5)


@pytest.fixture(scope="module")
def fitted() -> Subsets:
    variants, features, data = drawn()
    return fit_subsets(variants, features, data, LATE, {"good": 0.2, "weak": 0.1}, ONE)


def test_every_subset_has_a_loss_and_more_bases_a_lower_one(fitted: Subsets) -> None:
    assert set(fitted.losses) == {"", "good", "weak", "good,weak"}
    assert set(fitted.models) == {"", "good", "weak"}
    losses = {key: loss.both for key, loss in fitted.losses.items()}
    assert losses["good,weak"] < losses["good"] < losses["weak"] < losses[""]
    assert all(loss.both < loss.plain for key, loss in fitted.losses.items() if key)
    assert fitted.losses[""].both == fitted.losses[""].plain


def test_losses_are_of_rows_that_no_fit_has_seen(fitted: Subsets) -> None:
    variants, features, data = drawn()
    shuffled = np.random.default_rng(1).permutation(data.labels)
    nothing = fit_subsets(variants, features, replace(data, labels=shuffled), LATE, fitted.seconds, ONE)
    prior = log_loss(np.tile(np.bincount(shuffled) / ROWS, (ROWS, 1)), shuffled)
    assert min(loss.both for loss in nothing.losses.values()) > prior - 0.01


def test_the_number_of_processes_changes_nothing(fitted: Subsets, tmp_path: Path) -> None:
    variants, features, data = drawn()
    two = fit_subsets(variants, features, data, LATE, fitted.seconds, ONE.model_copy(update={"workers": 2}))
    assert two.losses == fitted.losses
    for name, subsets in (("one", fitted), ("two", two)):
        subsets.save(tmp_path / name)
    assert (tmp_path / "one" / "stack.json").read_bytes() == (tmp_path / "two" / "stack.json").read_bytes()


def test_each_row_is_stacked_by_what_it_has(fitted: Subsets) -> None:
    variants, features, data = drawn(seed=3, rows=90)
    model = fitted.models["good"]  # stands for the one that ships
    partly = {name: {kind: values.copy() for kind, values in base.items()} for name, base in variants.items()}
    for values in partly["weak"].values():
        values[:60] = np.nan
    for values in partly["good"].values():
        values[:30] = np.nan
    full = {name: variants[name] for name in ("good",)}

    class Ships:
        def logits(self, meta: object) -> np.ndarray:
            return np.tile([3.0, 0.0, 0.0], (len(meta), 1))  # type: ignore[arg-type]

    found = fitted.probabilities(partly, *features, Ships())
    np.testing.assert_array_equal(found[:30], softmax(fitted.models[""].logits(inputs_of({}, *features)))[:30])
    np.testing.assert_allclose(found[30:60], softmax(model.logits(inputs_of(full, *features)))[30:60], atol=1e-12)
    np.testing.assert_array_equal(found[60:], softmax(np.tile([3.0, 0.0, 0.0], (30, 1))))
    alone = fitted.probabilities({}, *features, Ships())
    np.testing.assert_array_equal(alone[:30], found[:30])
    assert log_loss(alone, data.labels) > log_loss(fitted.probabilities(full, *features, Ships()), data.labels)


def test_one_order_has_no_disagreement() -> None:
    variants, features, _ = drawn(rows=20)
    meta = inputs_of({name: one_order(base) for name, base in variants.items()}, *features)
    tilt = [name for name in meta.disagreement.even.names if name.endswith("position_tilt")]
    assert len(tilt) == 2
    assert not meta.disagreement.even.values[:, [meta.disagreement.even.names.index(name) for name in tilt]].any()


def test_what_is_saved_predicts_the_same(fitted: Subsets, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = Subsets.load(tmp_path)
    assert (loaded.names, loaded.late, loaded.losses) == (fitted.names, fitted.late, fitted.losses)
    assert (loaded.seconds, loaded.shares) == (fitted.seconds, fitted.shares)
    variants, features, _ = drawn(rows=40)
    ships = fitted.models["good"]
    one = {"good": variants["good"]}
    for given in ({}, one):
        np.testing.assert_array_equal(
            loaded.probabilities(given, *features, ships), fitted.probabilities(given, *features, ships)
        )


def test_of_many_bases_only_a_chain_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.stacking.subsets.MOST", 1)
    variants, features, data = drawn(rows=200)
    fitted = fit_subsets(variants, features, data, LATE, {"good": 1.0, "weak": 1.0}, ONE)
    assert set(fitted.losses) == {"", "good", "good,weak"}
    assert fitted.best(("weak",)) == ()
    assert fitted.best(("good", "weak")) == ("good", "weak")


def test_a_base_that_does_harm_alone_is_left_out_until_all_are_there(fitted: Subsets) -> None:
    losses = {**fitted.losses, "weak": Losses(2.0, 2.0)}
    harmful = replace(fitted, losses=losses)
    assert harmful.best(("weak",)) == ()
    assert harmful.best(("good",)) == ("good",)
    assert harmful.best(("good", "weak")) == ("good", "weak")


def test_the_full_set_has_the_loss_of_the_stacker_that_ships() -> None:
    variants, features, data = drawn(rows=200)
    seconds = {"good": 1.0, "weak": 1.0}
    own, given = (fit_subsets(variants, features, data, LATE, seconds, ONE, loss) for loss in (None, 0.5))
    assert given.losses["good,weak"].both == 0.5
    difference = own.losses["good,weak"].plain - own.losses["good,weak"].both
    assert given.losses["good,weak"].plain == pytest.approx(0.5 + difference)
    assert given.losses["good"] == own.losses["good"]


def test_without_ties_none_is_predicted() -> None:
    variants, features, data = drawn(rows=200)
    sides = np.where(data.labels == 2, 0, data.labels)
    variants = {name: {kind: without_ties(rows) for kind, rows in base.items()} for name, base in variants.items()}
    two = Level1Data(inputs_of(variants, *features), sides, data.folds, ties=False)
    fitted = fit_subsets(variants, features, two, LATE, {"good": 1.0, "weak": 1.0}, ONE)
    assert fitted.shares[2] == 0
    assert fitted.probabilities({}, *features, fitted.models[""])[:, 2].max() < 1e-9
