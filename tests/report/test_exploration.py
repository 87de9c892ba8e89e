"""Counts of models and pairings against slow counts, battle by battle."""

from collections import Counter, defaultdict

import numpy as np
import pandas as pd
import pytest

from report import exploration
from tests.report.synthetic import battles


@pytest.fixture(scope="module")
def named_battles() -> pd.DataFrame:
    return exploration.named(battles(400, seed=5)[0])


def test_battles_of_unknown_models_are_left_out() -> None:
    table = battles(400, seed=5)[0]
    kept = exploration.named(table)
    assert 0 < len(kept) < len(table)
    assert "unknown" not in {*kept["model_a"], *kept["model_b"]}


def test_battles_without_model_columns_name_nothing_and_every_table_is_empty() -> None:
    nothing = exploration.named(battles(10)[0].drop(columns=["model_a", "model_b"]))
    assert len(nothing) == 0
    for table in (exploration.appearances, exploration.pairings, exploration.win_rates):
        assert len(table(nothing)) == 0


def test_appearances_count_both_places(named_battles: pd.DataFrame) -> None:
    slow = Counter([*named_battles["model_a"], *named_battles["model_b"]])
    counted = exploration.appearances(named_battles)
    assert counted.to_dict() == slow
    assert counted.is_monotonic_decreasing


def test_pairings_do_not_depend_on_who_was_a(named_battles: pd.DataFrame) -> None:
    slow: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for row in named_battles.to_dict("records"):
        first, second = sorted((row["model_a"], row["model_b"]))
        counts = slow[first, second]
        counts[0] += 1
        straight = row["model_a"] == first
        counts[1] += row["winner_model_a"] if straight else row["winner_model_b"]
        counts[2] += row["winner_model_b"] if straight else row["winner_model_a"]
        counts[3] += row["winner_tie"]
    table = exploration.pairings(named_battles)
    got = {(row[0], row[1]): list(row[2:]) for row in table.itertuples(index=False)}
    assert got == dict(slow)
    assert table["battles"].is_monotonic_decreasing


def test_win_rates_equal_a_slow_count(named_battles: pd.DataFrame) -> None:
    scores: dict[str, list[float]] = defaultdict(list)
    for row in named_battles.to_dict("records"):
        if row["model_a"] != row["model_b"]:
            score = row["winner_model_a"] + 0.5 * row["winner_tie"]
            scores[row["model_a"]].append(score)
            scores[row["model_b"]].append(1 - score)
    table = exploration.win_rates(named_battles).set_index("model")
    assert set(table.index) == set(scores)
    for name, values in scores.items():
        assert table.loc[name, "battles"] == len(values)
        assert table.loc[name, "win_rate"] == pytest.approx(np.mean(values))
        assert table.loc[name, "low"] < table.loc[name, "win_rate"] < table.loc[name, "high"] or set(values) < {0, 1}
    assert table["win_rate"].is_monotonic_decreasing


def test_few_battles_have_a_wide_interval_and_no_rank() -> None:
    many = exploration.RANKED_BATTLES
    rows = [("a", "b", 1)] * many + [("rare", "b", 1), ("a", "a", 1)]
    table = pd.DataFrame(rows, columns=["model_a", "model_b", "winner_model_a"]).assign(winner_model_b=0, winner_tie=0)
    rates = exploration.win_rates(table).set_index("model")
    assert rates.loc["rare", "win_rate"] == 1
    # Wilson's interval of one win in one battle, by statsmodels' proportion_confint.
    assert rates.loc["rare", ["low", "high"]].tolist() == pytest.approx([0.2065, 1.0], abs=1e-3)
    assert rates["ranked"].to_dict() == {"a": True, "b": True, "rare": False}
    assert rates.loc["a", "battles"] == many  # the one against itself tells nothing


def test_the_profile_counts_battles() -> None:
    folds = pd.DataFrame({"id": list("abcdefg"), "group": ["x"] * 5 + ["y", "z"]})
    features = pd.DataFrame({"prompt_turns": np.log1p([1, 1, 1, 2, 2, 9, 30]), "prompt_length": np.log1p([10] * 7)})
    profile = exploration.profile(folds, features, np.array(["Latin"] * 6 + [""]))
    assert profile.turns == {"1": 3, "2": 2, "8 or more": 2}
    assert profile.scripts == {"Latin": 6, "no letters": 1}
    assert profile.repeated == {"once": 2, "5 to 19 times": 5}
    assert profile.distinct_prompts == 3
    assert profile.lengths["prompt"] == pytest.approx([10] * 5)
    assert "response" not in profile.lengths
