import numpy as np
import pytest

from oof.metrics import log_loss
from report.stack_metrics import StackResults, stack_metrics, summary

ROWS = 60
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, ROWS)
MODELS = {name: RNG.dirichlet([2, 2, 2], ROWS) for name in ("one", "two", "prior", "stack")}
LOST = {"one": {"change": 0.01, "standard_error": 0.002}, "two": {"change": -0.002, "standard_error": 0.001}}
ABOUT = {"shipped": "prior", "optimistic": {"booster": 0.9, "handcrafted": 0.8}}


def _results(seconds: dict[str, float]) -> StackResults:
    bases = {name: MODELS[name] for name in ("one", "two")}
    return StackResults(LABELS, None, bases, {name: MODELS[name] for name in ("prior", "stack")}, "stack", seconds)


def test_metrics_hold_bases_and_candidates_scored_against_the_stack() -> None:
    metrics = stack_metrics(_results({"one": 2.0, "stack": 3.0}), 70, LOST, ABOUT)
    assert (metrics["battles"], metrics["covered"], metrics["shipped"]) == (70, ROWS, "prior")
    assert list(metrics["bases"]) == ["one", "two"]
    assert list(metrics["candidates"]) == ["prior", "stack"]
    for name, figures in (metrics["bases"] | metrics["candidates"]).items():
        assert figures["log_loss"] == pytest.approx(log_loss(MODELS[name], LABELS))
        assert (figures["difference_standard_error"] == 0) == (name == "stack")
    assert (metrics["bases"]["one"]["seconds"], metrics["bases"]["two"]["seconds"]) == (2.0, None)
    assert metrics["candidates"]["stack"]["seconds"] == 3.0


def test_the_summary_says_what_ships_and_what_is_optimistic() -> None:
    metrics = stack_metrics(_results({}), ROWS, LOST, ABOUT)
    lines = summary(metrics, "stack").splitlines()
    assert "nats lost by the optimal blend without a base: one +0.0100 ± 0.0020, two -0.0020 ± 0.0010" in lines
    assert "chosen trial on the folds it was chosen on, optimistic: 0.8000" in lines
    assert lines[0].startswith("model")
    assert f"* ships: prior. Nested log loss of the stack: {log_loss(MODELS['stack'], LABELS):.4f} ± " in lines[-1]
    assert max(map(len, lines)) <= 120
    untuned = summary(stack_metrics(_results({}), ROWS, {}, {"shipped": "prior", "optimistic": {}}), "stack")
    assert "optimistic" not in untuned
    assert "without a base" not in untuned
