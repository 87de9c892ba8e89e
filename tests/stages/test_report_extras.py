"""What a report tells of a finished run beside its tables."""

from pathlib import Path

import numpy as np
import pytest

from battles.paths import RunPaths
from models.stacking.contrasts import from_logits
from oof.probabilities import log_probabilities
from report.browser import choose
from report.inputs import read
from stages import report_extras, stack
from tests.robustness.stages_in_process import RUN, STEPS, call, finished_run

SETTINGS = (
    "prepare.folds=3 stack.trials=1 stack.rounds=4 stack.bag=1 stack.trees=10 stack.workers=1 "
    "tfidf.bits=12 stack.symmetric=true"
)

UP_TO_STACK = [*STEPS][: [*STEPS].index("stack") + 1]


def test_what_explains_a_battle_adds_up_to_its_nested_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its own vote is in none of the terms."""
    finished_run(tmp_path, SETTINGS, seed=3, steps=UP_TO_STACK)
    monkeypatch.chdir(tmp_path)
    inputs = read(RunPaths(RUN), ["tfidf"])
    chosen = choose(inputs, each=10)
    why = report_extras.explanation(inputs, report_extras.training_inputs(inputs, ["tfidf"]), chosen)
    assert why.rows.tolist() == list(range(90))
    nested = from_logits(log_probabilities(inputs.stack.probabilities))
    np.testing.assert_allclose(why.values.sum(axis=1), np.stack(nested, axis=1), atol=1e-5)
    shown = np.isin(why.rows, np.concatenate([*chosen.values()]))
    assert 10 < shown.sum() < 90
    assert (np.isfinite(why.exchanged).all(axis=(1, 2)) == shown).all()
    # A stacker that cannot prefer a place: exchanged, the lead is the other one's.
    exchanged = why.exchanged[shown].sum(axis=1) * (-1, 1)
    np.testing.assert_allclose(exchanged, why.values[shown].sum(axis=1), atol=1e-5)


def test_a_stack_that_is_killed_before_all_of_it_is_saved_has_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make` takes the manifest for the whole folder: with it there, what is missing would never be made again."""
    finished_run(tmp_path, SETTINGS, seed=3, steps=UP_TO_STACK)
    monkeypatch.chdir(tmp_path)
    manifest = RunPaths(RUN).stack / "stack.json"
    manifest.unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stack, "_save_nested", killed)
        assert call(*STEPS["stack"][:1]).code != 0
    assert not manifest.exists()
    assert call(*STEPS["stack"][:1]).code == 0
    assert manifest.exists()
