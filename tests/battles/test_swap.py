import numpy as np
import pandas as pd
import pytest

from battles.swap import swap_battles, swap_columns, swap_probabilities


def test_swapping_battles_exchanges_models_responses_and_votes_and_undoes_itself() -> None:
    table = pd.DataFrame(
        {
            "id": ["1"], "model_a": ["x"], "model_b": ["y"], "prompt": ["[]"], "response_a": ["[1]"],
            "response_b": ["[2]"], "winner_model_a": [1], "winner_model_b": [0], "winner_tie": [0],
        }
    )  # fmt: skip
    swapped = swap_battles(table)
    assert list(swapped.columns) == list(table.columns)
    assert swapped.iloc[0].tolist() == ["1", "y", "x", "[]", "[2]", "[1]", 0, 1, 0]
    pd.testing.assert_frame_equal(swap_battles(swapped), table)


def test_swapping_probabilities_keeps_the_tie() -> None:
    values = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(swap_probabilities(values), [[0.3, 0.5, 0.2], [0.2, 0.1, 0.7]])


def test_swapping_columns_follows_their_declaration() -> None:
    table = pd.DataFrame({"long_a": [1.0], "long_b": [2.0], "long_diff": [-1.0], "turns": [3.0]})
    how = {"long_a": "long_b", "long_b": "long_a", "long_diff": "negate", "turns": "same"}
    assert swap_columns(table, how).iloc[0].tolist() == [2.0, 1.0, 1.0, 3.0]
    with pytest.raises(KeyError, match="turns"):
        swap_columns(table, {name: rule for name, rule in how.items() if name != "turns"})
