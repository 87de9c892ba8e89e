"""Speed and memory of training and prediction on a GPU, beside padded batches of the stock model.

    python -m benchmarks.gpu [--csv train.csv] [--battles 256]      writes benchmarks/results/<card>.json
    python -m benchmarks.gpu --only llama-3-8b                      one base; those that the file has already are kept
    python -m benchmarks.gpu --tiny                                 the same code on tiny models, on any device

Gemma 2 9B and Llama 3 8B as profile `full` trains them, and RoBERTa base, with random weights
(`benchmarks.random_weights`) and random tokens: neither changes how long a step takes. Battles have the lengths of a
CSV (at 4 characters a token), or drawn ones of the same distribution. The stock model gets as many rows as an optimizer
step has, or half as many as often as they do not fit; it checkpoints where one row does not. Model FLOP/s count 2
operations a parameter and token forward, and what training adds without checkpointing's second forward pass. Their
share is of a large bf16 matrix product measured in the same run.
"""

import argparse
import gc
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from battles.files import read_json, write_json
from battles.progress import Progress
from battles.reading import read_battles
from battles.schema import CLASSES
from benchmarks import stock_model
from benchmarks.random_weights import PAD, configurations, make
from models.transformer.backbone.adapters import Model, merge
from models.transformer.backbone.device import current_device, device_spec
from models.transformer.backbone.loading import LoadedBase
from models.transformer.backbone.precision import DTYPES
from models.transformer.data.tokenization import Encoded
from models.transformer.engine.prediction import predict_logits
from models.transformer.engine.training import count_steps, train
from models.transformer.library_warnings import quiet
from models.transformer.planning import memory, throughput
from models.transformer.planning.plan import token_counts
from models.transformer.planning.preflight import resolve
from models.transformer.settings import Transformer
from stages.common import code_version, library_versions
from stages.config import load

# Mean and standard deviation of the logarithm of a battle's tokens, at 4 characters a token: characters of prompt and
# both responses have 7.58 and 1.02 in 1,488 of the competition's rows (first 1,000 and last 500 of its train.csv).
LOG_MEAN, LOG_DEVIATION = 7.58 - np.log(4), 1.02
LONG, SEED = 2048, 11
PARAMS = Path(__file__).parent.parent / "params.yaml"


def bases(tiny: bool) -> dict[str, Transformer]:
    """What is measured: the settings of profile `full`, and NF4 at the longest battle with one battle a micro-batch."""
    sections = load(PARAMS, "full", "benchmark")
    longest = 96 if tiny else LONG
    weights = {"epochs": 1, "seed": SEED, "max_length": longest, "predict_max_length": None, "head_from": None}
    if tiny:
        weights["tokens_per_batch"] = 8 * longest
    found = {}
    for name, section in {"gemma-2-9b": "gemma2", "llama-3-8b": "llama", "roberta-base": "roberta"}.items():
        shorter = {"max_length": min(longest, 512)} if section == "roberta" else {"quantization": "none"}
        settings = sections[section]
        assert isinstance(settings, Transformer)
        found[name] = settings.model_copy(update={"backbone": name} | weights | shorter)
    nf4 = {"quantization": "nf4", "tokens_per_batch": longest, "batch_size": 1, "gradient_checkpointing": True}
    return found | {"gemma-2-9b nf4": found["gemma-2-9b"].model_copy(update=nf4)}


def random_battles(lengths: np.ndarray, vocabulary: int) -> Encoded:
    """Battles of these many tokens, random ones: a fifth prompt, the rest responses."""
    generator = np.random.default_rng(SEED)
    pieces: tuple[list[np.ndarray], ...] = ([], [], [])
    for length in lengths:
        ids = generator.integers(PAD + 3, vocabulary, int(length), dtype=np.int32)
        for piece, part in zip(pieces, np.split(ids, [len(ids) // 5, len(ids) * 3 // 5]), strict=True):
            piece.append(part)
    nothing = np.empty(0, dtype=np.int32)
    return Encoded((pieces[0], pieces[1], pieces[2]), (nothing,) * 4, np.asarray(lengths, dtype=np.int64))


def draw_lengths(settings: Transformer, count: int, csv: Path | None) -> np.ndarray:
    """Tokens of `count` battles after truncation, int64: of the CSV's, or drawn."""
    generator = np.random.default_rng(SEED)
    if csv is not None:
        found = token_counts(settings, None, read_battles(csv, voted=True))
        return generator.choice(found, count)
    return np.clip(generator.lognormal(LOG_MEAN, LOG_DEVIATION, count).astype(np.int64), 16, settings.max_length)


def measure(
    name: str, settings: Transformer, config: Any, device: torch.device, count: int, csv: Path | None
) -> Iterator[tuple[str, Any]]:
    """The figures of one base, each with its name as soon as it is measured.

    Prediction and training, ours and the stock model's in padded batches; what is asked most comes first.
    """
    spec = device_spec(device)
    settings = resolve(settings, spec, config)
    longest_only = settings.batch_size == 1
    lengths = np.full(8, settings.max_length) if longest_only else draw_lengths(settings, count, csv)
    encoded = random_battles(lengths, config.vocab_size)
    some = encoded.rows(np.arange(len(lengths) if longest_only else max(1, len(lengths) // 4)))
    dtype = DTYPES[settings.dtype]
    yield "settings", settings.model_dump(mode="json")
    yield "computed_training_bytes", memory.estimate(settings, config, spec).total
    began = time.perf_counter()
    model = make(settings, config, device)
    yield "making_seconds", time.perf_counter() - began
    base = LoadedBase(model, settings, dtype, PAD)
    again = settings.model_copy(update={"gradient_checkpointing": False})  # model FLOP: no forward pass is done twice
    factor = throughput.training_factor(again, config.num_hidden_layers)

    def training() -> None:
        targets = np.full((len(some), CLASSES), 1 / CLASSES)
        with Progress(f"{name} training", count_steps(len(some), settings)) as progress:
            train(base, some, targets, SEED, lambda current: None, progress)

    def predicting() -> None:
        predict_logits(base, encoded, False)

    if not longest_only:
        merge(model, settings)
        yield "prediction", timed(predicting, model, encoded, 1.0, device)
        if isinstance(model, PeftModel):
            model.unmerge_adapter()
    yield "training", timed(training, model, some, factor, device)
    if not longest_only:
        stock_model.restore(model)
        # The same battles for both: the more there are, the less padding sorting them by length leaves.
        for what, rows, trains in (("stock prediction", encoded, False), ("stock training", some, True)):
            yield what, timed_stock(model, rows, settings, dtype, trains, factor if trains else 1.0, device)
    # What `make plan` says of these battles, from the base's own layers, which it times.
    yield "planned", 1 / throughput.timed_pace(settings, config, model, some.lengths, device).learn


def timed_stock(
    model: Model,
    encoded: Encoded,
    settings: Transformer,
    dtype: torch.dtype,
    training: bool,
    factor: float,
    device: torch.device,
) -> dict[str, Any]:
    """`timed` of the stock model in the largest batches that fit; how many rows, and whether it checkpoints."""
    found: dict[str, Any] = {}
    for checkpointed in (settings.gradient_checkpointing, True) if training else (False,):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        rows = settings.batch_size
        while rows:
            work = partial(stock_model.run, model, encoded, rows, dtype, training)
            found = timed(work, model, encoded, factor, device) | {"rows": rows, "checkpointed": checkpointed}
            if "failed" not in found:
                return found
            rows //= 2
    return found


def timed(
    work: Callable[[], Any], model: Model, encoded: Encoded, factor: float, device: torch.device
) -> dict[str, Any]:
    """Rates of the second of two runs and its peak memory, and what the first took, which compiles; or that the memory
    ran out."""
    failed = False
    try:
        began = time.perf_counter()
        work()
        synchronise(device)
        first = time.perf_counter() - began
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        seconds = time.perf_counter() - began
    except torch.OutOfMemoryError:
        failed = True
    if failed:  # outside of the except block, which keeps what the attempt left
        model.zero_grad()
        gc.collect()
        torch.cuda.empty_cache()
        return {"failed": "out of memory"}
    tokens = float(encoded.lengths.sum())
    flops = factor * throughput.forward_flops(model, tokens, float(np.square(encoded.lengths, dtype=np.float64).sum()))
    return {
        "battles": len(encoded),
        "first_run_seconds": first,
        "battles_per_second": len(encoded) / seconds,
        "tokens_per_second": tokens / seconds,
        "model_flops_per_second": flops / seconds,
        "peak_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measured_before(path: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The bases of a file that an earlier call wrote of the same card, code and libraries."""
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    measured: dict[str, Any] = found.pop("bases", {})
    return measured if found == results else {}


def report(name: str, what: str, figures: Any, rate: float) -> None:
    """Prints one figure of a base, and adds its share of the matrix product's rate."""
    if what == "planned":
        print(f"{name:16} training, as planned {figures:.2f} battles/s", flush=True)
    if not isinstance(figures, dict) or what == "settings":
        return
    if "failed" in figures:
        print(f"{name:16} {what:17} {figures['failed']}", flush=True)
        return
    figures["share_of_matrix_product"] = figures["model_flops_per_second"] / rate
    peak = "" if figures["peak_bytes"] is None else f", peak {figures['peak_bytes'] / 1e9:.2f} GB"
    print(
        f"{name:16} {what:17} {figures['battles_per_second']:8.2f} battles/s {figures['tokens_per_second']:10.0f} "
        f"tokens/s, {figures['share_of_matrix_product']:6.1%} of the matrix product, first run "
        f"{figures['first_run_seconds']:.1f} s{peak}",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--csv", type=Path, help="a training file in the competition's format, for its lengths")
    arguments.add_argument("--battles", type=int, default=256, help="battles of a prediction; training takes a quarter")
    arguments.add_argument("--only", nargs="+", help="some of: " + ", ".join(bases(tiny=True)))
    arguments.add_argument("--tiny", action="store_true", help="tiny models, on the CPU if there is no GPU")
    arguments.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = arguments.parse_args()
    quiet()
    device = current_device()
    if device.type == "cpu" and not given.tiny:
        print("no GPU here, nothing measured; the same code on tiny models: python -m benchmarks.gpu --tiny")
        return
    spec = device_spec(device)
    side = 512 if given.tiny else 8192
    rate = throughput.matmul_rate(device, torch.bfloat16 if spec.has_bf16 else torch.float16, side)
    print(f"{spec.text}: {rate / 1e12:.3g} TFLOP/s in a matrix product of {side}", flush=True)
    results: dict[str, Any] = {
        "card": spec.text,
        "memory_bytes": spec.memory,
        "tiny": given.tiny,
        "lengths": str(given.csv.name) if given.csv else {"log_mean": LOG_MEAN, "log_deviation": LOG_DEVIATION},
        "code_version": code_version(),
        "libraries": library_versions(),
    }
    path = given.results / f"{re.sub(r'[^A-Za-z0-9]+', '-', spec.name).strip('-').lower()}{'-tiny' * given.tiny}.json"
    results["bases"] = measured_before(path, results)
    for name, settings in bases(given.tiny).items():
        if given.only is not None and name not in given.only:
            continue
        config = configurations(given.tiny)[name.split()[0]]
        found: dict[str, Any] = {"matrix_product_flops_per_second": rate}
        results["bases"][name] = found
        try:
            for what, figures in measure(name, settings, config, device, given.battles, given.csv):
                found[what] = figures
                report(name, what, figures, rate)
                write_json(path, results)
        except torch.OutOfMemoryError:
            found["failed"] = "out of memory while loading"
            write_json(path, results)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    print(f"written to {path}")


if __name__ == "__main__":
    main()
