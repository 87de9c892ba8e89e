import numpy as np
import pytest
import torch

from models.transformer.data.batching import batches, collate, computed_tokens, packs, token_batches, training_steps
from models.transformer.data.tokenization import Encoded


def _encoded(lengths: list[int]) -> Encoded:
    """Battles whose tokens tell battle and part: 1xx is battle 1's; the template is one token between parts."""
    a = [np.arange(n, dtype=np.int32) + 100 * row for row, n in enumerate(lengths)]
    b = [np.array([90 + row], dtype=np.int32) for row in range(len(lengths))]
    empty = [np.zeros(0, dtype=np.int32) for _ in lengths]
    frame = tuple(np.array([number], dtype=np.int32) for number in (1001, 1002, 1003, 1004))
    return Encoded((empty, a, b), frame, np.array(lengths) + 5)  # type: ignore[arg-type]


def test_batches_cover_every_row_once_longest_first_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    batches = token_batches(lengths, 1024)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(rows) * lengths[rows].max() <= 1024 for rows in batches)
    longest = [lengths[rows].max() for rows in batches]
    assert longest == sorted(longest, reverse=True)
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert 1 - lengths.sum() / padded <= 0.05


def test_a_row_over_the_budget_is_a_batch_of_its_own() -> None:
    batches = token_batches(np.array([10, 5000, 10]), 100)
    assert [rows.tolist() for rows in batches] == [[1], [0, 2]]


@pytest.mark.parametrize("multiple", [1, 128])
def test_packs_cover_every_row_once_longest_first_within_the_budget(multiple: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    found = packs(lengths, 1000, multiple)
    assert sorted(np.concatenate(found).tolist()) == list(range(500))
    assert all(computed_tokens(lengths[rows], multiple) <= 1000 for rows in found)
    assert lengths.max() in lengths[found[0]]
    assert 1 - lengths.sum() / sum(computed_tokens(lengths[rows], multiple) for rows in found) <= 0.05
    # No more packs than it takes when each but the last is nearly full.
    assert len(found) <= 1.02 * lengths.sum() / (1000 // multiple * multiple) + 1


def test_a_row_over_the_budget_is_a_pack_of_its_own() -> None:
    assert [rows.tolist() for rows in packs(np.array([10, 5000, 10]), 100, 1)] == [[1], [0, 2]]


def test_the_tokens_computed_are_those_of_the_tensor() -> None:
    lengths = np.array([7, 3, 5])
    assert computed_tokens(lengths, 0) == 21
    assert computed_tokens(lengths, 1) == 15
    assert computed_tokens(lengths, 4) == 16


def test_training_steps_cover_every_row_once_and_are_seeded() -> None:
    lengths = np.random.default_rng(1).integers(5, 200, 1003)
    steps = list(training_steps(lengths, 16, np.random.default_rng(4)))
    assert sorted(np.concatenate(steps).tolist()) == list(range(1003))
    assert sorted(len(step) for step in steps)[1:] == [16] * 62
    again = list(training_steps(lengths, 16, np.random.default_rng(4)))
    assert all(np.array_equal(one, two) for one, two in zip(steps, again, strict=True))
    other = np.concatenate(list(training_steps(lengths, 16, np.random.default_rng(5))))
    assert not np.array_equal(np.concatenate(steps), other)


def test_training_steps_put_like_lengths_together_without_sorting_the_epoch() -> None:
    # Lengths as skewed as those of real battles, a fifth of them cut to the limit.
    lengths = np.random.default_rng(2).lognormal(6.1, 1, 4000).clip(30, 1024).astype(int)
    steps = list(training_steps(lengths, 16, np.random.default_rng(0)))
    parts = [step[part] for step in steps for part in batches(lengths[step], 16384, 0)]
    assert 1 - lengths.sum() / sum(computed_tokens(lengths[part], 0) for part in parts) <= 0.03
    means = [lengths[step].mean() for step in steps]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_the_step_of_the_longest_row_comes_first() -> None:
    lengths = np.random.default_rng(3).integers(5, 500, 3000)
    for seed in range(3):
        first = next(iter(training_steps(lengths, 16, np.random.default_rng(seed))))
        assert lengths[first].max() == lengths.max()


def test_collating_pads_on_the_right_and_exchanges_the_swapped_rows() -> None:
    encoded = _encoded([2, 4])
    batch = collate(encoded, np.array([1, 0]), np.array([False, True]), 7, torch.device("cpu"))
    assert batch["input_ids"].tolist() == [
        [1001, 1002, 100, 101, 102, 103, 1003, 91, 1004],
        [1001, 1002, 90, 1003, 0, 1, 1004, 7, 7],
    ]
    assert batch["attention_mask"].tolist() == [[1] * 9, [1] * 7 + [0, 0]]


def test_packed_steps_are_of_mixed_lengths_and_need_fewer_packs() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(6.2, 1.0, 4000).astype(np.int64), 16, 2048)

    def micro_batches(packed: bool) -> float:
        steps = list(training_steps(lengths, 16, np.random.default_rng(1), packed))
        assert np.array_equal(np.sort(np.concatenate(steps)), np.arange(4000))
        assert lengths[steps[0]].max() == lengths.max()  # running out of memory shows at once
        return float(np.mean([len(packs(lengths[step], 16384, 128)) for step in steps]))

    assert micro_batches(True) < 1.1 < 1.2 < micro_batches(False)
    waste = [computed_tokens(lengths[step], 128) / lengths[step].sum() for step in [np.arange(16), np.arange(16, 32)]]
    assert max(waste) < 1.02
