import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from features.drift import LEAST_BATTLES, auc, drift


def _table(rows: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    columns = {f"column{number}": rng.normal(size=rows) for number in range(6)}
    columns["column3"] += shift
    # Half of the prompts are asked several times: the classifier must not learn them by heart.
    prompts = rng.integers(0, rows // 4, rows)
    columns |= {"prompt_length": prompts * 1.0 + seed / 10, "strength_a": rng.normal(size=rows) + 9 * seed}
    return pd.DataFrame({"id": [f"{seed}-{row}" for row in range(rows)], **columns})


def test_what_is_alike_is_not_told_apart() -> None:
    found = drift(_table(900, 1).drop(columns="prompt_length"), _table(700, 2).drop(columns="prompt_length"))
    assert found is not None
    assert found.auc == pytest.approx(0.5, abs=4 * found.chance)
    assert not found.noticeable
    assert "strength_a" not in set(found.columns["column"])  # fitted on other rows for the test battles


def test_a_shifted_column_is_named() -> None:
    found = drift(_table(900, 1), _table(700, 1, shift=1.5))
    assert found is not None
    assert found.noticeable
    first = found.columns.iloc[0]
    assert first["column"] == "column3"
    assert first["test"] - first["train"] == pytest.approx(1.5, abs=0.2)
    assert "column3 (median" in found.words()


def test_few_battles_are_not_compared() -> None:
    assert drift(_table(LEAST_BATTLES - 1, 1), _table(500, 2)) is None


def test_auc_equals_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 9, 300), rng.integers(0, 2, 300)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
