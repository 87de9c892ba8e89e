from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from models.transformer.backbone.packing import FLEX_BLOCK, block_mask, causal_block_masks

CPU = torch.device("cpu")


def _lengths(seed: int) -> list[int]:
    """Tokens of a pack: short battles, some as long as several blocks, and what fills the last block."""
    generator = np.random.default_rng(seed)
    drawn = [int(length) for length in np.exp(generator.uniform(0, 6.5, 12))]
    return [*drawn, -sum(drawn) % FLEX_BLOCK or FLEX_BLOCK]


def _by_every_pair(lengths: list[int], causal: bool, window: int | None) -> BlockMask:
    """The mask as torch finds it, from every pair of tokens."""
    sequence = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))

    def may_see(batch: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        allowed = sequence[query] == sequence[key]
        if causal:
            allowed = allowed & (query >= key)
        return allowed if window is None else allowed & (query - key < window)

    return create_block_mask(may_see, 1, None, len(sequence), len(sequence), device="cpu")


def _blocks(count: torch.Tensor, columns: torch.Tensor) -> list[set[int]]:
    return [set(row[:number].tolist()) for number, row in zip(count[0, 0].tolist(), columns[0, 0], strict=True)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("causal", "window"), [(False, None), (True, None), (True, 1), (True, 127), (True, 300)])
def test_blocks_are_those_that_every_pair_of_tokens_gives(seed: int, causal: bool, window: int | None) -> None:
    lengths = _lengths(seed)
    found, wanted = block_mask(lengths, CPU, causal, window), _by_every_pair(lengths, causal, window)
    assert found.shape == wanted.shape
    for kind in ("kv", "full_kv", "q", "full_q"):
        names = f"{kind}_num_blocks", f"{kind}_indices"
        ours, theirs = ([getattr(mask, name) for name in names] for mask in (found, wanted))
        assert _blocks(*ours) == _blocks(*theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one.dtype == other.dtype
            assert one.shape == other.shape
    at = torch.arange(sum(lengths))
    nothing = torch.zeros((), dtype=torch.int64)
    every_pair = [mask.mask_mod(nothing, nothing, at[:, None], at[None]) for mask in (found, wanted)]
    assert torch.equal(*every_pair)


def test_a_pack_of_one_battle_is_causal_attention() -> None:
    mask = block_mask([4 * FLEX_BLOCK], CPU)
    assert _blocks(mask.kv_num_blocks, mask.kv_indices) == [{0}, {1}, {2}, {3}]
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    assert _blocks(mask.full_kv_num_blocks, mask.full_kv_indices) == [set(), {0}, {0, 1}, {0, 1, 2}]


def test_only_layers_with_a_window_get_another_mask_and_only_where_it_hides_something() -> None:
    kinds = ["sliding_attention", "full_attention"]
    config = SimpleNamespace(model_type="gemma2", sliding_window=200, layer_types=kinds)
    masks = causal_block_masks(config, [200, 56], CPU)
    assert masks["sliding_attention"] is masks["full_attention"]
    masks = causal_block_masks(config, [201, 55], CPU)
    at = torch.tensor([200]), torch.tensor([0])
    assert masks["full_attention"].mask_mod(None, None, *at)
    assert not masks["sliding_attention"].mask_mod(None, None, *at)
    for kind, window, sees in (("llama", None, True), ("mistral", 200, False)):
        config = SimpleNamespace(model_type=kind, sliding_window=window)
        assert bool(causal_block_masks(config, [201, 55], CPU).mask_mod(None, None, *at)) is sees
