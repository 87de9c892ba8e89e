"""Seconds of tokenising a competition-sized table of real-length battles, and of reading it again from disk.

    python -m benchmarks.tokens --csv train.csv [--rows 57477]

Draws the file's battles with replacement, with a byte-level tokenizer of 32,000 words learnt from the file. `encode`
cuts every battle to --max-length tokens, as a base model does; the second call has only to find that it was all done.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from battles.prompt import parts
from battles.reading import read_battles
from benchmarks.prepare import COMPETITION_ROWS
from models.transformer.library_warnings import quiet

quiet()

from models.transformer.data.token_cache import encode_once  # noqa: E402
from models.transformer.settings import Transformer  # noqa: E402  # after the libraries are quiet
from models.transformer.tiny_backbone import train_tokenizer  # noqa: E402

VOCABULARY = 32000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--csv", type=Path, required=True, help="a training file in the competition's format")
    parser.add_argument("--rows", type=int, default=COMPETITION_ROWS)
    parser.add_argument("--max-length", type=int, default=2048)
    given = parser.parse_args()
    own = read_battles(given.csv, voted=True)
    tokenizer = train_tokenizer((text for part in parts(own) for text in part), VOCABULARY, "llama")
    battles = own.sample(given.rows, replace=True, random_state=0).reset_index(drop=True)
    settings = Transformer(backbone="none", max_length=given.max_length)
    with tempfile.TemporaryDirectory() as folder:
        times, found = [], []
        for _ in range(2):
            began = time.perf_counter()
            found.append(encode_once(tokenizer, {"train": battles}, settings, Path(folder))["train"])
            times.append(time.perf_counter() - began)
        megabytes = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
        same = all(
            np.array_equal(found[0].sequence(row, False), found[1].sequence(row, False)) for row in range(given.rows)
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{given.rows} battles, {found[0].lengths.mean():.0f} tokens on average, {megabytes:.0f} MB on disk")
    print(f"tokenised in {times[0]:.1f} s, found again in {times[1]:.1f} s ({'the same' if same else 'NOT THE SAME'})")
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
