"""Tiny backbones of the real architectures, pretrained briefly on a run's own training text.

They are saved as ordinary checkpoints (weights, config, tokenizer), so a base model loads them just as it
loads a hub model. No vote is read here.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from battles.progress import Progress
from battles.prompt import parts
from models.transformer.data.batching import collate, training_steps
from models.transformer.data.tokenization import encode
from models.transformer.settings import Tiny, TinyBackbone, Transformer

BOS, PAD, EOS, UNKNOWN, MASK = SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # RoBERTa's order
MASKED_SHARE = 0.3  # more than BERT's 15 %: each step teaches more (Wettig et al. 2023, arXiv:2202.08005)
IGNORED = -100


def train_tokenizer(texts: Iterator[str], vocabulary: int, architecture: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the special tokens that the architecture's own has."""
    bpe = Tokenizer(models.BPE(unk_token=UNKNOWN))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "unk_token": UNKNOWN}
    if architecture == "roberta":
        special |= {"cls_token": BOS, "sep_token": EOS, "mask_token": MASK}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **special)


def build(settings: TinyBackbone, vocabulary: int, positions: int) -> PreTrainedModel:
    """A randomly initialised language model of the architecture; seed before calling."""
    common: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": settings.hidden,
        "intermediate_size": 2 * settings.hidden,
        "num_hidden_layers": settings.layers,
        "num_attention_heads": settings.heads,
        # The usual 0.02 is 1/sqrt(2500): made for models that wide, it lets narrow ones learn late or never.
        "initializer_range": settings.hidden**-0.5,
        "bos_token_id": SPECIALS.index(BOS),
        "pad_token_id": SPECIALS.index(PAD),
        "eos_token_id": SPECIALS.index(EOS),
    }
    if settings.architecture == "roberta":
        # Two positions more than tokens: RoBERTa counts from pad_token_id + 1.
        # No dropout: at these sizes it hinders learning, and drawing it takes half of a step on a CPU.
        config = RobertaConfig(
            **common,
            max_position_embeddings=positions + 2,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        model = RobertaForMaskedLM(config)
        _start_positions_from_sines(model.roberta.embeddings.position_embeddings.weight, config.initializer_range)
        return model
    common |= {
        "num_key_value_heads": max(1, settings.heads // 2),
        "head_dim": settings.hidden // settings.heads,
        "max_position_embeddings": positions,
    }
    if settings.architecture == "llama":
        return LlamaForCausalLM(LlamaConfig(**common))
    config = Gemma2Config(**common, query_pre_attn_scalar=settings.hidden // settings.heads)
    config._attn_implementation = "eager"  # Gemma 2 has no sdpa
    return Gemma2ForCausalLM(config)


def _start_positions_from_sines(weight: torch.Tensor, scale: float) -> None:
    """Position embeddings (positions, hidden) of Vaswani et al. 2017, section 3.5, with the given standard deviation.

    Random ones know nothing of order: that one token follows another would take longer to learn than there is time.
    """
    positions, hidden = weight.shape
    angles = torch.arange(positions)[:, None] * positions ** (-torch.arange(0, hidden, 2) / hidden)
    with torch.no_grad():
        weight[:, 0::2], weight[:, 1::2] = angles.sin() * 2**0.5 * scale, angles.cos() * 2**0.5 * scale


def make(name: str, settings: Tiny, battles: pd.DataFrame, folder: Path) -> list[float]:
    """Trains tokenizer and language model on the battles' text, saves both, returns the loss per step (nats)."""
    sizes = settings.backbones[name]
    texts = parts(battles)
    tokenizer = train_tokenizer((text for part in texts for text in part), settings.vocabulary, sizes.architecture)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    model = build(sizes, len(tokenizer), settings.max_length)
    as_base = Transformer(backbone=str(folder), max_length=settings.max_length, template=settings.template)
    encoded = encode(tokenizer, battles, as_base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, sizes.learning_rate, sizes.steps, pct_start=0.1)
    losses: list[float] = []
    model.train()
    with Progress(f"pretraining tiny {name}", sizes.steps) as progress:
        while len(losses) < sizes.steps:
            for rows in training_steps(encoded.lengths, settings.batch_size, generator):
                swapped = generator.random(len(rows)) < 0.5
                batch = collate(encoded, rows, swapped, tokenizer.pad_token_id, torch.device("cpu"))
                loss = _loss(model, batch, tokenizer, generator)
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                losses.append(loss.item())
                progress.advance(1, f"loss {losses[-1]:.2f}")
                if len(losses) == sizes.steps:
                    break
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return losses


def _loss(
    model: torch.nn.Module, batch: dict[str, torch.Tensor], tokenizer: Any, generator: np.random.Generator
) -> torch.Tensor:
    """Masked-token loss where the tokenizer has a mask token, next-token loss elsewhere."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    if tokenizer.mask_token_id is None:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        wanted = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
    else:
        hidden = torch.from_numpy(generator.random(tuple(ids.shape)) < MASKED_SHARE) & (mask == 1)
        logits = model(input_ids=ids.masked_fill(hidden, tokenizer.mask_token_id), attention_mask=mask).logits
        wanted = ids.masked_fill(~hidden, IGNORED)
    return cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED)
