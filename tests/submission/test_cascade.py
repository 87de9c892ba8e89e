"""The cascade under a fake clock, with fake language models whose every token takes its time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from models.stacking.level1_data import Level1Data
from models.stacking.settings import Stack
from models.stacking.subsets import Subsets, fit_subsets, inputs_of
from oof.metrics import log_loss
from oof.model_store import Variants
from oof.probabilities import softmax
from oof.table import MEAN, PLAIN, SWAPPED
from submission.cascade import Cascade
from tests.models.stacking.battles import raw_battles

ROWS = 1500
# Seconds of a token: the better model is ten times slower.
TOKEN = {"good": 0.01, "weak": 0.001}
WRITING = 3.0
LIMITS = (60, 120, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 9 * 3600)


@dataclass
class FakeClock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeReader:
    """Gives rows that are there already; `calls` are what it was asked for."""

    rows: Variants
    token: float
    clock: FakeClock
    tokens: np.ndarray
    load_seconds: float = 25.0
    at_once: int = 1
    broken: bool = False
    batch: int = 16
    calls: list[tuple[int, bool]] = field(default_factory=list)
    loads: int = 0
    loaded: bool = False

    def load(self) -> None:
        self.clock.now += 20
        self.loads, self.loaded = self.loads + 1, True

    def read(
        self, rows: np.ndarray, swapped: bool, advance: Callable[[int], None], stop: Callable[[], bool]
    ) -> np.ndarray:
        assert self.loaded
        self.calls.append((len(rows), swapped))
        values = np.full((len(rows), 3), np.nan)
        order = np.argsort(-self.tokens[rows], kind="stable")
        for begin in range(0, len(rows), self.batch):
            if stop():
                break
            part = order[begin : begin + self.batch]
            self.clock.now += self.token * float(self.tokens[rows[part]].sum())
            if self.broken:
                raise RuntimeError("CUDA error: an illegal memory access\nmore")
            values[part] = self.rows[SWAPPED if swapped else PLAIN][rows[part]]
            advance(len(part))
        return values

    def close(self) -> None:
        self.loaded = False


@dataclass
class World:
    """Test battles, their votes, and the stackers of battles like them."""

    variants: dict[str, Variants]
    features: tuple
    labels: np.ndarray
    subsets: Subsets
    full: object


def drawn(seed: int, rows: int) -> tuple[dict[str, Variants], tuple, np.ndarray]:
    given, labels = raw_battles(rows, seed, orders=True)
    variants = {
        name: {MEAN: values, PLAIN: given["orders"][name][0], SWAPPED: given["orders"][name][1]}
        for name, values in given["probabilities"].items()
    }
    return variants, (given["features"], given["swap"]), labels


@pytest.fixture(scope="module")
def world() -> World:
    variants, features, labels = drawn(0, 800)
    data = Level1Data(inputs_of(variants, *features), labels, np.arange(800) % 4)
    seconds = {name: 400 * token for name, token in TOKEN.items()}
    subsets = fit_subsets(variants, features, data, ("good", "weak"), seconds, Stack(symmetric=False, workers=1))
    # The regression of both bases stands for the stacker that ships.
    everything = fit_subsets(
        {**variants, "more": variants["weak"]}, features, data, ("more",), {"more": 1.0}, Stack(workers=1)
    )
    test, columns, votes = drawn(1, ROWS)
    return World(test, columns, votes, subsets, everything.models["good,weak"])


@dataclass
class Outcome:
    files: list[tuple[float, np.ndarray]]
    said: list[str]
    readers: dict[str, list[FakeReader]]
    failed: list[str] = field(default_factory=list)

    @property
    def last(self) -> np.ndarray:
        return self.files[-1][1]


def run(world: World, limit: float, models: int = 1, broken: str = "", **changes: float) -> Outcome:
    clock = FakeClock(1000.0)
    tokens = np.random.default_rng(2).integers(100, 800, ROWS)
    readers = {
        name: [
            FakeReader(world.variants[name], TOKEN[name] * changes.get(name, 1.0), clock, tokens, broken=name == broken)
            for _ in range(models)
        ]
        for name in TOKEN
    }
    outcome = Outcome([], [], readers)

    def publish(probabilities: np.ndarray) -> None:
        clock.now += WRITING
        assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-9
        outcome.files.append((clock.now - 1000, probabilities))

    def combine(late: dict[str, Variants]) -> np.ndarray:
        clock.now += 1.0
        return world.subsets.probabilities(late, *world.features, world.full)

    cascade = Cascade(
        readers, world.subsets, combine, publish, 1000 + limit, frozenset(TOKEN), clock, outcome.said.append
    )
    cascade.failed = lambda stage, error: outcome.failed.append(f"{stage}: {error}")
    cascade.run()
    assert clock.now - 1000 <= limit
    assert not any(reader.loaded for of_base in readers.values() for reader in of_base)
    return outcome


def stages(outcome: Outcome) -> list[str]:
    """What was done, in its order."""
    return [line.split("min: ")[1].split(":")[0] for line in outcome.said if "min: " in line]


@pytest.fixture(scope="module")
def by_limit(world: World) -> dict[int, Outcome]:
    return {limit: run(world, limit) for limit in LIMITS}


def test_every_limit_is_kept_and_gives_a_valid_file_early(by_limit: dict[int, Outcome]) -> None:
    for limit, outcome in by_limit.items():
        assert outcome.files[0][0] <= 10
        assert outcome.files[-1][0] <= limit


def test_the_loss_falls_as_the_limit_grows(world: World, by_limit: dict[int, Outcome]) -> None:
    losses = [log_loss(outcome.last, world.labels) for outcome in by_limit.values()]
    assert all(later <= earlier + 0.002 for earlier, later in pairwise(losses)), losses
    assert losses[-1] < losses[0] - 0.02
    assert losses[0] == pytest.approx(log_loss(by_limit[60].files[0][1], world.labels), abs=0.05)


def test_with_time_for_all_it_is_the_stack_that_ships(world: World, by_limit: dict[int, Outcome]) -> None:
    last = by_limit[9 * 3600]
    meta = inputs_of(world.variants, *world.features)
    np.testing.assert_allclose(last.last, softmax(world.full.logits(meta)), atol=1e-12)  # type: ignore[attr-defined]
    # All battles in one go, as `make submission` reads them.
    for (reader,) in last.readers.values():
        assert reader.calls == [(ROWS, False), (ROWS, True)]


def test_what_gains_most_per_second_comes_first(by_limit: dict[int, Outcome]) -> None:
    begun = stages(by_limit[9 * 3600])
    assert begun[0] == "weak, model 1"
    assert set(begun) == {
        "weak, model 1",
        "weak, model 1, swapped order",
        "good, model 1",
        "good, model 1, swapped order",
    }
    assert begun.index("good, model 1") < begun.index("good, model 1, swapped order")


def test_where_time_is_short_the_most_uncertain_battles_are_read(world: World) -> None:
    outcome = run(world, 3600)
    reader = outcome.readers["good"][0]
    whole, *parts = reader.calls
    assert whole == (ROWS, False)  # its pace was measured on the first batches
    assert parts
    assert all(0 < rows <= 512 for rows, _ in parts)
    (_, before), (_, after) = outcome.files[1:3]
    changed = np.abs(after - before).max(axis=1) > 1e-9
    entropy = -(before * np.log(before)).sum(axis=1)
    assert 0.1 < changed.mean() < 0.95
    assert entropy[changed].mean() > entropy[~changed].mean() + 0.02


def test_a_model_that_fails_costs_its_own_rows_only(world: World) -> None:
    outcome = run(world, 9 * 3600, broken="weak")
    assert outcome.failed == ["weak, model 1: CUDA error: an illegal memory access\nmore"]
    assert outcome.readers["good"][0].calls == [(ROWS, False), (ROWS, True)]
    expected = world.subsets.probabilities({"good": world.variants["good"]}, *world.features, world.full)
    np.testing.assert_allclose(outcome.last, expected, atol=1e-12)


def test_models_of_further_folds_come_last(world: World) -> None:
    outcome = run(world, 30 * 3600, models=2)
    begun = stages(outcome)
    assert [" 2" in name for name in begun] == [False] * 4 + [True] * 4
    assert all(reader.calls == [(ROWS, False), (ROWS, True)] for pair in outcome.readers.values() for reader in pair)


def test_a_card_that_is_slower_than_it_was_is_noticed(world: World) -> None:
    outcome = run(world, 1800, weak=100.0)
    assert outcome.readers["weak"][0].calls[0] == (ROWS, False)
    read = np.abs(outcome.last - outcome.files[0][1]).max(axis=1) > 1e-9
    assert 0 < read.mean() < 1


def test_the_forecast_says_the_loss_by_minute(world: World, by_limit: dict[int, Outcome]) -> None:
    losses = world.subsets.losses
    first, *later = [text for text in by_limit[9 * 3600].said if text.startswith("expected log loss by minute")]
    assert "of 1,500 battles, by out-of-fold rows; seconds as the out-of-fold rows took:" in first
    rows = [line.split(None, 2) for line in first.splitlines()[2:]]
    assert rows[0] == ["0.0", f"{losses[''].both:.4f}", "without a language model"]
    assert [what for _, _, what in rows[1:]].count("good, model 1, swapped order") == 1
    assert len(rows) == 5
    assert float(rows[-1][1]) == pytest.approx(losses["good,weak"].both, abs=1e-4)
    # Told once more when a speed is known, and right then about the minutes that are left.
    (again,) = later
    assert "seconds as measured here" in again
    last = float(again.splitlines()[-1].split()[0])
    took = by_limit[9 * 3600].files[-1][0] - by_limit[9 * 3600].files[1][0]
    assert last == pytest.approx(took / 60, rel=0.2)
    assert "good, model 1: " in by_limit[3600].said[0].splitlines()[-1]
    assert by_limit[3600].said[0].splitlines()[-1].endswith("% of the battles")
