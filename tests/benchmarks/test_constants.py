"""The recorded candidates give what the stacker gives, so that other constants can be tried on them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.constants import OTHERS, Recorded, mixed, record, report, stacked
from benchmarks.real_battles import Split
from models.stacking.level1_data import Level1Data
from models.stacking.mixture import MIX_PENALTY, WEIGHTS
from models.stacking.selection import MINIMUM_LEAD
from models.stacking.settings import MIX, STACK
from models.stacking.stacker import stack
from oof.metrics import log_loss
from oof.probabilities import softmax
from tests.models.stacking.battles import QUICK, battles


@pytest.fixture(scope="module")
def recorded() -> tuple[list[Recorded], Level1Data]:
    data = battles(300)
    return record(Split(data, {fold: data.rows(data.folds != fold) for fold in range(5)}), QUICK), data


def test_the_constants_as_they_are_give_the_nested_stack(
    recorded: tuple[list[Recorded], Level1Data], tmp_path: Path
) -> None:
    folds, data = recorded
    nested = stack(data, QUICK, tmp_path / "study.journal")
    for fold in folds:
        for name, logits in (
            (MIX, mixed(fold, WEIGHTS, MIX_PENALTY)[1]),
            (STACK, stacked(fold, WEIGHTS, MINIMUM_LEAD)),
        ):
            np.testing.assert_allclose(softmax(logits), nested.probabilities[name][fold.held], atol=1e-9)


def test_the_report_has_a_line_for_each_constant(recorded: tuple[list[Recorded], Level1Data]) -> None:
    folds, data = recorded
    lines = list(report([folds, folds], data))
    mix = np.zeros((len(data), 3))
    for fold in folds:
        mix[fold.held] = softmax(mixed(fold, WEIGHTS, MIX_PENALTY)[1])
    assert lines[0].split()[-1] == f"{log_loss(mix, data.labels):.5f}"
    assert sum(line.startswith("penalty") for line in lines) == 7
    assert sum(line.startswith("weights") for line in lines) == len(OTHERS["with features"])
    assert sum(line.startswith("least lead") for line in lines) == 4
