from pathlib import Path

import numpy as np
import pytest

from battles.folds import prompt_key
from battles.sample import generate
from battles.schema import turns
from battles.settings import Sample as SampleSettings
from benchmarks import recipes
from models.transformer.settings import Transformer
from stages.params_file import merge
from tests.models.transformer.checkpoints import make_checkpoint, settings


def _sample() -> recipes.Sample:
    battles = generate(SampleSettings(train=50, test=10, seed=3)).train
    truth = np.random.default_rng(1).dirichlet(np.ones(3), 50)
    own, further = (part.reset_index(drop=True) for part in (battles[:28], battles[28:]))
    return recipes.Sample(own, further, truth[:28], truth[28:])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    path = make_checkpoint(tmp_path_factory.mktemp("tiny"), "llama")
    values = settings(path, head_from=["a", "b", "c"], eval_battles=0, max_length=80, truncation="right").model_dump(
        mode="json"
    )
    return Transformer.model_validate(values)


def test_every_option_is_a_valid_change_and_follows_what_it_is_compared_with(base: Transformer) -> None:
    names = list(recipes.OPTIONS)
    for name, option in recipes.OPTIONS.items():
        changed = Transformer.model_validate(merge(base.model_dump(mode="json"), option.changes))
        assert changed != base or option.gets is not None or name == recipes.START
        assert names.index(option.beside) <= names.index(name)
        other = (recipes.FOLDS_TOGETHER, recipes.ONE_MODEL)  # they predict other battles
        assert (option.gets in other) == (recipes.OPTIONS[option.beside].gets in other)


def test_each_option_gives_a_loss_of_each_battle_of_its_own(base: Transformer, tmp_path: Path) -> None:
    sample, found = _sample(), {}
    for name in (recipes.START, recipes.FURTHER, recipes.STAGE, recipes.TEACHER):
        option = recipes.OPTIONS[name]
        changed = Transformer.model_validate(merge(base.model_dump(mode="json"), {**option.changes, "head_from": None}))
        folder = tmp_path / name
        (folder / "further").mkdir(parents=True)
        found[name] = recipes.losses(sample, changed, option.gets, folder)
        assert found[name].shape == (28,)
        assert (found[name] > 0).all()
    start = found.pop(recipes.START)
    assert not any(np.array_equal(start, other) for other in found.values())


def test_the_one_model_is_compared_with_its_folds_on_the_further_battles(base: Transformer, tmp_path: Path) -> None:
    sample, found = _sample(), {}
    gentle = base.model_copy(update={"learning_rate": 1e-4})
    for name in (recipes.FOLDS_TOGETHER, recipes.ONE_MODEL):
        folder = tmp_path / name
        folder.mkdir()
        found[name] = recipes.losses(sample, gentle, name, folder)
        assert found[name].shape == (22,)
    # The mean of models that have hardly left their start: alike, and not the same.
    gap = np.abs(found[recipes.ONE_MODEL] - found[recipes.FOLDS_TOGETHER])
    assert 0 < gap.mean() < 0.02
    assert list((tmp_path / recipes.ONE_MODEL).glob("adapters-0-1-2-3-4/model"))
    assert not list((tmp_path / recipes.FOLDS_TOGETHER).glob("adapters-*"))


def test_a_difference_is_given_beside_its_errors() -> None:
    found = {recipes.START: np.array([[1.0, 1.0], [1.0, 1.0]]), "DoRA": np.array([[0.8, 1.0], [0.8, 0.8]])}
    line = recipes.described("DoRA", found)
    assert "0.8500   -0.1500 ± 0.0500, spread 0.0707" in line
    assert recipes.described(recipes.START, found).strip().endswith("1.0000")


def test_what_is_put_aside_shares_no_prompt_with_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    battles = generate(SampleSettings(train=60, test=10, seed=3)).train
    monkeypatch.setattr(recipes, "read_table", lambda path: battles)
    monkeypatch.setattr(recipes, "read_json", lambda path, sealed: {"settings": {"seed": 3}})
    sample = recipes.Sample.of(recipes.RunPaths("sample"))
    own, further = ({prompt_key(p) for p in turns(part["prompt"])} for part in (sample.own, sample.further))
    assert not own & further
    assert len(sample.own) + len(sample.further) == 60
    for part, truth in ((sample.own, sample.truth), (sample.further, sample.truth_of_further)):
        assert len(part) == len(truth)
        np.testing.assert_allclose(truth.sum(axis=1), 1)
