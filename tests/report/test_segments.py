import numpy as np
import pandas as pd
import pytest

from oof.metrics import paired_standard_error, row_losses
from report.agreement import agreement, by_fold, second_order
from report.scripts import script, scripts
from report.segments import losses_by, segments
from report.style_share import style_probabilities
from tests.report import synthetic


def test_segments_are_told_by_what_is_known() -> None:
    voted, lengths, _ = synthetic.battles(400)
    folds = pd.DataFrame({"id": voted["id"], "fold": np.arange(400) % 5, "group": np.arange(400) // 3})
    table = synthetic.features(voted, lengths)
    kinds = segments(voted, folds, table, np.array(["Latin"] * 399 + [""]), {"gpt-4": 1.0, "claude-1": 0.0})
    assert {"length of both responses", "turns", "code", "refusal", "prompt", "models"} <= set(kinds)
    unknown = (voted[["model_a", "model_b"]] == "unknown").any(axis=1)
    assert ((kinds["models"] == "a name is unknown") == unknown).all()
    assert set(kinds["prompt"]) == {"2 to 4 times", "asked once"}
    bare = segments(voted[["id"]], folds, pd.DataFrame(index=range(400)), None, {})
    assert set(bare) == {"prompt"}


def test_losses_by_segment_equal_a_slow_count_and_few_are_left_out() -> None:
    rng = np.random.default_rng(0)
    losses, prior, groups = rng.exponential(size=200), rng.exponential(size=200), rng.integers(0, 90, 200)
    segment = np.array(["x"] * 120 + ["y"] * 70 + ["rare"] * 10)
    table = losses_by({"kind": segment, "alone": np.array(["all"] * 200)}, losses, {"prior": prior}, groups)
    assert table[["kind", "segment"]].to_numpy().tolist() == [["kind", "x"], ["kind", "y"]]
    row = table.iloc[0]
    assert row["log_loss"] == pytest.approx(losses[:120].mean())
    assert row["prior"] == pytest.approx(prior[:120].mean())
    error = paired_standard_error(losses[:120], np.zeros(120), groups[:120])
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error)


def test_models_that_agree_and_folds_are_told() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.dirichlet([1, 1, 1], 500), rng.dirichlet([1, 1, 1], 500)
    table = agreement({"one": one, "copy": one, "other": other}).set_index(["one", "other"])
    assert table.loc[("one", "copy")].tolist() == pytest.approx([1, 1])
    assert abs(table.loc[("one", "other"), "lead_correlation"]) < 0.15
    flat = agreement({"one": one, "flat": np.full((500, 3), 1 / 3)})
    assert flat["lead_correlation"].isna().all()
    fold = np.arange(500) % 2
    losses = rng.exponential(size=500)
    assert by_fold({"m": losses}, fold)["m"].tolist() == pytest.approx([losses[::2].mean(), losses[1::2].mean()])


def test_the_second_order_is_compared_where_both_were_read() -> None:
    from oof.table import Predictions

    rng = np.random.default_rng(0)
    plain, swapped, votes = rng.dirichlet([1, 1, 1], 60), rng.dirichlet([1, 1, 1], 60), rng.integers(0, 3, 60)
    swapped[:20] = np.nan
    mean = np.where(np.isnan(swapped), plain, (plain + swapped) / 2)
    base = Predictions(mean, plain, swapped, np.ones(60, dtype=bool), {})
    found = second_order(base, np.ones(60, dtype=bool), votes, np.arange(60))
    assert found is not None
    assert found["battles"] == 40
    expected = np.log(plain[np.arange(60), votes] / mean[np.arange(60), votes])[20:].mean()
    assert found["change"] == pytest.approx(expected)
    assert second_order(Predictions(mean, None, None, base.covered, {}), base.covered, votes, np.arange(60)) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is it?", "Latin"),
        ("Что это? ok", "Cyrillic"),
        ("これは何ですか漢字漢字漢字", "Japanese"),
        ("这是什么", "Chinese"),
        ("이것은", "Korean"),
        ("1 + 1 = ?", ""),
        ("Größe naïve", "Latin"),
        ("\ud83d", ""),
    ],
)
def test_scripts_are_told_by_their_letters(text: str, expected: str) -> None:
    assert script(text) == expected


def test_scripts_are_of_all_turns() -> None:
    assert scripts(['["hello", null]', '["a", "что это"]', "[]"]).tolist() == ["Latin", "Cyrillic", ""]


def test_style_alone_finds_what_style_decides_and_is_cross_fitted() -> None:
    rng = np.random.default_rng(0)
    style, folds = rng.normal(size=(3000, 2)), np.arange(3000) % 5
    lead = 1.5 * style[:, 0]
    chance = 1 / (1 + np.exp(-lead))
    votes = (rng.random(3000) > chance).astype(int)
    best = -np.log(np.where(votes == 0, chance, 1 - chance)).mean()
    assert row_losses(style_probabilities(style, votes, folds), votes).mean() == pytest.approx(best, abs=0.01)
    # Of votes that have nothing to do with style it is no better than chance.
    assert row_losses(style_probabilities(style[:, 1:], votes, folds), votes).mean() > np.log(2) - 0.01
