"""Guards of the nested procedure: nothing that is scored was learnt from, and nothing added does much harm."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from battles.errors import BadInput
from battles.progress import Counter
from battles.swap import swap_probabilities
from models.stacking import selection, smoothing
from models.stacking.blend import optimal_blend
from models.stacking.candidates import fit
from models.stacking.inner_cv import cross_fitted
from models.stacking.level1_data import Level1Data
from models.stacking.meta_features import make_meta
from models.stacking.selection import choose
from models.stacking.settings import CANDIDATES, STACK
from models.stacking.stacker import Nested, describe, leave_one_out, stack, trial_count
from models.stacking.studies import StudyPlace
from oof.metrics import log_loss, paired_standard_error, row_losses
from oof.probabilities import softmax
from tests.models.stacking.battles import QUICK, battles, raw_battles


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Nested, Level1Data]:
    data = battles(600, orders=True)
    journal = tmp_path_factory.mktemp("stack") / "study.journal"
    return stack(data, QUICK, journal), data


def _losses(result: Nested, labels: np.ndarray) -> Mapping[str, float]:
    return {name: log_loss(values, labels) for name, values in result.probabilities.items()}


def test_every_candidate_competes_on_every_row(nested: tuple[Nested, Level1Data]) -> None:
    result, labels = nested[0], nested[1].labels
    assert set(result.probabilities) == {*CANDIDATES, STACK}
    for values in result.probabilities.values():
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    losses = _losses(result, labels)
    assert losses[STACK] < losses["best_base"] < losses["prior"]
    assert losses[STACK] < losses["regression"]


def test_the_stack_is_the_candidate_chosen_outside_the_fold(
    nested: tuple[Nested, Level1Data],
) -> None:
    result, labels, folds = nested[0], nested[1].labels, nested[1].folds
    for fold, fitted in result.outer.items():
        held = folds == fold
        np.testing.assert_array_equal(result.probabilities[STACK][held], result.probabilities[fitted.chosen][held])
    losses = {name: row_losses(values, labels) for name, values in result.probabilities.items() if name != STACK}
    assert result.shipped == choose(losses)
    said = describe(result)
    assert said["shipped"] == result.shipped
    assert said["optimistic"] == {name: tuned.loss for name, tuned in result.final.tuned.items()}
    assert set(result.seconds()) == set(CANDIDATES)


def test_what_helps_tiny_data_leaves_larger_data_alone(
    nested: tuple[Nested, Level1Data], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, data = nested
    monkeypatch.setattr(smoothing, "FEWEST_VOTES", 0)
    monkeypatch.setattr(selection, "MINIMUM_BATTLES", 0)
    without = stack(data, QUICK, tmp_path / "study.journal")
    assert without.shipped == result.shipped
    for name, values in result.probabilities.items():
        np.testing.assert_array_equal(without.probabilities[name], values)


def test_a_changed_vote_does_not_reach_the_predictions_of_its_fold(
    nested: tuple[Nested, Level1Data], tmp_path: Path
) -> None:
    result, data = nested
    folds, changed = data.folds, data.labels.copy()
    changed[folds == 3] = (changed[folds == 3] + 1) % 3
    other = stack(replace(data, labels=changed), QUICK, tmp_path / "study.journal")
    for name, values in result.probabilities.items():
        np.testing.assert_array_equal(values[folds == 3], other.probabilities[name][folds == 3])
    assert np.abs(result.probabilities[STACK] - other.probabilities[STACK]).max() > 1e-3


def test_shuffled_votes_are_not_predicted(tmp_path: Path) -> None:
    data = battles(600)
    shuffled = np.random.default_rng(5).permutation(data.labels)
    result = stack(replace(data, labels=shuffled), QUICK, tmp_path / "study.journal")
    mine, prior = (row_losses(result.probabilities[name], shuffled) for name in (STACK, "prior"))
    assert mine.mean() >= prior.mean() - 2 * paired_standard_error(mine, prior)


def test_symmetric_stacks_exchange_with_the_battles(tmp_path: Path) -> None:
    data = battles(400, orders=True, bias=0.5)
    settings = QUICK.model_copy(update={"symmetric": True})
    fitted = fit(data, settings, StudyPlace(tmp_path / "study.journal", "all battles"))
    fresh = battles(200, seed=8, orders=True).meta
    for name, model in fitted.models.items():
        back = swap_probabilities(softmax(model.logits(fresh.exchanged())))
        np.testing.assert_allclose(back, softmax(model.logits(fresh)), atol=1e-6, err_msg=name)


def test_a_position_bias_is_learnt_unless_symmetry_is_asked_for(tmp_path: Path) -> None:
    data = battles(400, bias=0.7)
    losses = {}
    for setting in (True, "auto"):
        settings = QUICK.model_copy(update={"symmetric": setting})
        result = stack(data, settings, tmp_path / f"{setting}.journal")
        losses[setting] = log_loss(result.probabilities[STACK], data.labels)
    assert losses["auto"] < losses[True] - 0.02


# Of 1,500 battles the change by a useless base has a standard error of 0.001, twice what it may cost.
MANY = 4000


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The stack's loss on many battles without a useless base."""
    given, labels = raw_battles(MANY)
    journal = tmp_path_factory.mktemp("stack") / "study.journal"
    found = stack(Level1Data(make_meta(given["probabilities"]), labels, np.arange(MANY) % 5), QUICK, journal)
    return log_loss(found.probabilities[STACK], labels)


@pytest.mark.parametrize("kind", ["constant", "duplicate", "reversed"])
def test_a_useless_base_hurts_little(kind: str, without: float, tmp_path: Path) -> None:
    given, labels = raw_battles(MANY)
    folds, bases = np.arange(MANY) % 5, given["probabilities"]
    good = bases["good"]
    useless = {
        "constant": np.tile([0.3, 0.3, 0.4], (MANY, 1)),
        "duplicate": good,
        "reversed": swap_probabilities(good),
    }[kind]
    assert (
        kind == "duplicate"
        or log_loss(useless, labels) > log_loss(np.tile([0.35, 0.35, 0.3], (MANY, 1)), labels) - 0.02
    )
    more = stack(Level1Data(make_meta({**bases, "useless": useless}), labels, folds), QUICK, tmp_path / "study.journal")
    assert log_loss(more.probabilities[STACK], labels) <= without + 0.0005


def test_one_base_without_features_is_leading_folds(tmp_path: Path) -> None:
    data = battles(300)
    data = replace(data, meta=make_meta({"good": softmax(data.meta.logs[0])}))
    result = stack(data, QUICK, tmp_path / "study.journal")
    assert "features" not in result.probabilities
    losses = _losses(result, data.labels)
    assert losses[STACK] < losses["prior"]


def test_two_folds_are_stacked_without_tuning_and_one_is_refused(tmp_path: Path) -> None:
    data = battles(300)
    trials: list[int] = []
    two = replace(data, folds=data.folds % 2)
    result = stack(two, QUICK, tmp_path / "study.journal", count=trials.append)
    assert sum(trials) == trial_count(two, QUICK) == 2
    assert {fitted.chosen for fitted in result.outer.values()} == {"blend"}
    np.testing.assert_array_equal(result.probabilities["booster"], result.probabilities["regression"])
    with pytest.raises(BadInput, match="two folds"):
        stack(replace(data, folds=np.zeros(300, dtype=int)), QUICK, tmp_path / "study.journal")


def test_processes_give_what_one_process_gives(nested: tuple[Nested, Level1Data], tmp_path: Path) -> None:
    result, data = nested
    settings = QUICK.model_copy(update={"workers": 2})
    counter = Counter(tmp_path / "count")
    parallel = stack(data, settings, tmp_path / "study.journal", count=counter.add)
    assert counter.value() == trial_count(data, settings) == 12  # two boosters; all battles and five folds
    np.testing.assert_array_equal(parallel.probabilities[STACK], result.probabilities[STACK])


def test_the_mix_is_chosen_unless_another_leads_beyond_noise() -> None:
    rng = np.random.default_rng(0)
    simple = rng.uniform(0.5, 1.5, 500)
    noisy = simple + rng.normal(scale=0.5, size=500)
    noisy += simple.mean() - noisy.mean() - 1e-6
    better = simple - 0.01 + rng.normal(scale=0.001, size=500)
    assert choose({"mix": simple, "booster": noisy}) == "mix"
    assert choose({"mix": simple, "booster": better, "average": better + 1e-3}) == "booster"
    assert choose({"mix": simple, "blend": simple - 0.0005}) == "mix"  # steady, but too little to matter


def test_rows_that_share_a_prompt_are_not_counted_as_so_many_proofs() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(500) // 100
    lead = 0.3 * rng.normal(size=5)[groups]
    simple = rng.uniform(0.5, 1.5, 500)
    other = simple - 0.05 - (lead - lead.mean())
    assert choose({"mix": simple, "booster": other}) == "booster"
    assert choose({"mix": simple, "booster": other}, groups) == "mix"


def test_leaving_out_shows_what_a_base_is_worth() -> None:
    given, labels = raw_battles(1500)
    bases, folds = given["probabilities"], np.arange(1500) % 5
    noise = np.random.default_rng(1).dirichlet([5, 5, 5], 1500)
    found = leave_one_out({"good": bases["good"], "copy": bases["good"], "noise": noise}, labels, folds, None, QUICK)
    assert abs(found["copy"]["change"]) < 1e-4
    assert abs(found["noise"]["change"]) < 0.002
    pair = leave_one_out({"good": bases["good"], "noise": noise}, labels, folds, None, QUICK)
    metas = make_meta({"noise": noise}), make_meta({"good": bases["good"], "noise": noise})
    alone, both = (
        cross_fitted(partial(optimal_blend, symmetric=False), Level1Data(meta, labels, folds)) for meta in metas
    )
    without, everything = row_losses(softmax(alone), labels), row_losses(softmax(both), labels)
    assert pair["good"]["change"] == pytest.approx(without.mean() - everything.mean())
    assert pair["good"]["standard_error"] == pytest.approx(paired_standard_error(without, everything))
    assert pair["good"]["change"] > 0.02
    assert leave_one_out({"good": bases["good"]}, labels, folds, None, QUICK) == {}


def test_on_few_rows_the_prior_is_chosen_unless_a_lead_is_proven() -> None:
    rng = np.random.default_rng(0)
    prior = rng.uniform(0.9, 1.3, 400)
    lucky = prior - 0.02 + rng.normal(scale=0.5, size=400)
    lucky += prior.mean() - lucky.mean() - 0.01  # ahead, but within the noise
    better = prior - 0.1 + rng.normal(scale=0.1, size=400)
    assert choose({"prior": prior, "mix": lucky}) == "mix"  # on many rows the prior is no fallback
    few = {name: values[::4] for name, values in {"prior": prior, "better": better}.items()}
    close = few["prior"] - 0.01 + rng.normal(scale=0.5, size=100)
    assert choose({"prior": few["prior"], "mix": close - close.mean() + few["prior"].mean() - 0.01}) == "prior"
    assert choose({"prior": few["prior"], "mix": few["better"]}) == "mix"
    assert choose({"prior": few["prior"], "mix": few["prior"] + 1.0, "equal_blend": few["better"]}) == "equal_blend"


def test_a_stacker_scored_on_a_fold_learns_from_the_rows_given_for_it(
    nested: tuple[Nested, Level1Data], tmp_path: Path
) -> None:
    result, data = nested

    def plain(fold: int) -> Level1Data:
        return data.rows(data.folds != fold)

    def misled(fold: int) -> Level1Data:
        rest = plain(fold)
        return replace(rest, labels=1 - np.minimum(rest.labels, 1)) if fold == 0 else rest

    same = stack(data, QUICK, tmp_path / "same.journal", outside=plain)
    np.testing.assert_array_equal(same.probabilities[STACK], result.probabilities[STACK])
    other = stack(data, QUICK, tmp_path / "other.journal", outside=misled)
    held = data.folds == 0
    np.testing.assert_array_equal(other.probabilities[STACK][~held], result.probabilities[STACK][~held])
    assert log_loss(other.probabilities[STACK][held], data.labels[held]) > log_loss(
        result.probabilities[STACK][held], data.labels[held]
    )
    assert other.final.inner == result.final.inner
