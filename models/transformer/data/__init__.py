"""Battles as tokens, batches and training targets."""
