"""The split: prompts stay together, votes stay balanced, the same table gives the same folds."""

import numpy as np
import pandas as pd
import pytest

from battles.errors import BadInput
from battles.folds import fold_hash, make_folds, prompt_key
from battles.schema import WINNERS, to_json


def table(prompts: list[list[str | None]], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    votes = np.eye(3, dtype=np.int8)[rng.choice(3, len(prompts), p=[0.4, 0.35, 0.25])]
    frame = pd.DataFrame({"id": [f"b{i}" for i in range(len(prompts))], "prompt": [to_json(p) for p in prompts]})
    return frame.assign(**{name: votes[:, k] for k, name in enumerate(WINNERS)})


def test_battles_with_the_same_prompt_share_a_fold() -> None:
    battles = table([[f"question {i % 140}"] for i in range(600)])
    folds = make_folds(battles, 5, seed=1)
    assert folds["id"].tolist() == battles["id"].tolist()
    assert folds["fold"].dtype == np.int64
    assert folds.groupby(battles["prompt"].to_numpy())["fold"].nunique().max() == 1
    assert set(folds["fold"]) == set(range(5))


def test_spelling_of_a_prompt_does_not_part_it() -> None:
    assert prompt_key(["What  is\nIT? "]) == prompt_key(["what is it?"])
    assert prompt_key(["STRASSE"]) == prompt_key(["Straße"])
    assert prompt_key([None]) == prompt_key([""])
    keys = {prompt_key(p) for p in ([], ["a"], ["b"], ["a", "b"], ["a b"], ["\ud83d"], ["a", None])}
    assert len(keys) == 7


def test_votes_and_sizes_are_balanced_beside_a_group_of_400() -> None:
    prompts: list[list[str | None]] = [["the same again"]] * 400 + [[f"question {i}"] for i in range(2600)]
    battles = table(prompts)
    folds = make_folds(battles, 5, seed=20)
    sizes = folds["fold"].value_counts()
    assert sizes.min() >= 590
    assert sizes.max() <= 610
    shares = battles[list(WINNERS)].groupby(folds["fold"]).mean()
    assert (shares - battles[list(WINNERS)].mean()).abs().to_numpy().max() < 0.02
    assert folds["fold"].iloc[:400].nunique() == 1


def test_the_same_split_every_time_another_with_another_seed() -> None:
    battles = table([[f"question {i}"] for i in range(200)])
    first = make_folds(battles, 4, seed=3)
    pd.testing.assert_frame_equal(first, make_folds(battles, 4, seed=3))
    other = make_folds(battles, 4, seed=4)
    assert fold_hash(first) == fold_hash(first.copy())
    assert fold_hash(first) != fold_hash(other)
    assert fold_hash(first) != fold_hash(first.iloc[::-1])


def test_text_of_responses_and_row_labels_do_not_matter() -> None:
    battles = table([[f"question {i}"] for i in range(100)])
    relabelled = battles.set_axis(range(500, 600), axis=0)
    assert fold_hash(make_folds(battles, 5, 1)) == fold_hash(make_folds(relabelled, 5, 1))


@pytest.mark.parametrize("prompts", [[["one"]] * 30, [["one"], ["two"], ["three"], ["four"]] * 10])
def test_too_few_distinct_prompts_are_refused(prompts: list[list[str | None]]) -> None:
    with pytest.raises(BadInput, match=r"^prepare\.folds: 5, but .* distinct prompt"):
        make_folds(table(prompts), 5, seed=1)


def test_too_few_battles_are_refused() -> None:
    with pytest.raises(BadInput, match=r"^prepare\.folds: 5"):
        make_folds(table([[f"question {i}"] for i in range(6)]), 5, seed=1)


@pytest.mark.parametrize(
    ("prompts", "folds", "line"),
    [
        ([[f"question {i}"] for i in range(5)], 3, "smallest of them would have 1 of 5 battles"),
        ([["the same"]] * 40 + [["one"], ["two"]], 3, "smallest of them would have 1 of 42 battles"),
    ],
)
def test_a_fold_of_one_battle_is_refused(prompts: list[list[str | None]], folds: int, line: str) -> None:
    battles = table(prompts)
    battles[list(WINNERS)] = np.eye(3, dtype=np.int8)[np.zeros(len(prompts), dtype=int)]
    with pytest.raises(BadInput, match=rf"^prepare\.folds: {folds}, but the {line} .* choose fewer folds"):
        make_folds(battles, folds, seed=1)


def test_one_prompt_of_thousands_of_battles_is_one_fold() -> None:
    battles = table([["the same again"]] * 3000 + [[f"question {i}"] for i in range(600)])
    folds = make_folds(battles, 3, seed=20)
    assert folds["fold"].iloc[:3000].nunique() == 1
    assert folds["fold"].value_counts().tolist() == [3000, 300, 300]


def test_a_vote_rarer_than_the_folds_is_split_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    battles = table([[f"question {i}"] for i in range(60)])
    votes = np.zeros((60, 3), dtype=np.int8)
    votes[:30, 0] = votes[30:58, 1] = votes[58:, 2] = 1
    folds = make_folds(battles.assign(**{name: votes[:, k] for k, name in enumerate(WINNERS)}), 5, seed=1)
    assert folds["fold"].value_counts().min() >= 10
    assert not recwarn.list
