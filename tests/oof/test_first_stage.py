"""A first stage that has seen a scored battle's prompt is refused, and nothing else is."""

from pathlib import Path

import pandas as pd
import pytest

from battles.errors import BadInput
from battles.files import write_table
from battles.paths import RunPaths
from oof.first_stage import check_start

SAVED = "models/runs/first/llama/{}/model"
OWN = pd.DataFrame({"id": list("abcdef"), "fold": [0, 0, 1, 1, 2, 2], "group": ["p", "q", "r", "r", "s", "t"]})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def first(root: Path, groups: list[str], folds: list[int]) -> None:
    table = pd.DataFrame({"id": [f"f{number}" for number in range(len(groups))], "fold": folds, "group": groups})
    write_table(RunPaths("first", root).folds, table)


@pytest.mark.parametrize("model", ["fold-0", "fold-1", "refit", "adapters-0-1", "pair-0-1"])
def test_a_first_stage_on_other_prompts_may_start_every_fold(root: Path, model: str) -> None:
    first(root, ["x", "y", "z"], [0, 1, 2])
    check_start(SAVED.format(model), OWN, [0, 1, 2], root)


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ("fold-0", True),  # r was learnt, and fold 1 is scored on it
        ("fold-1", False),  # the only model without r
        ("pair-0-1", False),
        ("pair-0-2", True),
        ("refit", True),
        ("adapters-0-1-2", True),  # all have learnt from it but one
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_prompt_in_common_is_refused_where_it_was_learnt_from(
    root: Path, model: str, refused: bool, absolute: bool
) -> None:
    first(root, ["x", "r", "z"], [0, 1, 2])
    start = SAVED.format(model)
    start = str(root / start) if absolute else start
    if not refused:
        check_start(start, OWN, [0, 1, 2], root)
        return
    with pytest.raises(
        BadInput, match=rf"init_from: .*{model}/model has learnt from the prompts of 2 of the 2 .* fold 1"
    ):
        check_start(start, OWN, [0, 1, 2], root)
    check_start(start, OWN, [0, 2], root)  # of which r is not


def test_each_fold_may_start_from_a_model_of_the_same_folds(root: Path) -> None:
    first(root, OWN["group"].to_list(), OWN["fold"].to_list())
    check_start(SAVED.format("fold-{fold}"), OWN, [0, 1, 2], root)
    with pytest.raises(BadInput, match=r"of the 2 battles of fold 1, .* with \{fold\} for the number"):
        check_start(SAVED.format("fold-0"), OWN, [0, 1, 2], root)


@pytest.mark.parametrize("start", ["elsewhere/model", "models/runs/gone/llama/refit/model", "../first/model"])
def test_of_what_is_not_known_nothing_is_refused(root: Path, start: str) -> None:
    first(root, OWN["group"].to_list(), OWN["fold"].to_list())
    check_start(start, OWN, [0, 1, 2], root)
