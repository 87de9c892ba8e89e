import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers.modeling_flash_attention_utils as flash
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForSequenceClassification

from battles.errors import BadInput
from models.transformer.backbone.packing import DECODERS, pack_multiple
from models.transformer.backbone.pretrained import load_tokenizer
from models.transformer.data.tokenization import Encoded, encode
from models.transformer.engine.forward import forward
from models.transformer.settings import Lora, Transformer
from tests.models.transformer.checkpoints import battles, load, settings

# Of logits of size 3 by layers in float64: what the head rounds in float32.
ROUNDING = 2e-6
ROWS = np.array([7, 3, 21, 0, 12, 30])
SWAPPED = np.array([False, True, False, True, True, False])
KINDS = [("roberta", "sdpa"), ("roberta", "eager"), ("llama", "sdpa"), ("llama", "eager"), ("gemma2", "eager")]
ADAPTERS = Lora(rank=4, dropout=0.0)


def _loaded(base: Transformer) -> tuple[Any, Encoded, int]:
    """A model in evaluation mode whose head and adapters are drawn wide, so that an error in the logits shows."""
    tokenizer = load_tokenizer(base)
    pad = tokenizer.pad_token_id
    model = load(base, 1, pad, torch.device("cpu")).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ("lora" in name or "score" in name or "classifier" in name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return model, encode(tokenizer, battles(), base), pad


def _widen(model: Any) -> None:
    """Layers in float64, in which what sums in another order round away is far below any error; the head stays."""
    model.double()
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    head = (bare.classifier if hasattr(bare, "classifier") else bare.score).float()
    head.register_forward_pre_hook(lambda module, given: tuple(value.float() for value in given))


def _one_by_one(model: Any, encoded: Encoded) -> torch.Tensor:
    """What the stock classes say of each battle alone."""
    found = []
    for row, swapped in zip(ROWS, SWAPPED, strict=True):
        ids = torch.from_numpy(encoded.sequence(int(row), bool(swapped)).astype(np.int64))[None]
        found.append(model(input_ids=ids).logits[0])
    return torch.stack(found)


@pytest.mark.parametrize("lora", [None, ADAPTERS], ids=["whole", "lora"])
@pytest.mark.parametrize(("name", "attention"), KINDS)
def test_padded_and_packed_logits_equal_one_by_one(
    checkpoints: dict[str, Path], name: str, attention: str, lora: Lora | None
) -> None:
    model, encoded, pad = _loaded(settings(checkpoints[name], attention=attention, lora=lora))
    _widen(model)
    with torch.inference_mode():
        alone = _one_by_one(model, encoded)
        assert alone.std(dim=0).min() > 0.02
        for multiple in (0, 1, 128):
            together = forward(model, encoded, ROWS, SWAPPED, pad, multiple)
            assert (together - alone).abs().max() < ROUNDING
            single = forward(model, encoded, ROWS[:1], SWAPPED[:1], pad, multiple)
            assert (single - alone[:1]).abs().max() < ROUNDING


@pytest.mark.parametrize("lora", [None, ADAPTERS], ids=["whole", "lora"])
@pytest.mark.parametrize(("name", "attention"), KINDS)
def test_padded_and_packed_gradients_equal_one_by_one(
    checkpoints: dict[str, Path], name: str, attention: str, lora: Lora | None
) -> None:
    model, encoded, pad = _loaded(settings(checkpoints[name], attention=attention, lora=lora))
    _widen(model)
    wanted = torch.from_numpy(np.random.default_rng(0).dirichlet([1, 1, 1], len(ROWS))).float()

    def gradients(logits: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        cross_entropy(logits, wanted).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad and p.grad is not None])

    alone = gradients(_one_by_one(model, encoded))
    assert alone.abs().max() > 1e-2
    for multiple in (0, 1, 128):
        together = gradients(forward(model, encoded, ROWS, SWAPPED, pad, multiple))
        assert (together - alone).abs().max() < 1e-6 * alone.abs().max()


def test_a_quantised_model_may_be_packed(checkpoints: dict[str, Path]) -> None:
    model, encoded, pad = _loaded(settings(checkpoints["llama"], quantization="nf4"))
    with torch.inference_mode():
        alone = _one_by_one(model, encoded)
        for multiple in (0, 1, 128):
            assert (forward(model, encoded, ROWS, SWAPPED, pad, multiple) - alone).abs().max() < 1e-4


@pytest.mark.parametrize("kind", DECODERS)
def test_every_decoder_that_may_be_packed_keeps_battles_apart(checkpoints: dict[str, Path], kind: str) -> None:
    encoded = encode(load_tokenizer(settings(checkpoints["llama"])), battles(), settings(checkpoints["llama"]))
    torch.manual_seed(0)
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    config = AutoConfig.for_model(
        kind, **sizes, num_attention_heads=2, num_key_value_heads=1, pad_token_id=1, num_labels=3, attn="eager"
    )
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    with torch.inference_mode():
        alone = _one_by_one(model, encoded)
        for multiple in (0, 1, 128):
            assert (forward(model, encoded, ROWS, SWAPPED, 1, multiple) - alone).abs().max() < 1e-5


def test_a_pad_token_in_the_text_does_not_move_the_end(checkpoints: dict[str, Path]) -> None:
    model, encoded, pad = _loaded(settings(checkpoints["llama"]))
    ends = [*encoded.frame[:3], np.array([5, pad], dtype=np.int32)]
    before = len(encoded.frame[3])
    changed = Encoded(encoded.pieces, (ends[0], ends[1], ends[2], ends[3]), encoded.lengths + 2 - before)
    with torch.inference_mode():
        padded, packed = (forward(model, changed, ROWS, SWAPPED, pad, multiple) for multiple in (0, 1))
        bare = model.get_base_model()
        for row in range(len(ROWS)):
            ids = torch.from_numpy(changed.sequence(int(ROWS[row]), bool(SWAPPED[row])).astype(np.int64))[None]
            expected = bare.score(bare.model(ids, use_cache=False).last_hidden_state[0, -1])
            assert (padded[row] - expected).abs().max() < 1e-5
            assert (packed[row] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["roberta", "llama", "gemma2"])
def test_flash_attention_is_told_where_sequences_begin(
    checkpoints: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's own path to the kernel, with a plain kernel that attends within the bounds it is given."""

    def kernel(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cu_seqlens_q: torch.Tensor,
        cu_seqlens_k: torch.Tensor,
        max_seqlen_q: int,
        max_seqlen_k: int,
        dropout_p: float = 0.0,
        softmax_scale: float | None = None,
        causal: bool = False,
        window_size: tuple[int, int] = (-1, -1),
        softcap: float = 0.0,
    ) -> torch.Tensor:
        assert torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert cu_seqlens_q.dtype == torch.int32
        assert cu_seqlens_q[-1] == len(q)
        assert cu_seqlens_q.diff().max() == max_seqlen_q == max_seqlen_k
        out = []
        for begin, end in zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), strict=True):
            one, two, three = (part[begin:end].transpose(0, 1) for part in (q, k, v))
            two, three = (part.repeat_interleave(len(one) // len(part), dim=0) for part in (two, three))
            scores = one @ two.transpose(1, 2) * (softmax_scale or q.shape[-1] ** -0.5)
            scores = softcap * torch.tanh(scores / softcap) if softcap else scores
            if causal:
                scores = scores.masked_fill(torch.ones(end - begin, end - begin).triu(1).bool(), -torch.inf)
            out.append((scores.softmax(dim=-1) @ three).transpose(0, 1))
        called.append(len(out))
        return torch.cat(out)

    called: list[int] = []
    model, encoded, pad = _loaded(settings(checkpoints[name]))
    with torch.inference_mode():
        alone = _one_by_one(model, encoded)
        assert "max_seqlen_q" in inspect.signature(kernel).parameters
        process = flash._lazy_define_process_function(kernel)
        monkeypatch.setattr(
            flash, "lazy_import_flash_attention", lambda name: ((None, kernel, None, None, None), (process, None))
        )
        model.config._attn_implementation = "flash_attention_2"
        assert pack_multiple(model, settings(checkpoints[name]))
        together = forward(model, encoded, ROWS, SWAPPED, pad, 128)
    assert set(called) == {len(ROWS) + 1}  # the filling is a sequence of its own
    assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["roberta", "llama", "gemma2"])
def test_flex_attention_keeps_packed_battles_apart(checkpoints: dict[str, Path], name: str) -> None:
    model, encoded, pad = _loaded(settings(checkpoints[name]))
    packed, _, _ = _loaded(settings(checkpoints[name], attention="flex_attention"))
    # The same functions uncompiled: compiling them for a CPU takes a minute.
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        alone = _one_by_one(model, encoded)
        assert (forward(packed, encoded, ROWS, SWAPPED, pad, 128) - alone).abs().max() < 1e-5


def test_packing_is_chosen_where_the_attention_can_leave_out_what_lies_between(checkpoints: dict[str, Path]) -> None:
    model, _, _ = _loaded(settings(checkpoints["llama"]))
    for attention, batching, expected in (
        ("sdpa", "auto", 0),
        ("eager", "auto", 0),
        ("sdpa", "packed", 1),
        ("flash_attention_2", "auto", 1),
        ("flash_attention_2", "padded", 0),
        ("flex_attention", "auto", 128),
        ("flex_attention", "padded", 0),
    ):
        model.config._attn_implementation = attention
        with torch._dynamo.config.patch(automatic_dynamic_shapes=True):  # FlexAttention turns it off
            assert pack_multiple(model, settings(checkpoints["llama"], batching=batching)) == expected


def test_packing_is_refused_where_it_is_not_known_to_be_right(checkpoints: dict[str, Path]) -> None:
    model, _, _ = _loaded(settings(checkpoints["llama"]))
    model.config.model_type = "deberta-v2"
    assert not pack_multiple(model, settings(checkpoints["llama"]))
    with pytest.raises(BadInput, match=r"batching: packed, but .* is of type deberta-v2"):
        pack_multiple(model, settings(checkpoints["llama"], batching="packed"))


def test_one_mask_serves_all_layers_where_the_window_hides_nothing(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else transformers makes one for each kind of layer, of positions that it fetches from the device."""
    model, encoded, pad = _loaded(settings(checkpoints["gemma2"]))
    packed, _, _ = _loaded(settings(checkpoints["gemma2"], attention="flex_attention"))
    bare = packed.get_base_model().model
    assert set(bare.config.layer_types) == {"sliding_attention", "full_attention"}
    masks: list[int] = []
    for layer in bare.layers:
        layer.register_forward_pre_hook(
            lambda _, given, options: masks.append(id(options["attention_mask"])), with_kwargs=True
        )
    longest = int(encoded.lengths[ROWS].max())
    with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
        alone = _one_by_one(model, encoded)
        for window, kinds in ((longest + 128, 1), (longest // 3, 2)):
            masks.clear()
            for one in (model.get_base_model(), packed.get_base_model()):
                one.config.sliding_window = window
                for layer in one.model.layers:
                    if layer.self_attn.sliding_window is not None:
                        layer.self_attn.sliding_window = window
            found = forward(packed, encoded, ROWS, SWAPPED, pad, 128)
            assert len(set(masks)) == kinds
            if window > longest:
                assert (found - alone).abs().max() < 1e-5
            else:
                assert (found - _one_by_one(model, encoded)).abs().max() < 1e-5
                assert (found - alone).abs().max() > 1e-4


def test_torch_does_not_fall_back_to_dense_attention_in_silence(checkpoints: dict[str, Path]) -> None:
    model, _, _ = _loaded(settings(checkpoints["llama"]))
    model.config._attn_implementation = "flex_attention"
    settings_of = settings(checkpoints["llama"], tokens_per_batch=16384)
    names = ("automatic_dynamic_shapes", "recompile_limit", "accumulated_recompile_limit")
    kept = {name: getattr(torch._dynamo.config, name) for name in (*names, "fail_on_recompile_limit_hit")}
    with torch._dynamo.config.patch(**kept):
        assert pack_multiple(model, settings_of) == 128
        assert torch._dynamo.config.fail_on_recompile_limit_hit
        # 128 lengths, each with and without gradients and in inference mode.
        assert torch._dynamo.config.accumulated_recompile_limit > torch._dynamo.config.recompile_limit > 3 * 128
