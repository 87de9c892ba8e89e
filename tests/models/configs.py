"""Configurations of large backbones, as their model cards give them: sizes for computing, no weights."""

from transformers import Gemma2Config

GEMMA_2_9B = Gemma2Config(
    hidden_size=3584,
    num_hidden_layers=42,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=256,
    intermediate_size=14336,
    vocab_size=256000,
)
