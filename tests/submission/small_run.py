"""A finished run of sample battles with a tiny language model beside TF-IDF, small enough to be made in seconds."""

from pathlib import Path

import pytest

from battles.sample import generate
from battles.settings import Sample
from stages import base, features, params, predict, predict_stack, prepare, stack, submit, tiny
from tests.robustness.stages_in_process import RUN, call

# Two folds of a two-layer Llama with adapters, whose weights are not quantised.
YAML = """
run: {bases: [llama, tfidf], threads: 1}
prepare: {folds: 2}
features: {}
stack: {trials: 1, rounds: 4, bag: 1, trees: 10, workers: 1, clean: false}
tiny: {vocabulary: 400, max_length: 96, backbones: {llama: {architecture: llama, hidden: 32, heads: 2, steps: 2}}}
llama:
  {kind: transformer, backbone: "models/runs/{run}/tiny/llama", max_length: 96, epochs: 1, learning_rate: 0.01,
   tokens_per_batch: 512, lora: {rank: 4, alpha: 8, dropout: 0.0}, eval_battles: 16}
tfidf: {kind: tfidf, bits: 12}
profiles: {own: {}}
"""


def make_small_run(folder: Path, settings: str = "") -> None:
    """Makes the run `r` of 90 sample battles, and 40 to predict, in a folder; `settings` as in SET."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        Path("params.yaml").write_text(YAML)
        data = generate(Sample(train=90, test=40, seed=2))
        data.train.to_csv("train.csv", index=False)
        data.test.to_csv("test.csv", index=False)
        files = ("--profile", "own", "--train", "train.csv", "--test", "test.csv", "--overrides", settings)
        steps = [(params.main, files), (prepare.main, ("--test",)), (prepare.main, ()), (features.main, ())]
        steps += [(features.main, ("--test",)), (tiny.main, ("--name", "llama"))]
        steps += [(step.main, ("--name", name)) for name in ("llama", "tfidf") for step in (base, predict)]
        steps += [(stack.main, ()), (predict_stack.main, ()), (submit.main, ())]
        outcomes = [call(main, *words) for main, words in steps]
        assert all(outcome.code == 0 for outcome in outcomes), outcomes


MODELS = Path("models", "runs", RUN)
