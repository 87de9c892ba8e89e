"""What brings a run within its hours."""

import re

import numpy as np
import pytest

from models.transformer.planning import plan
from models.transformer.planning.schedule import describe_hours, shortened
from models.transformer.planning.throughput import Pace
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.planning.test_plan import MEMORY

HOUR = 3600.0


def _plan(hours: float, **changes: object) -> plan.Plan:
    """A base whose five folds take so many hours together, of battles of 500 to 2,000 tokens."""
    base = Transformer.model_validate({"backbone": "a/b", "max_length": 2048, "lora": Lora(), "epochs": 2, **changes})
    models = {"fold": plan.Models(5, 800.0, 400.0)}
    pace = Pace(1.0, 1.0, 1e12)
    scale = HOUR * hours / plan.Times(base, pace).all(models)
    pace = Pace(scale, scale, 1e12)
    times = plan.Times(base, pace)
    one = models["fold"]
    counts = np.minimum([500, 1000, 1500, 2000], base.max_length)
    return plan.Plan(
        settings=base, memory=MEMORY, models=models, sampled=4, counts=counts,
        train_tokens=0, predict_tokens=0, pace=pace, small=False, train_seconds=times.training(one),
        predict_seconds=times.predicting(one), seconds=times.all(models), disk=0, stored=0, download=0,
        fits=True, spare=None, fix=None,
    )  # fmt: skip


def test_what_fits_is_said() -> None:
    assert describe_hours({"one": _plan(10), "two": _plan(13)}, 24, 1) == "HOURS=24: 23.0 h in all, it fits"


def test_the_mildest_settings_that_suffice_are_named() -> None:
    # Of the seconds, 1,600 in 2,400 are training and 400 are the second order.
    plans = {"one": _plan(12), "two": _plan(12)}
    assert shortened(plans["one"], {"tta": "none"}) == pytest.approx(12 * HOUR * 2000 / 2400)
    cut = (500 + 1000 + 2 * 1024) / 5000
    assert shortened(plans["one"], {"max_length": 1024}) == pytest.approx(12 * HOUR * cut)
    assert shortened(plans["one"], {"epochs": 1}) == pytest.approx(12 * HOUR * 1600 / 2400)
    found = describe_hours(plans, 21, 1)
    assert 'SET="one.tta=none two.tta=none" (20.0 h)' in found
    assert "FOLDS=0,1,2,3 (19.2 h)" in found
    assert found.endswith("2 such cards, NPROC=2")
    assert 'SET="one.max_length=1024 two.max_length=1024"' in describe_hours(plans, 18, 1)
    assert 'SET="one.tta=none one.max_length=1024 two.tta=none' in describe_hours(plans, 15, 1)
    assert "epochs=1" in describe_hours(plans, 6, 1)
    assert "SET" not in describe_hours(plans, 3, 1)
    assert "FOLDS" not in describe_hours(plans, 3, 1)
    assert describe_hours(plans, 3, 2).endswith("with 16 such cards, NPROC=16")


def test_what_would_change_nothing_is_left_out() -> None:
    plans = {"one": _plan(20, tta="none"), "two": _plan(10, max_length=512)}
    found = describe_hours(plans, 25, 1)
    words = re.search(r'SET="([^"]*)"', found)
    assert words is not None
    assert words[1] == "one.max_length=1024"
    assert "one.tta" not in describe_hours(plans, 21, 1)
