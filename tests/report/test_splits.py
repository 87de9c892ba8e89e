"""Figures over several splits."""

import numpy as np
import pytest

from oof.metrics import paired_standard_error
from report.splits import spread, text_table


def test_figures_over_splits_are_those_of_a_slow_reference() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 20, 60)
    losses = {seed: {"one": rng.gamma(2.0, 0.5, 60), "stack": rng.gamma(2.0, 0.4, 60)} for seed in (4, 5, 6)}
    figures = spread(losses, groups, "stack")
    for name in ("one", "stack"):
        of_splits = [sum(losses[seed][name]) / 60 for seed in losses]
        mean = sum(of_splits) / 3
        assert figures[name]["splits"] == pytest.approx(of_splits)
        assert figures[name]["mean"] == pytest.approx(mean)
        assert figures[name]["deviation"] == pytest.approx((sum((x - mean) ** 2 for x in of_splits) / 2) ** 0.5)
    means = {name: sum(losses[seed][name] for seed in losses) / 3 for name in ("one", "stack")}
    assert figures["one"]["difference"] == pytest.approx(np.mean(means["one"] - means["stack"]))
    assert figures["one"]["difference_standard_error"] == paired_standard_error(means["one"], means["stack"], groups)
    assert (figures["stack"]["difference"], figures["stack"]["difference_standard_error"]) == (0.0, 0.0)


def test_the_best_model_stands_first_and_no_line_is_longer_than_a_terminal() -> None:
    rng = np.random.default_rng(3)
    names = ("a" * 200, "stack", "second")
    losses = {seed: {name: rng.gamma(2.0, 0.5, 40) for name in names} for seed in range(2)}
    lines = text_table(spread(losses, np.arange(40), "stack")).splitlines()
    values = [float(line.split()[1]) for line in lines[1:]]
    assert values == sorted(values)
    assert max(map(len, lines)) <= 120
