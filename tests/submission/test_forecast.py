"""The log loss by minute, of known losses and seconds; and what `make plan` prints of a finished run."""

import shutil
from pathlib import Path

import pytest

from battles.files import write_json
from models.stacking.subsets import Losses, Subsets
from stages import plan
from submission.forecast import Gains, Key, Stage, describe, forecast, load_seconds
from tests.robustness.stages_in_process import call
from tests.submission.small_run import MODELS

SECONDS = {"big": 6000.0, "small": 600.0}
LOSSES = {
    "tfidf": Losses(1.02, 1.02),
    "tfidf,small": Losses(0.99, 0.98),
    "big,tfidf": Losses(0.92, 0.90),
    "big,tfidf,small": Losses(0.91, 0.885),
}


def gains(**models: int) -> Gains:
    subsets = Subsets(("big", "tfidf", "small"), ("big", "small"), dict.fromkeys(LOSSES), LOSSES, SECONDS, (0.3,) * 3)  # type: ignore[arg-type]
    return Gains(subsets, models or {"big": 1, "small": 1}, frozenset(SECONDS))


def by_minute(hours: float, of: Gains | None = None, read: tuple[Key, ...] = ()) -> list[tuple[float, float, str]]:
    stops = forecast(of or gains(), lambda stage: 60.0, lambda stage: SECONDS[stage.base], 3600 * hours, read)
    return [(round(stop.minutes, 2), round(stop.loss, 5), stop.what) for stop in stops]


def test_stages_come_by_gain_per_second_and_a_model_is_loaded_once() -> None:
    assert by_minute(9) == [
        (0.0, 1.02, "without a language model"),
        (11.0, 0.99, "small, model 1"),
        (21.0, 0.98, "small, model 1, swapped order"),  # no second load
        (122.0, 0.8975, "big, model 1"),  # both orders of one of two: half of what the second orders do
        (222.0, 0.885, "big, model 1, swapped order"),
    ]


def test_of_what_does_not_end_in_time_the_part_counts_that_does() -> None:
    *_, last = by_minute(72 / 60)
    assert last == (72.0, round(0.98 - 0.5 * (0.98 - 0.8975), 5), "big, model 1: 50% of the battles")
    assert by_minute(22 / 60)[-1][2] == "small, model 1, swapped order"  # no time to load the other
    losses = [by_minute(minutes / 60)[-1][1] for minutes in range(1, 240)]
    assert losses == sorted(losses, reverse=True)
    assert all(by_minute(minutes / 60)[-1][0] <= minutes for minutes in range(1, 240))


def test_models_of_other_folds_come_last_and_their_gain_is_not_made_up() -> None:
    many = gains(big=2, small=2)
    stops = forecast(many, lambda stage: 60.0, lambda stage: SECONDS[stage.base], 1e9)
    assert [stop.known for stop in stops] == [True] * 5 + [False] * 4
    assert {stop.loss for stop in stops[4:]} == {stops[4].loss}
    text = describe(stops, 25_000, "seconds as drawn")
    assert text.splitlines()[0] == (
        "expected log loss by minute, of 25,000 battles, by out-of-fold rows; seconds as drawn:"
    )
    assert text.splitlines()[-1] == "   444.0  not known  4 more orders by models of other folds"


def test_what_has_been_read_is_where_it_begins() -> None:
    read = (("small", 0, False), ("small", 0, True))
    assert by_minute(9, read=read)[0] == (0.0, 0.98, "as it is now")
    assert [what for _, _, what in by_minute(9, read=read)[1:]] == ["big, model 1", "big, model 1, swapped order"]


def test_a_base_that_was_left_out_is_in_no_stage() -> None:
    assert [what for _, _, what in by_minute(9, gains(small=1))][1:] == [
        "small, model 1",
        "small, model 1, swapped order",
    ]


def test_a_stage_says_what_it_is_and_loading_is_slow() -> None:
    assert str(Stage("big", 1, True, 0.0)) == "big, model 2, swapped order"
    assert load_seconds(18.5e9) == pytest.approx(380)


def planned(monkeypatch: pytest.MonkeyPatch, card: str = "2xt4") -> str:
    """What `make plan CARD=… HOURS=9` prints of the run in the working folder, from the table on."""
    monkeypatch.setenv("ARENA_CARD", card)
    monkeypatch.setenv("ARENA_HOURS", "9")
    outcome = call(plan.main)
    assert outcome.code == 0, outcome
    return "\n".join(line for line in outcome.out.partition("expected log loss by minute")[2].splitlines() if line)


def test_make_plan_prints_the_same_table_of_a_finished_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("battles", "models"):
        shutil.copytree(small / room, tmp_path / room)
    monkeypatch.chdir(tmp_path)
    subsets = Subsets.load(MODELS / "stack" / "subsets")
    header, columns, *rows = planned(monkeypatch).splitlines()[:6]
    assert header == ", of 25,000 battles, by out-of-fold rows; seconds as computed above, loading at 50 MB/s:"
    assert columns.split() == ["minute", "log", "loss", "read", "until", "then"]
    stops = [(float(row.split()[1]), row.split(None, 2)[2]) for row in rows[:3]]
    assert [what for _, what in stops] == [
        "without a language model",
        "llama, model 1",
        "llama, model 1, swapped order",
    ]
    assert stops[0][0] == pytest.approx(subsets.losses["tfidf"].both, abs=1e-4)
    assert stops[2][0] == pytest.approx(subsets.losses["llama,tfidf"].both, abs=1e-4)
    assert rows[3].endswith("not known  2 more orders by models of other folds")
    # Two cards read twice as fast as one; both load the model.
    one, two = (
        [float(row.split()[0]) for row in planned(monkeypatch, card).splitlines()[2:5]] for card in ("t4", "2xt4")
    )
    assert one[2] - one[1] == pytest.approx(2 * (two[2] - two[1]), abs=0.1)

    record = next((MODELS / "llama").glob("fold-0/model/precision.json"))
    write_json(record, {"dtype": "bfloat16", "quantization": "int8"})  # smaller than what is planned: it fits
    assert "llama, model 1" in planned(monkeypatch)
    shutil.rmtree(MODELS / "llama")
    assert planned(monkeypatch).startswith(f": {MODELS}/llama/base.json: ")
    shutil.rmtree(MODELS / "stack")
    assert planned(monkeypatch).startswith(": not known before the run has a stack (make stack RUN=r)")
