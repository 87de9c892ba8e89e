"""Battles per second of prediction on the CPU: this project's batches beside fixed ones, the same model and rows.

    OMP_NUM_THREADS=2 python -m benchmarks.predicting --csv train.csv [--rows N] [--tries T]

The model is a small Llama with random weights and a vocabulary of 32,000 learnt from the file. Beside this project
stands what one writes first: batches of 16 in the order of arrival, padded to the longest, given to the library's class
with their mask. Threads, number type, rows and tokens are the same; the two take turns, and the least seconds count.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from battles.prompt import parts
from battles.reading import read_battles
from models.transformer.library_warnings import quiet

quiet()

from models.transformer.backbone.loading import LoadedBase  # noqa: E402  # after the libraries are quiet
from models.transformer.data.batching import batches, collate, computed_tokens, training_steps  # noqa: E402  # after the libraries are quiet
from models.transformer.data.tokenization import Encoded, encode  # noqa: E402
from models.transformer.engine.prediction import predict_logits  # noqa: E402
from models.transformer.settings import Transformer  # noqa: E402
from models.transformer.tiny_backbone import train_tokenizer  # noqa: E402

VOCABULARY = 32000
FIXED = 16


def fixed_batches(model: Any, encoded: Encoded, pad: int) -> np.ndarray:
    """Logits (battles, 3) of `FIXED` battles at a time, in their order."""
    found = []
    with torch.inference_mode():
        for begin in range(0, len(encoded), FIXED):
            rows = np.arange(begin, min(begin + FIXED, len(encoded)))
            batch = collate(encoded, rows, np.zeros(len(rows), dtype=bool), pad, torch.device("cpu"))
            found.append(model(**batch).logits.double().numpy())
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--csv", type=Path, required=True, help="voted battles in the competition's format")
    parser.add_argument("--rows", type=int, default=1488, help="the file's first so many battles")
    parser.add_argument("--tries", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    given = parser.parse_args()
    battles = read_battles(given.csv, voted=True)
    tokenizer = train_tokenizer((text for part in parts(battles) for text in part), VOCABULARY, "llama")
    pad = tokenizer.pad_token_id
    settings = Transformer(backbone="a small Llama", max_length=given.max_length)
    encoded = encode(tokenizer, battles.head(given.rows), settings)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=given.hidden,
        intermediate_size=4 * given.hidden,
        num_hidden_layers=given.layers,
        num_attention_heads=given.hidden // 16,
        num_key_value_heads=given.hidden // 32,
        max_position_embeddings=given.max_length,
        pad_token_id=pad,
        num_labels=3,
    )
    model = LlamaForSequenceClassification(config).eval()

    arrival = [np.arange(begin, min(begin + FIXED, len(encoded))) for begin in range(0, len(encoded), FIXED)]
    ways = {
        "fixed batches": (lambda: fixed_batches(model, encoded, pad), arrival),
        "this project": (
            lambda: predict_logits(LoadedBase(model, settings, torch.float32, pad), encoded, False),
            batches(encoded.lengths, settings.tokens_per_batch, 0),
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    logits = {}
    for _ in range(given.tries):
        for name, (predict, _) in ways.items():
            began = time.perf_counter()
            logits[name] = predict()
            seconds[name].append(time.perf_counter() - began)
    tokens = int(encoded.lengths.sum())
    print(f"{len(encoded)} battles, {tokens} tokens, {torch.get_num_threads()} threads, fp32")
    for name, (_, cut) in ways.items():
        best = min(seconds[name])
        padding = 1 - tokens / sum(computed_tokens(encoded.lengths[rows], 0) for rows in cut)
        print(
            f"{name}: {len(encoded) / best:.1f} battles/s, {tokens / best:.0f} tokens/s, padding {padding:.1%} "
            f"({', '.join(f'{value:.1f}' for value in seconds[name])} s)"
        )
    steps = training_steps(encoded.lengths, settings.batch_size, np.random.default_rng(0))
    parts_of_steps = (
        step[part] for step in steps for part in batches(encoded.lengths[step], settings.tokens_per_batch, 0)
    )
    computed = sum(computed_tokens(encoded.lengths[rows], 0) for rows in parts_of_steps)
    print(f"in training, steps of {settings.batch_size} battles: padding {1 - tokens / computed:.1%}")
    one, other = logits.values()
    least = {name: min(values) for name, values in seconds.items()}
    print(f"ratio: {least['fixed batches'] / least['this project']:.2f}")
    print(f"largest difference of logits: {np.abs(one - other).max():.1e} (their spread: {one.std():.2f})")


if __name__ == "__main__":
    main()
