"""Configurations of large backbones: sizes for computing, no weights."""

from benchmarks.random_weights import configurations

GEMMA_2_9B = configurations(tiny=False)["gemma-2-9b"]
