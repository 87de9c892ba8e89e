"""Tiny backbones of the real architectures, pretrained briefly on a corpus or on a run's own training text.

They are saved as ordinary checkpoints (weights, config, tokenizer), so a base model loads them just as it
loads a hub model. No vote is read here.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from models.transformer.data.tokenization import Encoded, encode
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


@dataclass(frozen=True)
class _Batch:
    """`ids` and `mask`, int64 (rows, longest), and at each position the token to be predicted there, or IGNORED."""

    ids: torch.Tensor
    mask: torch.Tensor
    wanted: torch.Tensor


def make(
    name: str, settings: Tiny, battles: pd.DataFrame, folder: Path, corpus: Iterable[str] | None = None
) -> list[float]:
    """Trains tokenizer and language model, saves both, returns the loss per step (nats).

    They read the battles' text, or a corpus: documents, each the JSON of a list of pieces, a cue and its completion by
    turns. Of a document only completions are learnt, as in instruction tuning: what a cue says cannot be foreseen.
    """
    sizes = settings.backbones[name]
    documents = None if corpus is None else [json.loads(document) for document in corpus]
    texts = (text for part in parts(battles) for text in part)
    if documents is not None:
        texts = ("".join(pieces) for pieces in documents)
    tokenizer = train_tokenizer(texts, settings.vocabulary, sizes.architecture)
    generator = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    model = build(sizes, len(tokenizer), settings.max_length)
    if documents is None:
        as_base = Transformer(backbone=str(folder), max_length=settings.max_length, template=settings.template)
        batches = _of_battles(encode(tokenizer, battles, as_base), tokenizer, settings, generator)
    else:
        batches = _of_documents(documents, tokenizer, settings, generator)
    losses = _train(model, batches, name, sizes)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return losses


def _train(model: PreTrainedModel, batches: Iterator[_Batch], name: str, sizes: TinyBackbone) -> list[float]:
    """The loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=sizes.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, sizes.learning_rate, sizes.steps, pct_start=0.1)
    losses: list[float] = []
    model.train()
    with Progress(f"pretraining tiny {name}", sizes.steps) as progress:
        while len(losses) < sizes.steps:
            loss = _loss(model, next(batches))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            progress.advance(1, f"loss {losses[-1]:.2f}")
    return losses


def _of_battles(encoded: Encoded, tokenizer: Any, settings: Tiny, generator: np.random.Generator) -> Iterator[_Batch]:
    """Whole battles without end: masked tokens where the tokenizer has a mask token, next tokens elsewhere."""
    while True:
        for rows in training_steps(encoded.lengths, settings.batch_size, generator):
            swapped = generator.random(len(rows)) < 0.5
            batch = collate(encoded, rows, swapped, tokenizer.pad_token_id, torch.device("cpu"))
            ids, mask = batch["input_ids"], batch["attention_mask"]
            if tokenizer.mask_token_id is None:
                wanted = torch.full_like(ids, IGNORED)
                wanted[:, :-1] = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
            else:
                hidden = torch.from_numpy(generator.random(tuple(ids.shape)) < MASKED_SHARE) & (mask == 1)
                wanted = ids.masked_fill(~hidden, IGNORED)
                ids = ids.masked_fill(hidden, tokenizer.mask_token_id)
            yield _Batch(ids, mask, wanted)


def _of_documents(
    documents: list[list[str]], tokenizer: Any, settings: Tiny, generator: np.random.Generator
) -> Iterator[_Batch]:
    """Documents without end, the longest of them cut."""
    if tokenizer.mask_token_id is not None:  # it sees all at once: a completion would be in the next one's cue
        documents = [document[at : at + 2] for document in documents for at in range(0, len(document), 2)]
    every_piece = [piece for document in documents for piece in document]
    pieces = iter(tokenizer(every_piece, add_special_tokens=False)["input_ids"])
    rows = [_lesson([next(pieces) for _ in document], tokenizer, settings.max_length) for document in documents]
    lengths = np.array([len(ids) for ids, _ in rows])
    while True:
        for chosen in training_steps(lengths, settings.batch_size, generator):
            longest = lengths[chosen].max()
            table = np.full((3, len(chosen), longest), [[[tokenizer.pad_token_id]], [[0]], [[IGNORED]]])
            for at, row in enumerate(chosen):
                ids, wanted = rows[row]
                table[:, at, : len(ids)] = ids, np.ones(len(ids)), wanted
            yield _Batch(*torch.from_numpy(table))


def _lesson(pieces: list[list[int]], tokenizer: Any, most: int) -> tuple[list[int], list[int]]:
    """A document's ids, and what is to be predicted at each.

    A causal model predicts a completion's tokens, each from the one before. A masked one reads the cue alone and
    predicts the completion's first token at its own first, from which a classifier will read.
    """
    if tokenizer.mask_token_id is not None:
        cue, completion = pieces
        ids = [tokenizer.bos_token_id, *cue, tokenizer.eos_token_id]
        return ids[:most], [completion[0], *[IGNORED] * (len(ids) - 1)][:most]
    ids, wanted = [tokenizer.bos_token_id], [IGNORED]
    for number, piece in enumerate(pieces):
        ids += piece
        wanted[-1:] = [*piece, IGNORED] if number % 2 else [wanted[-1], *[IGNORED] * len(piece)]
    return ids[:most], wanted[:most]


def _loss(model: Any, batch: _Batch) -> torch.Tensor:
    """Cross-entropy of the wanted tokens; the vocabulary's logits are computed for them alone."""
    hidden = model.base_model(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
    at = batch.wanted != IGNORED
    logits = model.lm_head(hidden[at]).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    return cross_entropy(logits, batch.wanted[at])
