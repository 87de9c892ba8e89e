import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from battles.schema import ID
from battles.swap import swap_battles, swap_columns
from features.settings import Features
from features.table import MEASURED, RATED, WORDS, fit, forget, handcrafted
from tests.features.battles import ODD, odd, styled, table


def values(features: pd.DataFrame) -> pd.DataFrame:
    return features.drop(columns=ID)


def test_every_column_does_what_it_declares() -> None:
    battles = pd.concat([odd(), styled(100)[0]], ignore_index=True)
    plain, swap = handcrafted(battles)
    swapped, swap_again = handcrafted(swap_battles(battles))
    assert swap == swap_again
    assert set(swap) == set(values(plain))
    pd.testing.assert_frame_equal(swap_columns(values(plain), swap), values(swapped))


def test_every_column_with_strength_does_what_it_declares() -> None:
    battles, folds = styled()
    plain, _, swap, _ = fit(battles, folds, Features())
    swapped = fit(swap_battles(battles), folds, Features()).table
    assert set(swap) == set(values(plain))
    pd.testing.assert_frame_equal(swap_columns(values(plain), swap), values(swapped), rtol=1e-3, atol=1e-4)


def test_at_least_fifty_finite_float32_columns_of_odd_texts() -> None:
    features, swap = handcrafted(odd())
    assert len(swap) >= 50
    assert (values(features).dtypes == np.float32).all()
    assert np.isfinite(values(features).to_numpy()).all()
    assert features[ID].tolist() == odd()[ID].tolist()


def test_no_battles() -> None:
    features, swap = handcrafted(odd().head(0))
    assert len(features) == 0
    assert set(values(features)) == set(swap)


def test_row_order_and_neighbours_do_not_matter() -> None:
    battles = pd.concat([odd(), styled(60)[0]], ignore_index=True)
    whole, _ = handcrafted(battles)
    order = np.random.default_rng(3).permutation(len(battles))
    forget()
    shuffled, _ = handcrafted(battles.iloc[order])
    pd.testing.assert_frame_equal(whole.iloc[order].reset_index(drop=True), shuffled)
    alone, _ = handcrafted(battles.iloc[[7]])
    pd.testing.assert_frame_equal(whole.iloc[[7]].reset_index(drop=True), alone)


def test_several_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    battles = odd()
    one, _ = handcrafted(battles)
    monkeypatch.setattr("features.table._CHUNK", 20)
    monkeypatch.setattr("features.table._PARALLEL_FROM", 1)
    two, _ = handcrafted(battles, jobs=2)
    pd.testing.assert_frame_equal(one, two)


def test_a_huge_response_needs_little_memory() -> None:
    battles = table([(["hi"], ["many words here " * 13_000], ["short"])])
    forget()
    tracemalloc.start()
    handcrafted(battles)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_identical_responses_are_told() -> None:
    features, _ = handcrafted(table([(["q"], text, text) for text in ODD]))
    assert (features["identical"] == 1).all()
    odd_columns = [name for name in features if name.endswith("_diff")]
    assert (features[odd_columns] == 0).all().all()


def test_folds_of_other_battles_are_refused() -> None:
    battles, folds = styled(80)
    with pytest.raises(ValueError, match="fold table"):
        fit(battles, folds.iloc[::-1], Features())


def test_importing_features_needs_neither_torch_nor_transformers() -> None:
    code = "import sys, features.table; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_work_of_every_battle_is_counted() -> None:
    battles, folds = styled(60)
    counted: list[int] = []
    model = fit(battles, folds, Features(), count=counted.append).model
    assert sum(counted) == (MEASURED + WORDS + RATED) * len(battles)
    counted.clear()
    model.columns(battles.head(7), count=counted.append)
    assert sum(counted) == (MEASURED + WORDS) * 7
